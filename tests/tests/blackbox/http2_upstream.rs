//! Upstreams that speak HTTP/2: in clear by prior knowledge, and calls of gRPC
//! from end to end.

use std::time::Duration;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, Http2Client, Http2Upstream, Request, keys, pause};
use serde_json::{Value, json};

fn config(upstream: &Http2Upstream, fields: Value) -> Config {
    Config::new(upstream.address())
        .edit_route("echo", json!({"protocol": "http2", "environments": {}}))
        .edit_route("echo", fields)
}

fn gateway(upstream: &Http2Upstream) -> Gateway {
    Gateway::start(&config(
        upstream,
        json!({"inject_headers": {"x-token": "{{secret:token}}"}, "leak_guard": "off"}),
    ))
}

#[test]
fn an_http1_client_is_served_by_an_http2_upstream() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let response = gateway.send(&Request::post("/a?b=c", "hello"));
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let arrived = upstream.last_request();
    assert_eq!(arrived.method, "POST");
    assert_eq!(arrived.path, "/a?b=c");
    assert_eq!(arrived.authority, upstream.address().to_string());
    assert_eq!(arrived.headers["x-token"], TOKEN);
    for hop in ["host", "connection", "transfer-encoding", "te"] {
        assert!(!arrived.headers.contains_key(hop), "{hop}");
    }
}

#[test]
fn bodies_of_every_size_pass_both_ways_framed_either_way() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let over_http2 = Http2Client::connect(gateway.address());
    for size in [0, 1, 65_535, 65_536, 65_537, 1_048_576] {
        let body = vec![b'x'; size];
        let by_length = gateway.send(&Request::post("/", body.clone()));
        assert_eq!(by_length.body.len(), size);
        let in_chunks = gateway.send(&Request::new("POST", "/").chunked(body.clone(), 1000));
        assert_eq!(in_chunks.body.len(), size);
        assert_eq!(over_http2.send(&Request::post("/", body)).body.len(), size);
    }
}

#[test]
fn requests_share_a_connection() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn requests_at_the_same_time_share_a_connection() {
    let upstream = Http2Upstream::start();
    // One worker: while one has a connection out of the pool for a new stream,
    // another would make its own.
    let gateway = Gateway::start(&config(&upstream, json!({})).set("/workers", json!(1)));
    let client = Http2Client::connect(gateway.address());
    client.send(&Request::get("/"));
    let mut streams: Vec<_> = (0..20)
        .map(|_| client.open(&Request::new("POST", "/echo"), false))
        .collect();
    pause(Duration::from_millis(100));
    for stream in &mut streams {
        stream.write("x", true);
    }
    for stream in streams {
        assert_eq!(stream.read().unwrap().body, b"x");
    }
    assert!(
        upstream.connections() <= 3,
        "{} connections",
        upstream.connections()
    );
}

#[test]
fn trailers_reach_a_client_that_understands_them() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let response = client.send(&Request::post("/trailers", "hello"));
    assert_eq!(response.body, b"hello");
    let trailers = response.trailers.expect("trailers");
    assert_eq!(trailers["x-checksum"], "abc");
    let over_http1 = gateway.send(&Request::post("/trailers", "hello"));
    assert_eq!(over_http1.text(), "hello");
}

#[test]
fn a_stream_reset_in_the_middle_is_no_whole_answer() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let broken = client.open(&Request::get("/reset"), true).read();
    assert!(broken.is_err(), "{broken:?}");
    let mut over_http1 = gateway.connect();
    over_http1.send(Request::get("/reset").bytes());
    let (_, rest) = over_http1.read_broken();
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "the last chunk would make it whole"
    );
}

#[test]
fn trailers_behind_no_body_reach_the_client_too() {
    let upstream = Http2Upstream::start();
    // The head waits for the body, of which its ETag speaks.
    let gateway = Gateway::start(&config(
        &upstream,
        json!({"inject_headers": {"x-token": "{{secret:token}}"}}),
    ));
    let response = Http2Client::connect(gateway.address()).send(&Request::get("/no-body"));
    assert!(response.body.is_empty());
    assert_eq!(response.header("etag"), Some("\"1\""));
    assert_eq!(response.trailers.expect("trailers")["x-checksum"], "abc");
}

