//! Signed requests: what proves, what does not, and that each counts once.

use std::time::Duration;

use knoxcall_tests::config::{OLD_SIGNING_SECRET, SIGNING_SECRET};
use knoxcall_tests::signing::{self, V2};
use knoxcall_tests::{Cli, Config, Gateway, Request, Upstream, keys, pause};
use serde_json::{Value, json};

const ROUTE_ID: &str = "7d0a5f6e-3f1b-4c56-9a53-0d8f6f1f7a11";
const NONCE: &str = "nonce-0123456789abcdef";

#[test]
fn a_v1_signature_is_accepted_once() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    let request = v1(
        SIGNING_SECRET,
        signing::timestamp(),
        "/pay?amount=1",
        "body",
    );
    let served = gateway.send(&request);
    served.assert_served();
    assert_eq!(
        gateway.record_of(&served).flag("signature_valid"),
        Some(true)
    );
    let seen = upstream.only_request();
    assert_eq!(
        (seen.target.as_str(), seen.text().as_str()),
        ("/pay?amount=1", "body")
    );
    assert_eq!(
        (seen.header("x-signature"), seen.header("x-timestamp")),
        (None, None)
    );

    let replayed = gateway.send(&request);
    replayed.assert_refused(401, "nonce_replayed");
    let record = gateway.record_of(&replayed);
    assert_eq!(record.flag("signature_valid"), Some(true), "it was, once");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn whatever_is_changed_after_signing_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    let now = signing::timestamp();
    let good = || v1(SIGNING_SECRET, now, "/a?b=1", "body");
    let mut method = good();
    method.method = "PUT".to_owned();
    let mut target = good();
    target.target = "/a?b=2".to_owned();
    let mut recoded = good();
    recoded.target = "/%61?b=1".to_owned();
    for (what, request) in [
        ("method", method),
        ("query", target),
        ("path as received", recoded),
        ("body", good().body("bodY")),
        ("longer body", good().body("body\n")),
        ("no body", good().body("")),
        (
            "timestamp",
            good().replace("x-timestamp", &(now - 1).to_string()),
        ),
        ("another secret", v1("another", now, "/a?b=1", "body")),
        ("not hex", good().replace("x-signature", "zz")),
        (
            "cut",
            good().replace(
                "x-signature",
                &signing::v1(SIGNING_SECRET, now, "POST", "/a?b=1", b"body")[..63],
            ),
        ),
    ] {
        let response = gateway.send(&request);
        assert_eq!(
            (response.status, response.error().as_str()),
            (401, "signature_invalid"),
            "{what}"
        );
    }
    upstream.assert_untouched();
    gateway.send(&good()).assert_served();
}

#[test]
fn missing_parts_are_named() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    let good = || v1(SIGNING_SECRET, signing::timestamp(), "/", "");
    gateway
        .send(&good().without("x-signature"))
        .assert_refused(401, "signature_missing");
    gateway
        .send(&good().without("x-timestamp"))
        .assert_refused(401, "signature_missing");
    gateway
        .send(&good().header("X-Signature", "00"))
        .assert_refused(400, "malformed_request");
    gateway
        .send(&good().header("X-Timestamp", "1"))
        .assert_refused(400, "malformed_request");
    upstream.assert_untouched();
}

#[test]
fn a_timestamp_must_be_near_both_ways() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({"signature_tolerance_sec": 100})));
    let now = signing::now();
    for timestamp in [now - 110, now + 110, 0] {
        gateway
            .send(&v1(SIGNING_SECRET, timestamp, "/", "x"))
            .assert_refused(401, "signature_expired");
    }
    // A local store cannot know what it saw before it was started.
    gateway
        .send(&v1(SIGNING_SECRET, now + 60, "/", "x"))
        .assert_served();
    for nonsense in ["", "-1", "+1", "1e9", "0x10", "now", "1700000000000"] {
        let request = v1(SIGNING_SECRET, now, "/", "x").replace("x-timestamp", nonsense);
        let response = gateway.send(&request);
        assert_eq!(response.status, 401, "{nonsense:?}: {}", response.text());
        assert!(
            response.error().starts_with("signature_"),
            "{nonsense:?}: {}",
            response.text()
        );
    }
}

