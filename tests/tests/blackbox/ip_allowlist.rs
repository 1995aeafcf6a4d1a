//! From where a route may be called.

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;

#[test]
fn an_address_outside_the_list_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/trusted_proxies", json!([{"cidr": "127.0.0.1/32"}]))
            .edit_route(
                "echo",
                json!({"ip_allowlist": ["203.0.113.0/25", "2001:db8::/32", "198.51.100.7"]}),
            ),
    );
    let from = |address: &str| gateway.send(&Request::get("/").header("x-forwarded-for", address));
    for inside in [
        "203.0.113.0",
        "203.0.113.127",
        "::ffff:203.0.113.5",
        "2001:db8:1::1",
        "198.51.100.7",
    ] {
        from(inside).assert_served();
    }
    for outside in [
        "203.0.113.128",
        "203.0.112.255",
        "2001:db9::1",
        "198.51.100.8",
        "127.0.0.1",
    ] {
        from(outside).assert_refused(403, "ip_not_allowed");
    }
    assert_eq!(upstream.requests().len(), 5);
}

#[test]
fn a_request_without_a_valid_address_matches_no_rule() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/trusted_proxies", json!([{"cidr": "127.0.0.1/32"}]))
            .edit_route("echo", json!({"ip_allowlist": ["0.0.0.0/0", "::/0"]})),
    );
    gateway
        .send(&Request::get("/").header("x-forwarded-for", "192.0.2.1"))
        .assert_served();
    gateway.get("/").assert_refused(403, "ip_not_allowed");
    for nonsense in ["unknown", "", "1.2.3", "192.0.2.1, nonsense"] {
        gateway
            .send(&Request::get("/").header("x-forwarded-for", nonsense))
            .assert_refused(403, "ip_not_allowed");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn the_refusal_does_not_quote_the_list() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"ip_allowlist": ["203.0.113.0/24"]})),
    );
    let response = gateway.get("/");
    response.assert_refused(403, "ip_not_allowed");
    assert!(
        !response.text().contains("203.0.113"),
        "{}",
        response.text()
    );
}
