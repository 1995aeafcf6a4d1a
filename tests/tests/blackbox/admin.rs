//! Health and metrics, on the listeners where they belong.

use knoxcall_tests::{
    Config, Gateway, RawClient, Redis, Request, Response, Upstream, eventually, keys,
};
use serde_json::json;

#[test]
fn health_is_told_on_hosts_that_are_not_a_tenants() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for host in ["probe.invalid", "127.0.0.1", "10.0.0.1:8080"] {
        for path in ["/healthz", "/livez"] {
            let response = gateway.send(&Request::bare("GET", path).host(host));
            assert_eq!(
                (response.status, &response.json()["status"]),
                (200, &json!("ok")),
                "{host}{path}"
            );
            assert_eq!(
                gateway.send(&Request::bare("HEAD", path).host(host)).status,
                200
            );
        }
    }
    upstream.assert_untouched();
}

#[test]
fn on_tenant_hosts_too_unless_a_route_is_named() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    assert_eq!(
        gateway.send(&Request::bare("GET", "/healthz")).json()["status"],
        "ok"
    );
    upstream.assert_untouched();
    gateway.send(&Request::get("/healthz")).assert_served();
    assert_eq!(upstream.only_request().target, "/healthz");
}

#[test]
fn a_request_that_names_a_route_is_no_probe_on_any_host() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for path in ["/healthz", "/livez"] {
        for route in ["echo", ""] {
            let request = Request::bare("GET", path).route(route);
            gateway
                .send(&request.clone().host("probe.invalid"))
                .assert_refused(421, "misdirected_request");
            gateway.send(&request).assert_refused(401, "unauthorized");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn only_the_exact_path_and_reading_methods_are_health() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for (method, path) in [
        ("GET", "/healthz/"),
        ("GET", "/healthz/x"),
        ("GET", "/HEALTHZ"),
        ("GET", "//healthz"),
        ("GET", "/%68ealthz"),
        ("POST", "/healthz"),
        ("GET", "/livezx"),
        ("GET", "/metrics"),
    ] {
        gateway
            .send(&Request::bare(method, path).host("probe.invalid"))
            .assert_refused(421, "misdirected_request");
    }
}

#[test]
fn the_admin_listener_is_read_only() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for path in ["/healthz", "/livez", "/metrics"] {
        assert_eq!(gateway.ask_admin("GET", path).status, 200, "{path}");
        assert_eq!(gateway.ask_admin("HEAD", path).status, 200, "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let response = gateway.ask_admin(method, path);
            assert!(
                response.status >= 400,
                "{method} {path}: {}",
                response.status
            );
        }
    }
    assert_eq!(gateway.ask_admin("GET", "/config").status, 404);
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for _ in 0..3 {
        gateway.get("/").assert_served();
    }
    gateway
        .send(&Request::get("/").key(keys::UNKNOWN))
        .assert_refused(401, "unauthorized");
    gateway.wait_for_records(4);
    assert_eq!(
        gateway.metric("knoxcall_requests_total", &[("status", "2xx")]),
        3.0
    );
    assert_eq!(
        gateway.metric("knoxcall_requests_total", &[("status", "4xx")]),
        1.0
    );
    assert_eq!(
        gateway.metric("knoxcall_refusals_total", &[("type", "unauthorized")]),
        1.0
    );
    assert_eq!(
        gateway.metric("knoxcall_upstream_responses_total", &[("status", "2xx")]),
        3.0
    );
    assert_eq!(gateway.metric("knoxcall_request_seconds_count", &[]), 4.0);
    assert_eq!(gateway.metric("knoxcall_requests_active", &[]), 0.0);
    assert_eq!(gateway.metric("knoxcall_records_written_total", &[]), 4.0);
    assert_eq!(gateway.metric("knoxcall_records_dropped_total", &[]), 0.0);
    assert_eq!(gateway.metric("knoxcall_bundle_routes", &[]), 1.0);
}

#[test]
fn no_label_comes_from_a_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let before = series(&gateway);
    for number in 0..30 {
        let mark = format!("unbounded-{number}");
        gateway.send(&Request::new("GET", &format!("/{mark}")).header("user-agent", &mark));
        gateway.send(&Request::new(&mark, "/"));
        gateway.send(&Request::get("/").host(&format!("{mark}.test")));
        gateway.send(&Request::get("/").route(&mark));
        gateway.send(&Request::get("/").environment(&mark));
        gateway.send(&Request::get("/").key(&mark));
    }
    assert_eq!(series(&gateway), before, "series appeared");
    assert!(!gateway.metrics().contains("unbounded"));
}

#[test]
fn a_remote_admin_address_must_be_asked_for() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::spawn(&Config::new(upstream.address()).admin("0.0.0.0:9"));
    assert_eq!(gateway.process().wait().code(), Some(2));
    assert!(
        gateway.process().stderr().contains("allow_remote"),
        "{}",
        gateway.process().stderr()
    );
}

fn series(gateway: &Gateway) -> usize {
    let response: Response = gateway.ask_admin("GET", "/metrics");
    response
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count()
}

#[test]
fn connections_to_the_admin_listener_are_few() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let ask = || {
        let mut client = RawClient::connect(gateway.admin());
        client.try_send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        client
    };
    let mut held: Vec<RawClient> = (0..200).map(|_| ask()).collect();
    let served = held
        .iter_mut()
        .filter_map(|client| (!client.is_closed()).then_some(()));
    let served = served.count();
    assert!(
        (1..=64).contains(&served),
        "{served} connections were served"
    );
    // Once they are gone there is room again.
    drop(held);
    eventually("room", || (!ask().is_closed()).then_some(()));
}

#[test]
fn redis_is_neither_up_nor_down_before_it_was_asked() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/counters", json!({"redis_url": redis.url()}))
            .edit_route("echo", json!({"rate_limit_requests": 100})),
    );
    assert!(!gateway.metrics().contains("knoxcall_redis_up"));
    gateway.get("/").assert_served();
    assert_eq!(gateway.metric("knoxcall_redis_up", &[]), 1.0);
}

#[test]
fn without_a_redis_nothing_is_down() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    assert_eq!(gateway.metric("knoxcall_redis_up", &[]), 1.0);
}
