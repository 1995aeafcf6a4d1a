//! `total_timeout_ms` bounds all of a request, whoever is waited for: every other
//! limit here is far longer than a test waits.

use std::net::TcpListener;
use std::time::Duration;

use knoxcall_tests::{Config, Gateway, Request, Session, Upstream, pause};
use serde_json::{Value, json};

const TOTAL_MS: u64 = 400;

fn gateway(target: &str, more: Value) -> Gateway {
    let mut fields = json!({
        "target_base_url": target,
        "environments": {},
        "total_timeout_ms": TOTAL_MS,
    });
    for limit in ["connect", "first_byte", "read", "write"] {
        fields[format!("{limit}_timeout_ms")] = 60_000.into();
    }
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let config = Config::new(nowhere).edit_route("echo", fields);
    Gateway::start(&config.edit_route("echo", more))
}

/// The kernel accepts for it; nobody reads the client's hello.
#[test]
fn a_tls_handshake_has_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("https://{}", silent.local_addr().unwrap());
    let gateway = gateway(&target, json!({}));
    let response = gateway.send(&Request::get("/"));
    response.assert_refused(504, "upstream_timeout");
}

/// The client is waited for, so it is the client's fault.
#[test]
fn a_body_that_must_be_seen_whole_has_no_more() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream.url(), json!({"inject_body": {"a": 1}}));
    let mut client = gateway.connect();
    let request = Request::post("/", "{}").header("Content-Type", "application/json");
    client.send(request.head_bytes());
    let response = client.read();
    response.assert_refused(408, "body_timeout");
    upstream.assert_untouched();
}

/// A client that reads nothing of a long answer does not stretch it either.
#[test]
fn an_answer_under_way_has_no_more() {
    let upstream = Upstream::scripted(|session: &mut Session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
        let part = [b'x'; 64 * 1024];
        while session.send(part).is_ok() {}
        Ok(())
    });
    let gateway = gateway(&upstream.url(), json!({}));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    pause(Duration::from_millis(TOTAL_MS));
    let record = gateway.wait_for_records(1).remove(0);
    assert_eq!(record.number("status_code"), Some(200.0));
    assert!(record.number("response_bytes") < Some(100_000_000.0));
}
