//! Who calls: keys, scopes, clients.

use knoxcall_tests::{Config, Gateway, Request, Upstream, keys};
use serde_json::json;

#[test]
fn a_known_key_is_served_and_recorded_by_its_id() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.get("/");
    response.assert_served();
    let record = gateway.record_of(&response);
    assert_eq!(record.text("key_id"), Some("tk_live_test0001"));
    assert_eq!(record.flag("authorized"), Some(true));
}

#[test]
fn a_key_that_is_not_valid_is_unknown() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).key(
        "off",
        "tk_live_disabled1_00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff",
        json!({"enabled": false}),
    ));
    let almost = format!("{}0", &keys::LIVE[..keys::LIVE.len() - 1]);
    for key in [
        keys::UNKNOWN,
        keys::EXPIRED,
        keys::TEST,
        "tk_live_disabled1_00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff",
        &almost,
        &keys::LIVE[..keys::LIVE.len() - 1],
        &format!("{}x", keys::LIVE),
        &keys::LIVE.to_uppercase(),
        "tk_live_test0001",
        "x",
        "",
    ] {
        gateway
            .send(&Request::get("/").key(key))
            .assert_refused(401, "unauthorized");
    }
    gateway
        .send(&Request::get("/").without("x-knoxcall-key"))
        .assert_refused(401, "unauthorized");
    upstream.assert_untouched();
}

#[test]
fn two_keys_in_one_request_are_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(&Request::get("/").header("x-knoxcall-key", keys::CLIENT))
        .assert_refused(400, "malformed_request");
    upstream.assert_untouched();
}

#[test]
fn a_scoped_key_is_held_to_its_route_and_environment() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .route(json!({"slug": "other", "target_base_url": upstream.url()})),
    );
    let ask = |route, environment| {
        gateway.send(
            &Request::get("/")
                .key(keys::SCOPED)
                .route(route)
                .environment(environment),
        )
    };
    ask("echo", "production").assert_served();
    ask("echo", "staging").assert_refused(403, "scope_denied");
    ask("other", "production").assert_refused(403, "scope_denied");
    // A scope does not tell what exists beyond it.
    ask("missing", "production").assert_refused(403, "scope_denied");
    ask("echo", "missing").assert_refused(403, "scope_denied");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_clients_address_is_enough_where_it_is_assigned() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).client(json!({
        "name": "office",
        "ip_address": "10.0.0.0/8, 127.0.0.0/8",
        "assignments": [{"route": "echo", "environment": "production"}],
    })));
    let by_address = Request::get("/").without("x-knoxcall-key");
    let response = gateway.send(&by_address);
    response.assert_served();
    let record = gateway.record_of(&response);
    assert_eq!(record.text("client_name"), Some("office"));
    assert_eq!(record.text("identification_method"), Some("ip"));

    gateway
        .send(&by_address.clone().environment("staging"))
        .assert_refused(401, "unauthorized");
    // A key that is shown is what counts.
    gateway
        .send(&by_address.key(keys::UNKNOWN))
        .assert_refused(401, "unauthorized");
}

#[test]
fn a_disabled_client_is_unknown() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_client(
        "backend",
        json!({"enabled": false, "ip_address": "127.0.0.1"}),
    ));
    gateway
        .send(&Request::get("/").key(keys::CLIENT))
        .assert_refused(401, "unauthorized");
    gateway
        .send(&Request::get("/").without("x-knoxcall-key"))
        .assert_refused(401, "unauthorized");
    upstream.assert_untouched();
}

#[test]
fn a_route_for_clients_refuses_keys_without_an_assigned_one() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"requires_clients": true}))
            .edit_client(
                "backend",
                json!({"assignments": [{"route": "echo", "environment": "production"}]}),
            ),
    );
    gateway
        .send(&Request::get("/").key(keys::CLIENT))
        .assert_served();
    gateway.get("/").assert_refused(403, "client_not_allowed");
    gateway
        .send(&Request::get("/").key(keys::CLIENT).environment("staging"))
        .assert_refused(403, "client_not_allowed");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_open_route_asks_for_no_caller_but_judges_the_one_it_gets() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&Config::new(upstream.address()).edit_route("echo", json!({"open": true})));
    gateway
        .send(&Request::get("/").without("x-knoxcall-key"))
        .assert_served();
    gateway
        .send(&Request::get("/").key(keys::UNKNOWN))
        .assert_refused(401, "unauthorized");
}
