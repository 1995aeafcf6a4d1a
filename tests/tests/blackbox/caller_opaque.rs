//! What an unknown caller may learn: nothing. And how often it may ask.

use std::collections::BTreeSet;

use knoxcall_tests::{Config, Gateway, Request, Response, Upstream, keys};
use serde_json::json;

#[test]
fn an_unknown_caller_gets_the_same_bytes_whatever_exists() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({
            "allowed_methods": ["GET", "POST"],
            "ip_allowlist": ["203.0.113.0/24"],
            "environments": {"staging": {"enabled": false}},
        }),
    ));
    let callers = [
        None,
        Some(keys::UNKNOWN),
        Some(keys::EXPIRED),
        Some(keys::TEST),
        Some("x"),
    ];
    let mut answers = BTreeSet::new();
    for caller in callers {
        for route in ["echo", "missing", "Echo"] {
            for environment in ["production", "staging", "missing"] {
                for method in ["GET", "POST", "DELETE"] {
                    let request = Request::bare(method, "/")
                        .route(route)
                        .environment(environment);
                    let request = match caller {
                        Some(key) => request.key(key),
                        None => request,
                    };
                    answers.insert(opaque(&gateway.send(&request)));
                }
            }
        }
    }
    assert_eq!(answers.len(), 1, "these tell callers apart: {answers:#?}");
    upstream.assert_untouched();
}

#[test]
fn guesses_beyond_the_budget_get_429_and_never_touch_a_quota() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &behind_proxy(&upstream)
            .limit("unauthorized_per_minute", 5)
            .edit_route(
                "echo",
                json!({"rate_limit_requests": 3, "rate_limit_window_sec": 3600}),
            ),
    );
    let from = |address: &str, key: &str| {
        gateway.send(
            &Request::get("/")
                .key(key)
                .header("x-forwarded-for", address),
        )
    };
    for _ in 0..5 {
        from("203.0.113.9", keys::UNKNOWN).assert_refused(401, "unauthorized");
    }
    let refused = from("203.0.113.9", keys::UNKNOWN);
    refused.assert_refused(429, "too_many_unauthorized");
    let seconds: u64 = refused
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .unwrap();
    assert!((1..=60).contains(&seconds), "Retry-After: {seconds}");

    // Another address is not made to pay, and the route's three are all there.
    from("203.0.113.10", keys::UNKNOWN).assert_refused(401, "unauthorized");
    for _ in 0..3 {
        from("203.0.113.11", keys::LIVE).assert_served();
    }
    from("203.0.113.11", keys::LIVE).assert_refused(429, "rate_limited");
}

#[test]
fn addresses_of_one_ipv6_network_share_a_budget() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&behind_proxy(&upstream).limit("unauthorized_per_minute", 2));
    let from = |address: &str| {
        gateway.send(
            &Request::get("/")
                .key(keys::UNKNOWN)
                .header("x-forwarded-for", address),
        )
    };
    from("2001:db8:0:1::1").assert_refused(401, "unauthorized");
    from("2001:db8:0:1:ffff::2").assert_refused(401, "unauthorized");
    from("2001:db8:0:1::3").assert_refused(429, "too_many_unauthorized");
    from("2001:db8:0:2::1").assert_refused(401, "unauthorized");
}

#[test]
fn a_trusted_proxys_own_address_is_exempt() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&behind_proxy(&upstream).limit("unauthorized_per_minute", 2));
    for _ in 0..6 {
        gateway
            .send(&Request::get("/").key(keys::UNKNOWN))
            .assert_refused(401, "unauthorized");
    }
}

fn behind_proxy(upstream: &Upstream) -> Config {
    Config::new(upstream.address()).set("/trusted_proxies", json!([{"cidr": "127.0.0.1/32"}]))
}

/// Every byte of the answer but the request id and the date.
fn opaque(response: &Response) -> String {
    response.assert_refused(401, "unauthorized");
    let id = response.request_id();
    let date = response.header("date").unwrap_or_default().to_owned();
    let head = String::from_utf8(response.head.raw.clone()).unwrap();
    let text = format!("{head}{}", response.text()).replace(&id, "ID");
    match date.is_empty() {
        true => text,
        false => text.replace(&date, "DATE"),
    }
}
