//! Which methods a route serves.

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;

#[test]
fn a_method_outside_the_list_gets_405_with_allow() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"allowed_methods": ["GET", "POST"]})),
    );
    gateway.get("/").assert_served();
    gateway.send(&Request::post("/", "x")).assert_served();
    for method in ["DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "PURGE"] {
        let response = gateway.send(&Request::new(method, "/"));
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("GET, POST"), "{method}");
        if method != "HEAD" {
            response.assert_refused(405, "method_not_allowed");
        }
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn trace_and_connect_are_never_served() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&Config::new(upstream.address()).edit_route("echo", json!({"open": true})));
    for request in [
        "TRACE / HTTP/1.1\r\nHost: gw.test\r\nx-knoxcall-route: echo\r\n\r\n",
        "CONNECT gw.test:443 HTTP/1.1\r\nHost: gw.test:443\r\nx-knoxcall-route: echo\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(request);
        client.read().assert_refused(405, "method_not_supported");
    }
    upstream.assert_untouched();
}

#[test]
fn a_method_in_small_letters_does_not_pass_by_what_is_configured_for_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({
            "method_configs": [{"method": "POST", "inject_headers": {"X-Posted": "1"}}],
        }),
    ));
    for method in ["post", "Post", "trace", "connect", &"A".repeat(21)] {
        let response = gateway.send(&Request::new(method, "/"));
        response.assert_refused(400, "malformed_request");
    }
    upstream.assert_untouched();
    gateway.send(&Request::post("/", "x")).assert_served();
    assert_eq!(upstream.only_request().header("x-posted"), Some("1"));
}

#[test]
fn method_overrides_are_dropped_where_methods_are_restricted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"allowed_methods": ["POST"]}))
            .route(json!({"slug": "any", "target_base_url": upstream.url()})),
    );
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
    ];
    let request = names.iter().fold(Request::post("/", "x"), |request, name| {
        request.header(name, "DELETE")
    });
    gateway.send(&request).assert_served();
    for name in names {
        assert_eq!(upstream.last_request().header(name), None, "{name}");
    }
    gateway.send(&request.route("any")).assert_served();
    assert_eq!(
        upstream.last_request().header("x-http-method-override"),
        Some("DELETE")
    );
}

#[test]
fn head_is_answered_without_a_body() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(Request::new("HEAD", "/").bytes());
        let response = client.read_to("HEAD");
        assert_eq!(
            (response.status, response.header("content-length")),
            (200, Some("2"))
        );
    }
    client.send(Request::new("HEAD", "/").route("missing").bytes());
    assert_eq!(client.read_to("HEAD").status, 404);
    client.send(Request::get("/").bytes());
    client.read().assert_served();
}