#[test]
fn a_timestamp_before_the_local_stores_start_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    let response = gateway.send(&v1(SIGNING_SECRET, signing::now() - 120, "/", "x"));
    assert_ne!(
        response.status, 200,
        "a replay from before the restart would be served"
    );
    upstream.assert_untouched();
}

/// A signature made in the second of the start may have been seen before it.
#[test]
fn a_timestamp_of_the_second_of_the_start_is_refused() {
    let upstream = Upstream::start();
    let before = signing::now();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    gateway
        .send(&v1(SIGNING_SECRET, before, "/", "x"))
        .assert_refused(401, "signature_expired");
    upstream.assert_untouched();
}

/// Else a signature that a short route has forgotten would count again on a
/// route that takes it for longer.
#[test]
fn a_used_signature_counts_on_no_route_that_takes_it_for_longer() {
    let upstream = Upstream::start();
    let long = json!({
        "slug": "long", "target_base_url": upstream.url(), "environments": {},
        "require_signature": true, "signature_tolerance_sec": 600,
    });
    let gateway = Gateway::start(
        &config(&upstream, json!({"signature_tolerance_sec": 1}))
            .route(long)
            .edit_client("backend", json!({"assignments": [{}]})),
    );
    let request = v1(SIGNING_SECRET, signing::timestamp(), "/", "x");
    gateway.send(&request).assert_served();
    pause(Duration::from_millis(3_500));
    gateway
        .send(&request)
        .assert_refused(401, "signature_expired");
    gateway
        .send(&request.route("long"))
        .assert_refused(401, "nonce_replayed");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn either_of_two_secrets_is_valid() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})).edit_client(
        "backend",
        json!({"signing_secrets": ["signing", "signing_old"]}),
    ));
    let now = signing::timestamp();
    for secret in [SIGNING_SECRET, OLD_SIGNING_SECRET] {
        gateway.send(&v1(secret, now, "/", secret)).assert_served();
    }
    gateway
        .send(&v1("neither", now, "/", "x"))
        .assert_refused(401, "signature_invalid");
}

#[test]
fn a_caller_without_signing_secret_cannot_sign() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})));
    gateway
        .send(&v1(SIGNING_SECRET, signing::timestamp(), "/", "x").key(keys::LIVE))
        .assert_refused(401, "signature_invalid");
    upstream.assert_untouched();
}

#[test]
fn the_names_of_the_headers_are_the_routes() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(
        &upstream,
        json!({"signature_header": "X-Acme-Mac", "timestamp_header": "X-Acme-Time"}),
    ));
    let now = signing::timestamp();
    let signature = signing::v1(SIGNING_SECRET, now, "GET", "/", b"");
    gateway
        .send(
            &Request::get("/")
                .key(keys::CLIENT)
                .header("x-acme-mac", &signature)
                .header("x-acme-time", &now.to_string()),
        )
        .assert_served();
    gateway
        .send(&v1(SIGNING_SECRET, now, "/", "x"))
        .assert_refused(401, "signature_missing");
}

