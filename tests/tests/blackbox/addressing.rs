//! Which hosts are ours, and what every other one is told.

use knoxcall_tests::{Config, Gateway, Request, Response, Upstream, keys};
use serde_json::json;

#[test]
fn every_form_of_our_host_reaches_the_tenant() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for (host, target) in [
        ("gw.test", "/x"),
        ("GW.Test", "/x"),
        ("gw.test:8080", "/x"),
        ("acme.knox.test", "/api/x"),
        ("ACME.knox.TEST:443", "/api/x"),
        ("a1b2c3d4.acme.knox.test", "/x"),
        ("A1B2C3D4.Acme.Knox.Test", "/x"),
    ] {
        gateway
            .send(&Request::get(target).host(host))
            .assert_served();
        assert_eq!(upstream.last_request().target, "/x", "{host}{target}");
    }
}

#[test]
fn the_sandbox_form_serves_test_keys() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.send(
        &Request::get("/api/x")
            .host("sandbox-acme.knox.test")
            .key(keys::TEST)
            .environment("sandbox"),
    );
    response.assert_served();
    assert_eq!(
        gateway.record_of(&response).text("environment"),
        Some("sandbox")
    );
}

#[test]
fn api_is_an_ordinary_path_on_the_other_forms() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for host in ["gw.test", "a1b2c3d4.acme.knox.test"] {
        gateway
            .send(&Request::get("/api/x").host(host))
            .assert_served();
        assert_eq!(upstream.last_request().target, "/api/x", "{host}");
    }
}

#[test]
fn every_foreign_host_gets_the_same_421() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let hosts = [
        "evil.test",
        "knox.test",
        "other.knox.test",
        "xgw.test",
        "gw.test.evil.test",
        "deadbeef.acme.knox.test",
        "a1b2c3d4.other.knox.test",
        "a1b2c3d.acme.knox.test",
        "x.a1b2c3d4.acme.knox.test",
        "sandbox-other.knox.test",
        "localhost",
        "127.0.0.1",
        "[::1]",
    ];
    let answers: Vec<_> = hosts
        .iter()
        .map(|host| {
            let response = gateway.send(&Request::get("/").host(host));
            response.assert_refused(421, "misdirected_request");
            without_identity(&response)
        })
        .collect();
    for (host, answer) in hosts.iter().zip(&answers) {
        assert_eq!(answer, &answers[0], "{host} is told something else");
    }
    upstream.assert_untouched();
    assert_eq!(
        gateway.metric(
            "knoxcall_refusals_total",
            &[("type", "misdirected_request")]
        ),
        hosts.len() as f64
    );
}

#[test]
fn a_rolled_hash_is_refused_at_once() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let old = Request::get("/").host("a1b2c3d4.acme.knox.test");
    let new = Request::get("/").host("0badcafe.acme.knox.test");
    gateway.send(&old).assert_served();
    gateway
        .send(&new)
        .assert_refused(421, "misdirected_request");

    gateway.rewrite_and_wait(&config.set("/tenant/subdomain_hash", json!("0badcafe")));

    gateway.send(&new).assert_served();
    gateway
        .send(&old)
        .assert_refused(421, "misdirected_request");
}

#[test]
fn a_rolled_hash_overlaps_only_as_long_as_configured() {
    let upstream = Upstream::start();
    let config = |until: &str| {
        Config::new(upstream.address())
            .set("/tenant/subdomain_hash", json!("0badcafe"))
            .set(
                "/tenant/previous_hash",
                json!({"hash": "a1b2c3d4", "valid_until": until}),
            )
    };
    let old = Request::get("/").host("a1b2c3d4.acme.knox.test");
    let gateway = Gateway::start(&config("2999-01-01T00:00:00Z"));
    gateway.send(&old).assert_served();

    gateway.rewrite_and_wait(&config("2020-01-01T00:00:00Z"));

    gateway
        .send(&old)
        .assert_refused(421, "misdirected_request");
}

/// All of an answer but what differs from request to request.
fn without_identity(response: &Response) -> (Vec<(String, String)>, String) {
    let id = response.request_id();
    let headers = response
        .head
        .headers
        .iter()
        .filter(|(name, _)| {
            !name.eq_ignore_ascii_case("date") && !name.eq_ignore_ascii_case("x-request-id")
        })
        .cloned()
        .collect();
    (headers, response.text().replace(&id, "ID"))
}
