//! Limits in one instance: which one holds, what is told, what survives.

use knoxcall_tests::{Config, Gateway, Request, Response, Upstream, keys};
use serde_json::json;

/// So long a window that nothing comes back during a test.
const HOUR: u32 = 3600;

#[test]
fn what_is_left_is_told_and_then_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&limited(&upstream, 3, 0));
    for left in ["2", "1", "0"] {
        let response = gateway.get("/");
        response.assert_served();
        assert_eq!(response.header("x-ratelimit-limit"), Some("3"));
        assert_eq!(response.header("x-ratelimit-remaining"), Some(left));
        assert!(response.header("x-ratelimit-reset").is_some());
    }
    let refused = gateway.get("/");
    refused.assert_refused(429, "rate_limited");
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let seconds: u32 = refused
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .unwrap();
    assert!((1..=HOUR).contains(&seconds), "Retry-After: {seconds}");
    assert!(
        refused.text().contains("route"),
        "which limit? {}",
        refused.text()
    );
    assert_eq!(gateway.record_of(&refused).flag("rate_limited"), Some(true));
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn an_upstreams_own_rate_headers_do_not_stand_beside_ours() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RateLimit-Limit: 99\r\nX-RateLimit-Remaining: 98\r\n\r\n",
    );
    let gateway = Gateway::start(&limited(&upstream, 3, 0));
    let response = gateway.get("/");
    assert_eq!(response.head.all("x-ratelimit-limit"), ["3"]);
    assert_eq!(response.head.all("x-ratelimit-remaining"), ["2"]);
}

#[test]
fn a_burst_is_extra() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&limited(&upstream, 3, 2));
    assert_eq!(served(&gateway, &Request::get("/"), 9), 5);
}

#[test]
fn requests_come_back_with_time() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"rate_limit_requests": 2, "rate_limit_window_sec": 1}),
    ));
    assert!(served(&gateway, &Request::get("/"), 4) < 4);
    knoxcall_tests::eventually("a token", || (gateway.get("/").status == 200).then_some(()));
}

#[test]
fn without_a_limit_nothing_is_told() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.get("/");
    response.assert_served();
    assert_eq!(response.header("x-ratelimit-limit"), None);
}

#[test]
fn a_limit_that_is_switched_off_is_none() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &limited(&upstream, 1, 0).edit_route("echo", json!({"rate_limit_enabled": false})),
    );
    assert_eq!(served(&gateway, &Request::get("/"), 5), 5);
}

#[test]
fn a_refused_request_takes_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &limited(&upstream, 3, 0).edit_route("echo", json!({"allowed_methods": ["GET"]})),
    );
    for _ in 0..5 {
        gateway
            .send(&Request::post("/", "x"))
            .assert_refused(405, "method_not_allowed");
        gateway
            .send(&Request::get("/.."))
            .assert_refused(400, "invalid_path");
        gateway
            .send(&Request::get("/").key(keys::UNKNOWN))
            .assert_refused(401, "unauthorized");
    }
    assert_eq!(served(&gateway, &Request::get("/"), 5), 3);
}

#[test]
fn environments_have_limits_of_their_own() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&limited(&upstream, 2, 0));
    assert_eq!(served(&gateway, &Request::get("/"), 4), 2);
    assert_eq!(
        served(&gateway, &Request::get("/").environment("staging"), 4),
        2
    );
}

#[test]
fn tenant_key_client_and_method_have_limits_too() {
    let upstream = Upstream::start();
    let limit = json!({"rate_limit_requests": 2, "rate_limit_window_sec": HOUR});
    let base = || Config::new(upstream.address());
    let tenant = base()
        .set("/tenant/rate_limit_requests", json!(2))
        .set("/tenant/rate_limit_window_sec", json!(HOUR));
    let key = base()
        .set("/api_keys/0/rate_limit_requests", json!(2))
        .set("/api_keys/0/rate_limit_window_sec", json!(HOUR));
    let client = base().edit_client("backend", limit.clone());
    let mut method = limit;
    method["method"] = json!("POST");
    let method = base().edit_route("echo", json!({"method_configs": [method]}));
    let post = Request::post("/", "x");
    for (name, config, limited, free) in [
        ("tenant", tenant, Request::get("/"), None),
        (
            "key",
            key,
            Request::get("/"),
            Some(Request::get("/").key(keys::CLIENT)),
        ),
        (
            "client",
            client,
            Request::get("/").key(keys::CLIENT),
            Some(Request::get("/")),
        ),
        ("method", method, post, Some(Request::get("/"))),
    ] {
        let gateway = Gateway::start(&config);
        assert_eq!(served(&gateway, &limited, 4), 2, "{name}");
        let refused = gateway.send(&limited);
        assert!(
            refused.text().contains(name),
            "which limit? {}",
            refused.text()
        );
        if let Some(free) = free {
            assert_eq!(served(&gateway, &free, 4), 4, "{name}");
        }
    }
}

#[test]
fn the_tightest_limit_is_told() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &limited(&upstream, 50, 0)
            .set("/tenant/rate_limit_requests", json!(5))
            .set("/tenant/rate_limit_window_sec", json!(HOUR)),
    );
    let response = gateway.get("/");
    assert_eq!(response.header("x-ratelimit-limit"), Some("5"));
    assert_eq!(response.header("x-ratelimit-remaining"), Some("4"));
}

#[test]
fn a_refusal_at_one_tier_gives_back_what_others_took() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &limited(&upstream, 1, 0)
            .set("/tenant/rate_limit_requests", json!(3))
            .set("/tenant/rate_limit_window_sec", json!(HOUR))
            .route(json!({"slug": "free", "target_base_url": upstream.url()})),
    );
    assert_eq!(served(&gateway, &Request::get("/"), 10), 1);
    assert_eq!(served(&gateway, &Request::get("/").route("free"), 10), 2);
}

#[test]
fn a_reload_in_the_middle_of_a_window_resets_nothing() {
    let upstream = Upstream::start();
    let config = limited(&upstream, 5, 0);
    let gateway = Gateway::start(&config);
    assert_eq!(served(&gateway, &Request::get("/"), 3), 3);

    gateway.rewrite_and_wait(
        &config
            .clone()
            .variable("unrelated", json!({"production": "1"})),
    );
    assert_eq!(served(&gateway, &Request::get("/"), 6), 2);

    gateway.rewrite_and_wait(&config);
    assert_eq!(served(&gateway, &Request::get("/"), 3), 0);
}

#[test]
fn many_callers_at_once_get_no_more_than_the_limit() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&limited(&upstream, 40, 10));
    let passed: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| served(&gateway, &Request::get("/"), 20)))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 50);
}

fn limited(upstream: &Upstream, requests: u32, burst: u32) -> Config {
    Config::new(upstream.address()).edit_route(
        "echo",
        json!({
            "rate_limit_requests": requests,
            "rate_limit_window_sec": HOUR,
            "rate_limit_burst": burst,
        }),
    )
}

/// How many of `count` requests were served; the others were rate-limited.
fn served(gateway: &Gateway, request: &Request, count: usize) -> usize {
    let answers: Vec<Response> = (0..count).map(|_| gateway.send(request)).collect();
    let refused = answers.iter().filter(|answer| answer.status != 200);
    refused.for_each(|answer| answer.assert_refused(429, "rate_limited"));
    answers.iter().filter(|answer| answer.status == 200).count()
}
