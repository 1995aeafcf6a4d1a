//! What an unknown caller may learn: nothing. And how often it may ask.

use std::collections::{BTreeMap, BTreeSet};

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

/// By whatever way a request comes: its bytes alone may decide, such as whether
/// the connection can go on after them.
#[test]
fn the_answer_to_one_form_of_a_request_is_the_same_wherever_it_is_sent() {
    let upstream = Upstream::start();
    let url = upstream.url();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/tenant/extra_hosts", json!(["gw.test", "other.test"]))
            .route(json!({
                "slug": "matched", "target_base_url": url,
                "match": [{"path_prefix": "/matched"}, {"host": "other.test", "path_prefix": "/"}],
                "allowed_methods": ["GET"],
            }))
            .route(json!({
                "slug": "signed", "target_base_url": url, "require_signature": true,
                "match": [{"path_prefix": "/signed"}],
            }))
            .route(json!({
                "slug": "merged", "target_base_url": url,
                "inject_body": {"a": "{{secret:token}}"}, "body_secrets": ["token"],
                "match": [{"path_prefix": "/merged", "strip_prefix": true}],
            }))
            .route(json!({
                "slug": "off", "target_base_url": url, "enabled": false,
                "match": [{"path_prefix": "/off"}],
            })),
    );
    let mut answers: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for host in HOSTS {
        for path in ["/", "/matched", "/signed/a", "/merged", "/off", "/nowhere"] {
            for route in [None, Some("echo"), Some("merged"), Some("missing")] {
                for key in [None, Some(keys::UNKNOWN)] {
                    for (form, request) in forms(host, path, route, key).iter().enumerate() {
                        let mut client = gateway.connect();
                        client.send(request.bytes());
                        // An interim answer before it would tell as well.
                        let answer = client.read_any(&request.method);
                        answers.entry(form).or_default().insert(opaque(&answer));
                    }
                }
            }
        }
    }
    for (form, answers) in &answers {
        assert_eq!(answers.len(), 1, "form {form}: {answers:#?}");
    }
    let bodies = answers.values().flatten().map(|answer| {
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body
    });
    assert_eq!(bodies.collect::<BTreeSet<_>>().len(), 1);
    upstream.assert_untouched();
}

const HOSTS: [&str; 5] = [
    "gw.test",
    "OTHER.test:8080",
    "acme.knox.test",
    "sandbox-acme.knox.test",
    "a1b2c3d4.acme.knox.test",
];

/// One question in the forms that HTTP has for it.
fn forms(host: &str, path: &str, route: Option<&str>, key: Option<&str>) -> Vec<Request> {
    let bare = |method| {
        let request = Request::bare(method, path).host(host);
        let request = match route {
            Some(route) => request.route(route),
            None => request,
        };
        match key {
            Some(key) => request.key(key),
            None => request,
        }
    };
    let json = json!({"mine": "{{secret:token}}"});
    vec![
        bare("GET"),
        bare("DELETE"),
        bare("POST").json(&json),
        bare("POST")
            .body("not json")
            .header("content-type", "text/plain"),
        bare("PUT").chunked("in some chunks", 4),
        bare("POST").json(&json).header("Expect", "100-continue"),
        bare("PATCH")
            .chunked("{}", 1)
            .header("Expect", "100-continue"),
        bare("POST")
            .body("signed")
            .header("x-timestamp", "1700000000")
            .header("x-signature", "00"),
    ]
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
