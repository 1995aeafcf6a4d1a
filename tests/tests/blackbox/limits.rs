//! Bounds on connections, heads and bodies.

use knoxcall_tests::{Config, Gateway, RawClient, Request, Upstream, eventually};
use serde_json::json;

#[test]
fn connections_beyond_the_total_are_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("max_connections", 4));
    let mut held = hold(&gateway, 4);
    assert_overloaded(&gateway);
    assert!(gateway.metric("knoxcall_connections_refused_total", &[]) >= 1.0);

    held.pop();
    eventually("a place", || serves(&gateway).then_some(()));
}

#[test]
fn connections_beyond_one_addresss_share_are_refused() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&Config::new(upstream.address()).limit("max_connections_per_address", 3));
    let _held = hold(&gateway, 3);
    assert_overloaded(&gateway);
}

#[test]
fn trusted_proxies_are_not_counted_by_address() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .limit("max_connections_per_address", 3)
            .set("/trusted_proxies", json!([{"cidr": "127.0.0.1/32"}])),
    );
    let _held = hold(&gateway, 6);
    assert!(serves(&gateway));
}

#[test]
fn the_head_budget_is_configurable_and_exact() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .limit("head_bytes", 1024)
            .limit("head_fields", 10),
    );
    let ordinary = Request::get("/").header("x-pad", "").bytes().len();
    let padded = |size: usize| Request::get("/").header("x-pad", &"a".repeat(size - ordinary));
    gateway.send(&padded(1024)).assert_served();
    gateway
        .send(&padded(1025))
        .assert_refused(431, "head_too_large");

    // Host, key and route are three already.
    let fields =
        |count: usize| (0..count).fold(Request::get("/"), |request, _| request.header("x", "1"));
    gateway.send(&fields(7)).assert_served();
    gateway
        .send(&fields(8))
        .assert_refused(431, "head_too_large");
}

#[test]
fn many_kept_connections_are_served_in_turn() {
    let count = if knoxcall_tests::full() { 1000 } else { 100 };
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut clients = hold(&gateway, count);
    for client in &mut clients {
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    }
    assert!(gateway.metric("knoxcall_connections_open", &[]) >= count as f64);
    assert!(
        upstream.connections() < 20,
        "{} upstream connections",
        upstream.connections()
    );
}

#[test]
fn one_connection_serves_many_requests() {
    let count = if knoxcall_tests::full() { 20_000 } else { 500 };
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for number in 0..count {
        client.send(Request::get(&format!("/{number}")).bytes());
        let response = client.read();
        response.assert_served();
        assert!(response.keeps_alive());
    }
}

#[test]
fn a_refusal_keeps_the_connection_where_the_framing_is_sound() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(Request::get("/").route("missing").bytes());
        let refused = client.read();
        refused.assert_refused(404, "route_not_found");
        assert!(refused.keeps_alive());
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    }
}

#[test]
fn the_body_of_a_refused_request_is_never_read_as_the_next_one() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let smuggled = Request::get("/smuggled").bytes();
    for request in [
        Request::post("/", smuggled.clone()).route("missing"),
        Request::post("/", smuggled.clone()).key("x"),
        Request::new("POST", "/")
            .chunked(smuggled.clone(), 10)
            .route("missing"),
        Request::post("/..", smuggled.clone()),
    ] {
        let mut client = gateway.connect();
        client.send(request.bytes());
        let refused = client.read();
        assert!(refused.status >= 400);
        client.try_send(Request::get("/next").bytes());
        if refused.keeps_alive() {
            client.read().assert_served();
            assert_eq!(upstream.last_request().target, "/next");
        } else {
            assert!(client.is_closed());
        }
    }
    assert!(
        upstream
            .requests()
            .iter()
            .all(|request| request.target != "/smuggled")
    );
}

/// Connections that are known to be in the gateway's hands.
fn hold(gateway: &Gateway, count: usize) -> Vec<RawClient> {
    let open = || gateway.metric("knoxcall_connections_open", &[]);
    eventually("earlier connections to go", || (open() < 1.0).then_some(()));
    let clients: Vec<_> = (0..count).map(|_| gateway.connect()).collect();
    eventually("the connections", || (open() >= count as f64).then_some(()));
    clients
}

fn assert_overloaded(gateway: &Gateway) {
    let mut client = gateway.connect();
    client.try_send(Request::get("/").bytes());
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.is_empty() || answer.contains(" 503 "), "{answer}");
}

fn serves(gateway: &Gateway) -> bool {
    let mut client = gateway.connect();
    if !client.try_send(Request::get("/").header("Connection", "close").bytes()) {
        return false;
    }
    client.read_to_end().starts_with(b"HTTP/1.1 200")
}
