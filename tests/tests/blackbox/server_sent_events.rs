//! Server-sent events (`text/event-stream`): an answer without end, which has
//! an idle time in place of a total one, and passes event by event.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, Http2Client, Request, Upstream, pause};
use serde_json::json;

const SHORT: u64 = 400;

/// Begins an answer of this type, and sends as body what the channel brings.
fn telling(kind: &'static str) -> (Upstream, mpsc::Sender<String>) {
    let (tell, told) = mpsc::channel::<String>();
    let told = Mutex::new(told);
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            session.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            ))?;
            while let Ok(event) = told.lock().unwrap().recv() {
                session.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
            }
        }
        Ok(())
    });
    (upstream, tell)
}

/// Everything that has a time has a short one, but for streams.
fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address())
        .limit("body_timeout_ms", SHORT)
        .edit_route(
            "echo",
            json!({
                "read_timeout_ms": SHORT,
                "total_timeout_ms": SHORT,
                "inject_headers": {"Authorization": "Bearer {{secret:token}}"},
                "environments": {},
            }),
        )
}

#[test]
fn events_have_no_total_time() {
    let (upstream, tell) = telling("text/event-stream; charset=utf-8");
    let gateway = Gateway::start(&config(&upstream));
    let client = Http2Client::connect(gateway.address());
    let stream = client.open(&Request::get("/"), true);
    tell.send("data: one\n\n".to_owned()).unwrap();
    let (_, _, mut next, _) = stream.begin();
    assert_eq!(next(), b"data: one\n\n");
    for _ in 0..2 {
        pause(Duration::from_millis(2 * SHORT));
        tell.send("data: more\n\n".to_owned()).unwrap();
        assert_eq!(next(), b"data: more\n\n");
    }
}

#[test]
fn another_answer_has() {
    let (upstream, tell) = telling("text/plain");
    let gateway = Gateway::start(&config(&upstream));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    tell.send("one".to_owned()).unwrap();
    assert_eq!(client.read_begun(8).1, b"3\r\none\r\n");
    assert_eq!(client.read_to_end(), b"", "cut, without the last chunk");
}

#[test]
fn a_stream_of_events_that_is_silent_for_too_long_ends() {
    let (upstream, tell) = telling("text/event-stream");
    let gateway = Gateway::start(&config(&upstream).limit("stream_idle_timeout_ms", SHORT));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    tell.send(": hello\n\n".to_owned()).unwrap();
    assert_eq!(client.read_begun(14).1, b"9\r\n: hello\n\n\r\n");
    assert_eq!(client.read_to_end(), b"");
}

/// A body that is still on its way when they begin may rest as they do. A least
/// rate counts from the fifth second on.
#[test]
fn events_have_no_least_rate() {
    if !knoxcall_tests::full() {
        return;
    }
    let upstream = Upstream::scripted(|session| {
        session.head()?;
        session.read(1)?;
        session.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")?;
        session.read(1)?;
        session.send("data: 2\n\n")
    });
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("min_body_rate", 1_000));
    let mut client = gateway.connect();
    let request = Request::post("/", "ab");
    client.send(request.head_bytes());
    client.send("a");
    client.read_begun(0);
    pause(Duration::from_secs(7));
    client.send("b");
    let events = client.read_to_end();
    let events = String::from_utf8_lossy(&events);
    assert!(
        events.contains("data: 1") && events.contains("data: 2"),
        "{events}"
    );
}

#[test]
fn each_event_leaves_at_once_and_without_the_secret() {
    let (upstream, tell) = telling("text/event-stream");
    let gateway = Gateway::start(&config(&upstream));
    let client = Http2Client::connect(gateway.address());
    let stream = client.open(&Request::get("/"), true);
    let (begin, rest) = TOKEN.split_at(9);
    tell.send("data: first\n\n".to_owned()).unwrap();
    let (_, headers, mut next, _) = stream.begin();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(next(), b"data: first\n\n");
    let stars = "*".repeat(TOKEN.len());
    tell.send(format!("data: {TOKEN}\n\n")).unwrap();
    let masked = format!("data: {stars}\n\n");
    let mut read = Vec::new();
    while read.len() < masked.len() {
        read.extend(next());
    }
    assert_eq!(String::from_utf8_lossy(&read), masked);
    // Cut in the middle of it: what came before does not wait.
    tell.send(format!("data: {begin}")).unwrap();
    assert_eq!(next(), b"data: ");
    tell.send(format!("{rest}\n\n")).unwrap();
    let masked = format!("{stars}\n\n");
    let mut read = Vec::new();
    while read.len() < masked.len() {
        read.extend(next());
    }
    assert_eq!(String::from_utf8_lossy(&read), masked);
}
