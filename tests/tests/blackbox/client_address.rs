//! Whose address counts, and what the upstream is told of it.

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;

#[test]
fn an_untrusted_peer_speaks_for_itself_alone() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.send(
        &Request::get("/")
            .header("X-Forwarded-For", "203.0.113.7")
            .header("CF-Connecting-IP", "203.0.113.8")
            .header("X-Real-IP", "203.0.113.9")
            .header("Forwarded", "for=203.0.113.10")
            .header("X-Forwarded-Proto", "https"),
    );
    response.assert_served();
    assert_eq!(
        gateway.record_of(&response).text("src_ip"),
        Some("127.0.0.1")
    );
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("gw.test"));
    let raw = String::from_utf8(seen.head.raw).unwrap();
    assert!(!raw.contains("203.0.113."), "{raw}");
}

#[test]
fn behind_a_trusted_proxy_the_rightmost_untrusted_address_counts() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).set(
        "/trusted_proxies",
        json!([{"cidr": "127.0.0.1/32"}, {"cidr": "10.0.0.0/8"}]),
    ));
    for (forwarded, counts) in [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("203.0.113.7,10.1.2.3 ,10.9.9.9", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("203.0.113.7:4711", "203.0.113.7"),
    ] {
        let response = gateway.send(&Request::get("/").header("x-forwarded-for", forwarded));
        response.assert_served();
        assert_eq!(
            gateway.record_of(&response).text("src_ip"),
            Some(counts),
            "{forwarded}"
        );
    }
}

#[test]
fn several_forwarded_lines_are_one_list() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&trusting(&upstream, false));
    let response = gateway.send(
        &Request::get("/")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-for", "203.0.113.7"),
    );
    response.assert_served();
    assert_eq!(
        gateway.record_of(&response).text("src_ip"),
        Some("203.0.113.7")
    );
}

#[test]
fn cf_connecting_ip_counts_only_where_that_proxy_is_said_to_set_it() {
    let upstream = Upstream::start();
    let request = Request::get("/")
        .header("cf-connecting-ip", "203.0.113.8")
        .header("x-forwarded-for", "203.0.113.7");
    for (enabled, counts) in [(true, "203.0.113.8"), (false, "203.0.113.7")] {
        let gateway = Gateway::start(&trusting(&upstream, enabled));
        let response = gateway.send(&request);
        response.assert_served();
        assert_eq!(gateway.record_of(&response).text("src_ip"), Some(counts));
    }
}

#[test]
fn a_second_cf_connecting_ip_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&trusting(&upstream, true));
    gateway
        .send(
            &Request::get("/")
                .header("CF-Connecting-IP", "203.0.113.8")
                .header("cf-connecting-ip", "6.6.6.6"),
        )
        .assert_refused(400, "malformed_request");
    upstream.assert_untouched();
}

#[test]
fn the_upstream_is_told_the_address_that_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&trusting(&upstream, false));
    gateway
        .send(
            &Request::get("/")
                .header("X-Forwarded-For", "6.6.6.6, 203.0.113.7")
                .header("X_Forwarded_For", "6.6.6.7"),
        )
        .assert_served();
    let seen = upstream.only_request();
    let told = seen.header("x-forwarded-for").expect("X-Forwarded-For");
    assert!(told.starts_with("203.0.113.7"), "{told}");
    let raw = String::from_utf8(seen.head.raw).unwrap();
    assert!(
        !raw.contains("6.6.6."),
        "what nobody vouches for went on: {raw}"
    );
}

fn trusting(upstream: &Upstream, cf_connecting_ip: bool) -> Config {
    Config::new(upstream.address()).set(
        "/trusted_proxies",
        json!([{"cidr": "127.0.0.1/32", "cf_connecting_ip": cf_connecting_ip}]),
    )
}