#[test]
fn a_body_behind_a_status_that_has_none_does_not_pass() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let mut stream = client.open(&Request::post("/not-modified", "smuggled"), false);
    stream.write("smuggled", true);
    let answered = stream.read();
    assert!(answered.is_err(), "{answered:?}");
}

#[test]
fn a_stream_that_its_upstream_fails_is_not_begun_again() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    gateway.get("/").assert_served();
    let tries_of = |path: &str| {
        let before = upstream.requests().len();
        gateway.get(path).assert_refused(502, "upstream_failed");
        upstream.requests().len() - before
    };
    assert_eq!(tries_of("/failed"), 1);
    assert!(
        tries_of("/refused") > 1,
        "the upstream has not begun with it"
    );
}

#[test]
fn whoever_waits_to_be_asked_for_a_body_is_asked() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let mut client = gateway.connect();
    let request = Request::post("/", "hello").header("Expect", "100-continue");
    client.send(request.head_bytes());
    assert_eq!(client.read_any("POST").status, 100);
    client.send(request.body_bytes());
    assert_eq!(client.read().text(), "hello");

    // Of HTTP/1.0 nobody waits, nor knows such an answer.
    let mut client = gateway.connect();
    let request = request.version("HTTP/1.0");
    client.send(request.head_bytes());
    pause(Duration::from_millis(100));
    client.send(request.body_bytes());
    assert_eq!(client.read_any("POST").status, 200);
}

#[test]
fn an_upstream_without_http2_is_told_apart() {
    let upstream = knoxcall_tests::Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"protocol": "http2", "environments": {}})),
    );
    let response = gateway.get("/");
    assert!(matches!(response.status, 502 | 504), "{}", response.status);
}

fn grpc(target: &str) -> Request {
    Request::new("POST", target)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

#[test]
fn a_grpc_call_streams_both_ways_and_ends_in_trailers() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let mut call = client.open(&grpc("/pkg.Service/echo"), false);
    call.write("one", false);
    let (status, _, mut next, mut body) = call.begin();
    assert_eq!(status, 200);
    assert_eq!(next(), b"one");
    body.send_data("two".into(), false).unwrap();
    assert_eq!(next(), b"two");
    body.send_data("three".into(), true).unwrap();
    assert_eq!(next(), b"three");
    assert_eq!(next(), b"");
    assert_eq!(upstream.last_request().headers["te"], "trailers");
}

#[test]
fn an_answer_of_trailers_only_stays_one() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let response = client.send(&grpc("/pkg.Service/trailers-only"));
    assert_eq!(response.header("grpc-status"), Some("5"));
    assert!(response.body.is_empty() && response.trailers.is_none());
}

#[test]
fn a_refusal_to_a_grpc_caller_is_trailers_only() {
    let upstream = Http2Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    for (request, status) in [
        (
            grpc("/a").key("tk_live_nobody_000000000000000000000000000000"),
            "16",
        ),
        (grpc("/a").key(keys::SCOPED).environment("staging"), "7"),
        (grpc("/a").route("nothing"), "12"),
    ] {
        let response = client.open(&request, true).read().unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("application/grpc"));
        assert_eq!(response.header("grpc-status"), Some(status));
        assert!(response.header("x-request-id").is_some());
        assert!(response.body.is_empty() && response.trailers.is_none());
    }
    assert!(upstream.requests().is_empty());
}

/// A call whose one message comes after so long.
fn call_that_is_silent_for(silence: Duration, config: &Config) {
    let gateway = Gateway::start(config);
    let client = Http2Client::connect(gateway.address());
    let mut call = client.open(&grpc("/pkg.Service/echo"), false);
    pause(silence);
    call.write("late", true);
    assert_eq!(call.read().unwrap().body, b"late");
}

#[test]
fn a_silent_grpc_call_outlives_the_time_of_bodies_and_the_total_one() {
    let upstream = Http2Upstream::start();
    let times = json!({"read_timeout_ms": 200, "total_timeout_ms": 200});
    let config = config(&upstream, times).limit("body_timeout_ms", 200);
    call_that_is_silent_for(Duration::from_millis(600), &config);
}

/// Which counts from the fifth second of a body on.
#[test]
fn a_silent_grpc_call_has_no_least_rate() {
    if !knoxcall_tests::full() {
        return;
    }
    let upstream = Http2Upstream::start();
    let config = config(&upstream, json!({})).limit("min_body_rate", 1_000_000);
    call_that_is_silent_for(Duration::from_secs(7), &config);
}