#[test]
fn v2_binds_host_route_environment_and_nonce() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({"signature_version": "v2"})));
    let good = V2 {
        host: "gw.test",
        route_id: ROUTE_ID,
        environment: "production",
        nonce: NONCE,
    };
    gateway.send(&v2(good)).assert_served();
    gateway
        .send(&v2(good))
        .assert_refused(401, "nonce_replayed");
    for (what, wrong) in [
        (
            "host",
            V2 {
                host: "acme.knox.test",
                ..good
            },
        ),
        (
            "route",
            V2 {
                route_id: "7d0a5f6e-3f1b-4c56-9a53-0d8f6f1f7a12",
                ..good
            },
        ),
        (
            "environment",
            V2 {
                environment: "staging",
                ..good
            },
        ),
    ] {
        let request = v2(V2 {
            nonce: "another-nonce-0123456789",
            ..wrong
        });
        let response = gateway.send(&request);
        assert_eq!(
            (response.status, response.error().as_str()),
            (401, "signature_invalid"),
            "{what}"
        );
    }
    let swapped = v2(V2 {
        nonce: "nonce-that-was-signed-1",
        ..good
    })
    .replace("x-nonce", "nonce-that-was-sent-111");
    gateway
        .send(&swapped)
        .assert_refused(401, "signature_invalid");
    gateway
        .send(&v2(good).without("x-nonce"))
        .assert_refused(401, "signature_missing");
    for nonce in [
        "short",
        "has space in it 0123456",
        "has.dots.in.it.0123456",
        &"n".repeat(129),
    ] {
        gateway
            .send(&v2(V2 { nonce, ..good }))
            .assert_refused(401, "signature_invalid");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_wrong_signature_does_not_use_up_a_nonce() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({"signature_version": "v2"})));
    let good = V2 {
        host: "gw.test",
        route_id: ROUTE_ID,
        environment: "production",
        nonce: NONCE,
    };
    gateway
        .send(&v2(good).replace("x-signature", &"0".repeat(64)))
        .assert_refused(401, "signature_invalid");
    gateway.send(&v2(good)).assert_served();
}

#[test]
fn replays_are_known_after_a_reload() {
    let upstream = Upstream::start();
    let config = config(&upstream, json!({}));
    let gateway = Gateway::start(&config);
    let request = v1(SIGNING_SECRET, signing::timestamp(), "/", "x");
    gateway.send(&request).assert_served();
    gateway.rewrite_and_wait(&config.variable("unrelated", json!({"production": "1"})));
    gateway.send(&request).assert_refused(401, "nonce_replayed");
}

#[test]
fn the_sign_command_makes_headers_that_are_accepted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, json!({})).route(json!({
        "slug": "second", "id": "11111111-2222-4333-8444-555555555555", "target_base_url": upstream.url(),
        "require_signature": true, "signature_version": "v2",
    })).edit_client("backend", json!({"assignments": [{}]})));
    let v1 = ["--version", "v1"].as_slice();
    let v2 = [
        "--version",
        "v2",
        "--host",
        "gw.test",
        "--environment",
        "production",
        "--route-id",
        "11111111-2222-4333-8444-555555555555",
    ]
    .as_slice();
    let timestamp = signing::timestamp().to_string();
    for (route, version) in [("echo", v1), ("second", v2)] {
        let output = Cli::new(
            [
                "sign",
                "--timestamp",
                &timestamp,
                "--secret-env",
                "SIGNING",
                "--method",
                "POST",
                "--target",
                "/a?b=%20",
                "--body",
                "hello",
            ]
            .iter()
            .chain(version),
        )
        .env("SIGNING", SIGNING_SECRET)
        .run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        let request = output
            .stdout
            .lines()
            .filter_map(|line| {
                line.trim_start_matches("-H ")
                    .trim_matches('\'')
                    .split_once(": ")
            })
            .fold(
                Request::post("/a?b=%20", "hello")
                    .key(keys::CLIENT)
                    .route(route),
                |request, (name, value)| request.header(name, value),
            );
        gateway.send(&request).assert_served();
    }
}

fn config(upstream: &Upstream, fields: Value) -> Config {
    Config::new(upstream.address())
        .edit_route(
            "echo",
            json!({"id": ROUTE_ID, "require_signature": true, "environments": {}}),
        )
        .edit_route("echo", fields)
}

fn v1(secret: &str, timestamp: u64, target: &str, body: &str) -> Request {
    Request::post(target, body)
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header(
            "x-signature",
            &signing::v1(secret, timestamp, "POST", target, body.as_bytes()),
        )
}

fn v2(more: V2<'_>) -> Request {
    let timestamp = signing::timestamp();
    let signature = signing::v2(SIGNING_SECRET, timestamp, "POST", "/a", b"body", more);
    Request::post("/a", "body")
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header("x-nonce", more.nonce)
        .header("x-signature", &signature)
}
