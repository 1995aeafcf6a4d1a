//! What is said again to an upstream, and what never is; and which requests
//! may share a connection.

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, Http2Client, Request, Upstream, keys, signing};
use serde_json::{Value, json};

/// One worker: another may come for a kept connection in the very moment in
/// which it is set free, and then opens one of its own.
fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address()).set("/workers", json!(1))
}

/// Keeps its first connection for one answer and closes it on the next
/// request, as a server does whose keep-alive has just run out.
fn forgetful() -> Upstream {
    Upstream::scripted(|session| {
        if session.number() == 0 {
            session.request()?;
            session.answer("first")?;
            // Some of the next request, and then the end.
            session.read(1)?;
            return Ok(());
        }
        while session.request()?.is_some() {
            session.answer("again")?;
        }
        Ok(())
    })
}

#[test]
fn a_body_of_1_mib_under_a_dead_pooled_connection_is_sent_again() {
    for fields in [
        json!({}),
        json!({"inject_body": {"token": "{{secret:token}}"}}),
    ] {
        let upstream = forgetful();
        let gateway = Gateway::start(
            &config(&upstream)
                .edit_route("echo", json!({"environments": {}}))
                .edit_route("echo", fields.clone()),
        );
        gateway.get("/").assert_served();
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(1_048_576 - 8));
        let request = Request::new("PUT", "/")
            .header("Content-Type", "application/json")
            .body(body.clone());
        let response = gateway.send(&request);
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "again"),
            "{fields}"
        );
        let seen = upstream.last_request();
        let expected: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(seen.json()["a"], expected["a"]);
        if fields != json!({}) {
            assert_eq!(seen.json()["token"], TOKEN);
        }
        assert_eq!(gateway.record_of(&response).number("attempts"), Some(2.0));
    }
}

/// The interim answer that let it send its body is not the answer.
#[test]
fn a_body_that_waited_for_our_word_is_sent_again_too() {
    let upstream = forgetful();
    let gateway = Gateway::start(&config(&upstream));
    gateway.get("/").assert_served();
    let mut client = gateway.connect();
    let request = Request::new("PUT", "/")
        .header("Expect", "100-continue")
        .body(vec![b'x'; 200_000]);
    client.send(request.head_bytes());
    assert_eq!(client.read_any("PUT").status, 100);
    client.send(request.body_bytes());
    assert_eq!(client.read().text(), "again");
    assert_eq!(upstream.last_request().body.len(), 200_000);
}

#[test]
fn a_post_is_never_sent_again() {
    for size in [0, 10, 1_048_576] {
        let upstream = forgetful();
        let gateway = Gateway::start(&config(&upstream));
        gateway.get("/").assert_served();
        gateway
            .send(&Request::post("/", vec![b'x'; size]))
            .assert_refused(502, "upstream_failed");
        assert_eq!(upstream.connections(), 1, "{size} bytes");
    }
}

/// Keeps its first connection for one answer and closes it once it has this
/// much of the next request's body.
fn forgetful_after(body: usize) -> Upstream {
    Upstream::scripted(move |session| {
        if session.number() == 0 {
            session.request()?;
            session.answer("first")?;
            session.head()?;
            session.read(body)?;
            return Ok(());
        }
        while session.request()?.is_some() {
            session.answer("again")?;
        }
        Ok(())
    })
}

/// In chunks, or longer than what is kept: it streams, and nobody has what has
/// gone by. Some of it has come, or all.
#[test]
fn a_put_whose_body_is_gone_is_never_sent_again() {
    let put = Request::new("PUT", "/");
    let in_chunks = put.clone().chunked("hello", 5);
    let longer_than_kept = put.body(vec![b'x'; 1_048_577]);
    for (request, sent) in [(&in_chunks, 10), (&in_chunks, 15), (&longer_than_kept, 10)] {
        let upstream = forgetful_after(sent);
        let gateway = Gateway::start(&config(&upstream));
        gateway.get("/").assert_served();
        let mut client = gateway.connect();
        client.send(request.head_bytes());
        client.send(&request.body_bytes()[..sent]);
        let response = client.read();
        response.assert_refused(502, "upstream_failed");
        let record = gateway.record_of(&response);
        assert_eq!(record.number("attempts"), Some(1.0), "{sent} bytes");
        assert_eq!(upstream.connections(), 1, "{sent} bytes");
        assert_eq!(upstream.only_request().method, "GET");
    }
}

#[test]
fn nor_is_one_over_http2() {
    let upstream = forgetful_after(10);
    let gateway = Gateway::start(&config(&upstream));
    gateway.get("/").assert_served();
    let client = Http2Client::connect(gateway.address());
    let mut stream = client.open(&Request::new("PUT", "/"), false);
    stream.write("hello", false);
    let answer = stream.read().expect("an answer");
    answer.assert_refused(502, "upstream_failed");
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.only_request().method, "GET");
}

#[test]
fn a_signed_put_is_sent_again_and_its_signature_counted_once() {
    let upstream = forgetful();
    let gateway = Gateway::start(
        &config(&upstream)
            .edit_route(
                "echo",
                json!({"require_signature": true, "environments": {}}),
            )
            .edit_client("backend", json!({"assignments": [{}]}))
            .route(json!({"slug": "plain", "target_base_url": upstream.url()})),
    );
    gateway
        .send(&Request::get("/").route("plain"))
        .assert_served();
    let body = vec![b'x'; 300_000];
    let now = signing::timestamp();
    let signature = signing::v1(
        knoxcall_tests::config::SIGNING_SECRET,
        now,
        "PUT",
        "/",
        &body,
    );
    let request = Request::new("PUT", "/")
        .key(keys::CLIENT)
        .header("x-timestamp", &now.to_string())
        .header("x-signature", &signature)
        .body(body.clone());
    let response = gateway.send(&request);
    assert_eq!((response.status, response.text().as_str()), (200, "again"));
    assert_eq!(upstream.last_request().body, body);
    gateway.send(&request).assert_refused(401, "nonce_replayed");
}

#[test]
fn a_fresh_connection_that_breaks_is_not_tried_again() {
    let upstream = Upstream::scripted(|session| session.request().map(drop));
    let gateway = Gateway::start(&config(&upstream));
    gateway.get("/").assert_refused(502, "upstream_failed");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn connections_are_kept_and_shared_within_one_environment() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    for _ in 0..5 {
        gateway.get("/").assert_served();
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn connections_are_never_shared_across_environments() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    for environment in ["production", "staging", "production", "staging"] {
        gateway
            .send(&Request::get("/").environment(environment))
            .assert_served();
    }
    let on: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!((upstream.connections(), on[0], on[1]), (2, on[2], on[3]));
    assert_ne!(on[0], on[1]);
}

#[test]
fn a_connection_with_unread_bytes_is_not_used_again() {
    let upstream = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            session.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&config(&upstream));
    for _ in 0..3 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
}
