//! Signed bodies: the whole of one is judged before an upstream hears of it.

use std::time::Duration;

use knoxcall_tests::config::SIGNING_SECRET;
use knoxcall_tests::{Config, Gateway, Request, Upstream, keys, pause, signing};
use serde_json::json;

#[test]
fn nothing_reaches_the_upstream_before_the_whole_body_is_verified() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    let body = vec![b'x'; 200_000];
    let mut tampered = body.clone();
    *tampered.last_mut().unwrap() = b'y';
    for request in [
        sign(&body).body(tampered.clone()),
        sign(&body).chunked(tampered, 10_000),
    ] {
        gateway
            .send(&request)
            .assert_refused(401, "signature_invalid");
    }
    upstream.assert_untouched();
    assert_eq!(upstream.connections(), 0);
}

/// What has not been sent on may be sent again as it is.
#[test]
fn a_body_that_is_refused_behind_its_signature_spends_none() {
    let upstream = Upstream::start();
    let merging = json!({"inject_body": {"a": 1}});
    let gateway = Gateway::start(&config(&upstream).edit_route("echo", merging));
    let request = sign(b"no object").header("Content-Type", "application/json");
    let request = request.body("no object");
    for _ in 0..2 {
        gateway.send(&request).assert_refused(422, "body_not_json");
    }
    upstream.assert_untouched();
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_asked_for() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    let body = vec![b'x'; 10_000];
    let request = sign(&body)
        .header("Expect", "100-continue")
        .body(body.clone());
    let mut client = gateway.connect();
    client.send(request.head_bytes());
    assert_eq!(client.read_any("POST").status, 100);
    client.send(request.body_bytes());
    client.read_any("POST").assert_served();
    let seen = upstream.only_request();
    assert_eq!((seen.header("expect"), seen.body.len()), (None, 10_000));
}

#[test]
fn a_refusal_comes_instead_of_100_continue() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    let request = sign(b"x")
        .header("Expect", "100-continue")
        .route("missing")
        .body("x");
    let mut client = gateway.connect();
    client.send(request.head_bytes());
    client
        .read_any("POST")
        .assert_refused(404, "route_not_found");
}

#[test]
fn a_body_over_the_limit_is_refused_by_length_and_in_chunks() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream).limit("max_inspected_body_bytes", 10_000));
    let fits = vec![b'x'; 10_000];
    gateway
        .send(&sign(&fits).body(fits.clone()))
        .assert_served();
    let over = vec![b'x'; 10_001];
    for request in [
        sign(&over).body(over.clone()),
        sign(&over).chunked(over.clone(), 1000),
    ] {
        let mut client = gateway.connect();
        client.try_send(request.bytes());
        client.read().assert_refused(413, "body_too_large");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_declared_length_over_the_limit_is_refused_without_waiting_for_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    let mut client = gateway.connect();
    let head = String::from_utf8(sign(b"x").head_bytes()).unwrap();
    client.send(head.replace("\r\n\r\n", "\r\nContent-Length: 99999999999\r\n\r\n"));
    client.read().assert_refused(413, "body_too_large");
    upstream.assert_untouched();
}

/// Else a body dripped past its signature's end would be accepted, and twice:
/// what is remembered of a signature is forgotten at that moment.
#[test]
fn a_signature_that_ends_while_the_body_comes_is_refused() {
    let upstream = Upstream::start();
    let short = json!({"signature_tolerance_sec": 1});
    let gateway = Gateway::start(&config(&upstream).edit_route("echo", short));
    let request = sign(b"slow").body("slow");
    let mut client = gateway.connect();
    client.send(request.head_bytes());
    pause(Duration::from_millis(3500));
    client.send(request.body_bytes());
    client
        .read_any("POST")
        .assert_refused(401, "signature_expired");
    upstream.assert_untouched();
}

fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address()).edit_route(
        "echo",
        json!({"require_signature": true, "environments": {}}),
    )
}

/// Headers that sign a POST to `/` with this body; the body itself is not set.
fn sign(body: &[u8]) -> Request {
    let timestamp = signing::timestamp();
    Request::new("POST", "/")
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header(
            "x-signature",
            &signing::v1(SIGNING_SECRET, timestamp, "POST", "/", body),
        )
}
