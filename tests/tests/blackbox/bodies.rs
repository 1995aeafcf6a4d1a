//! Bodies of every awkward size, by length and in chunks, plain, signed and
//! changed: what arrives is what was sent, framed right.

use knoxcall_tests::config::{SIGNING_SECRET, TOKEN};
use knoxcall_tests::{Config, Gateway, RawClient, Request, Upstream, keys, signing};
use serde_json::json;

/// Around the boundaries of buffers: Pingora's own replay ends at 64 KiB.
const SIZES: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 1_048_576];

#[test]
fn plain_bodies_arrive_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for body in bodies() {
        for request in framings(&Request::new("POST", "/"), &body) {
            exchange(&mut client, &request);
            assert_eq!(upstream.last_request().body, body, "{} bytes", body.len());
        }
    }
    assert_eq!(upstream.requests().len(), SIZES.len() * 3);
}

#[test]
fn signed_bodies_arrive_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"require_signature": true, "environments": {}}),
    ));
    let mut client = gateway.connect();
    for body in bodies() {
        for (number, request) in framings(&Request::new("POST", "/"), &body)
            .into_iter()
            .enumerate()
        {
            let target = format!("/{number}");
            let timestamp = signing::timestamp();
            let signature = signing::v1(SIGNING_SECRET, timestamp, "POST", &target, &body);
            let mut request = request
                .key(keys::CLIENT)
                .header("x-timestamp", &timestamp.to_string())
                .header("x-signature", &signature);
            request.target = target;
            exchange(&mut client, &request);
            assert_eq!(upstream.last_request().body, body, "{} bytes", body.len());
        }
    }
}

#[test]
fn changed_bodies_arrive_whole_and_framed_right() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_body": {"token": "{{secret:token}}"}, "environments": {}}),
    ));
    let mut client = gateway.connect();
    for size in SIZES {
        // A JSON object of exactly this size, where one can be.
        let overhead = r#"{"a":""}"#.len();
        let Some(filling) = size.checked_sub(overhead) else {
            continue;
        };
        let filling = "x".repeat(filling);
        let body = format!(r#"{{"a":"{filling}"}}"#);
        assert_eq!(body.len(), size);
        let plain = Request::new("POST", "/").header("Content-Type", "application/json");
        for request in framings(&plain, body.as_bytes()) {
            exchange(&mut client, &request);
            let seen = upstream.last_request();
            assert_eq!(
                seen.json(),
                json!({"a": filling, "token": TOKEN}),
                "{size} bytes"
            );
            assert!(seen.head.is_chunked() || seen.head.length() == Some(seen.body.len()));
        }
    }
}

/// Nothing is an object without members; no object has one byte.
#[test]
fn the_smallest_bodies_are_changed_or_refused_however_they_come() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_body": {"token": "{{secret:token}}"}, "environments": {}}),
    ));
    let mut client = gateway.connect();
    let plain = Request::new("POST", "/").header("Content-Type", "application/json");
    for request in framings(&plain, b"") {
        exchange(&mut client, &request);
        let seen = upstream.last_request();
        assert_eq!(seen.json(), json!({"token": TOKEN}));
        assert!(seen.head.is_chunked() || seen.head.length() == Some(seen.body.len()));
    }
    let served = upstream.requests().len();
    for byte in [b"1", b"{"] {
        for request in framings(&plain, byte) {
            client.send(request.bytes());
            let response = client.read();
            response.assert_refused(422, "body_not_json");
            assert!(response.keeps_alive(), "its body was read whole");
        }
    }
    assert_eq!(upstream.requests().len(), served);
}

#[test]
fn large_answers_arrive_whole() {
    let body: Vec<u8> = (0..1_048_576_u32).map(|at| (at % 251) as u8).collect();
    let length = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(),
        body.clone(),
    ]
    .concat();
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for part in body.chunks(65_537) {
        chunked.extend(format!("{:X};ext=1\r\n", part.len()).bytes());
        chunked.extend([part, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\n\r\n");
    for answer in [length, chunked] {
        let upstream = Upstream::answering(answer);
        let gateway = Gateway::start(&Config::new(upstream.address()));
        let mut client = gateway.connect();
        for _ in 0..2 {
            client.send(Request::get("/").bytes());
            let response = client.read();
            assert_eq!((response.status, response.body == body), (200, true));
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_arrives_whole() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\n\r\nup to the end")
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    assert_eq!(gateway.get("/").text(), "up to the end");
}

fn bodies() -> Vec<Vec<u8>> {
    SIZES
        .iter()
        .map(|size| (0..*size).map(|at| (at % 253) as u8).collect())
        .collect()
}

/// By length, in chunks, and in chunks that end where buffers do not.
fn framings(request: &Request, body: &[u8]) -> [Request; 3] {
    [
        request.clone().body(body),
        request.clone().chunked(body, 16_384),
        request.clone().chunked(body, 30_011),
    ]
}

fn exchange(client: &mut RawClient, request: &Request) {
    client.send(request.bytes());
    let response = client.read();
    response.assert_served();
    assert!(response.keeps_alive());
}

#[test]
fn an_inspected_body_over_the_limit_is_refused_however_it_comes() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .limit("max_inspected_body_bytes", 10)
            .edit_route("echo", json!({"inject_body": {"a": 1}, "environments": {}})),
    );
    let body = br#"{"long":"enough"}"#.to_vec();
    let request = || Request::new("POST", "/").header("Content-Type", "application/json");
    for request in [
        request().body(body.clone()),
        request().chunked(body.clone(), 100),
    ] {
        gateway.send(&request).assert_refused(413, "body_too_large");
    }
    upstream.assert_untouched();
}
