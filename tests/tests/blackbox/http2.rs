//! HTTP/2 from clients (RFC 9113), in clear on the plain port: the same
//! decisions, the same answers, and limits of its own.

use std::process::Command;
use std::time::Duration;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{
    Config, Gateway, Http2Client, RawClient, Request, Upstream, eventually, keys, pause,
};
use serde_json::json;

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_headers": {"authorization": "Bearer {{secret:token}}"}, "environments": {}}),
    ))
}

#[test]
fn a_request_is_served_as_over_http1() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let response = client.send(&Request::get("/a?b=c").header("x-own", "1"));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-knox-upstream-status"), Some("200"));
    assert!(response.header("connection").is_none());
    let arrived = upstream.last_request();
    assert_eq!(
        (arrived.method.as_str(), arrived.target.as_str()),
        ("GET", "/a?b=c")
    );
    assert_eq!(
        arrived.header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(arrived.header("x-own"), Some("1"));
    assert_eq!(arrived.header("x-forwarded-host"), Some("gw.test"));
    assert_eq!(arrived.header("x-knoxcall-key"), None);
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(record.text("protocol"), Some("HTTP/2"));
}

#[test]
fn bodies_arrive_whole_with_and_without_a_length() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    for size in [0, 1, 65_535, 65_536, 65_537, 1_048_576] {
        let body = vec![b'x'; size];
        let response = client.send(&Request::post("/", body.clone()));
        assert_eq!(response.status, 200, "{size}");
        assert_eq!(upstream.last_request().body.len(), size);
        let announced = Request::post("/", body).header("content-length", &size.to_string());
        assert_eq!(client.send(&announced).status, 200, "{size}");
        assert_eq!(upstream.last_request().body.len(), size);
    }
}

#[test]
fn refusals_have_the_same_envelope() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let stranger = Request::get("/").key("tk_live_nobody_000000000000000000000000000000");
    client.send(&stranger).assert_refused(401, "unauthorized");
    client
        .send(&Request::get("/").host("other.test"))
        .assert_refused(421, "misdirected_request");
    client
        .send(&Request::get("/%2e%2e/a"))
        .assert_refused(400, "invalid_path");
    client
        .send(&Request::new("TRACE", "/"))
        .assert_refused(405, "method_not_supported");
    let large = Request::get("/").header("x-a", &"a".repeat(20_000));
    let refused = client.open(&large, true).read();
    assert!(refused.map_or(true, |answer| answer.status == 431));
    assert!(upstream.requests().is_empty());
}

#[test]
fn smuggled_framing_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for (name, value) in [("host", "other.test"), ("x-knoxcall-route", "echo")] {
        let client = Http2Client::connect(gateway.address());
        let answer = client
            .open(&Request::get("/").header(name, value), true)
            .read();
        assert!(answer.map_or(true, |answer| answer.status == 400), "{name}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn cookies_reach_an_http1_upstream_as_one() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    client.send(
        &Request::get("/")
            .header("cookie", "a=1")
            .header("cookie", "b=2"),
    );
    assert_eq!(upstream.last_request().header("cookie"), Some("a=1; b=2"));
}

#[test]
fn many_streams_share_a_connection() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    let streams: Vec<_> = (0..50)
        .map(|n| client.open(&Request::get(&format!("/{n}")), true))
        .collect();
    for stream in streams {
        assert_eq!(stream.read().unwrap().status, 200);
    }
    assert_eq!(gateway.metric("knoxcall_connections_open", &[]), 1.0);
}

#[test]
fn a_stream_that_is_given_up_leaves_its_neighbours() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    client.open(&Request::post("/", "x"), false).reset();
    assert_eq!(client.send(&Request::get("/")).status, 200);
}

#[test]
fn a_flood_of_resets_ends_the_connection() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let client = Http2Client::connect(gateway.address());
    for _ in 0..150 {
        if client.is_closed_now() {
            break;
        }
        client.open(&Request::post("/", "x"), false).reset();
        pause(Duration::from_millis(2));
    }
    assert!(client.is_closed());
    eventually("the flood is counted", || {
        (gateway.metric("knoxcall_http2_floods_total", &[]) == 1.0).then_some(())
    });
}

#[test]
fn a_silent_connection_is_closed() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).limit("keepalive_timeout_ms", 200);
    let gateway = Gateway::start(&config);
    let client = Http2Client::connect(gateway.address());
    client.send(&Request::get("/"));
    eventually("the connection is closed", || {
        client.is_closed_now().then_some(())
    });
}

#[test]
fn a_preface_that_is_not_finished_is_cut() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).limit("head_timeout_ms", 200);
    let gateway = Gateway::start(&config);
    let mut client = RawClient::connect(gateway.address());
    client.send("PRI * HTTP/2.0\r\n\r\n");
    client.read_to_end();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address())
        .limit("body_timeout_ms", 200)
        .edit_route("echo", json!({"inject_body": {"a": 1}, "environments": {}}));
    let gateway = Gateway::start(&config);
    let client = Http2Client::connect(gateway.address());
    let request = Request::new("POST", "/").header("content-type", "application/json");
    let stream = client.open(&request, false);
    stream.read().unwrap().assert_refused(408, "body_timeout");
}

#[test]
fn curl_speaks_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let output = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
        ])
        .args(["--http2-prior-knowledge", "-H", "Host: gw.test"])
        .args([
            "-H",
            &format!("x-knoxcall-key: {}", keys::LIVE),
            "-H",
            "x-knoxcall-route: echo",
        ])
        .arg(format!("http://{}/", gateway.address()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 200");
}

/// As raw frames, because no client would send them.
#[test]
fn heads_that_would_be_two_requests_over_http1_are_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let sound = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "gw.test"),
        (":path", "/"),
        ("x-knoxcall-key", keys::LIVE),
        ("x-knoxcall-route", "echo"),
    ];
    assert_eq!(exchange_raw(&gateway, &sound), Some(200));
    for bad in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("content-length", "5"),
        ("X-Capital", "1"),
        ("x-a", "1\r\nx-b: 2"),
        ("x-a\r\nx-b", "1"),
        (":path", "/second"),
        (":unknown", "1"),
        ("te", "gzip"),
    ] {
        let head: Vec<_> = sound.iter().copied().chain([bad]).collect();
        let status = exchange_raw(&gateway, &head);
        assert!(
            status.is_none_or(|status| status == 400),
            "{bad:?}: {status:?}"
        );
    }
    for (place, path) in [
        ("/a b", 3),
        ("/a\r\nHost: x", 3),
        ("*", 3),
        ("http://gw.test/", 3),
        ("", 3),
    ] {
        let mut head = sound.to_vec();
        head[path].1 = place;
        let status = exchange_raw(&gateway, &head);
        assert!(
            status.is_none_or(|status| status == 400),
            "{place:?}: {status:?}"
        );
    }
    assert_eq!(upstream.requests().len(), 1, "the sound one alone");
}

/// The status of the answer, where it is one; `None` where the stream or the
/// connection was reset.
fn exchange_raw(gateway: &Gateway, head: &[(&str, &str)]) -> Option<u16> {
    let mut block = Vec::new();
    for (name, value) in head {
        // A literal without indexing, with a new name (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut client = RawClient::connect(gateway.address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(4, 0, 0, &[]));
    // The end of the headers and of the stream.
    client.send(frame(1, 0x5, 1, &block));
    loop {
        let header = client.read_exact_or_end(9)?;
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let payload = client.read_exact_or_end(length)?;
        match header[3] {
            // Indexed `:status`: 8 is 200, 12 is 400; others in words.
            1 => return Some(status(&payload)),
            3 | 7 => return None,
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Entries 8 to 14 of the static table (RFC 7541, appendix A).
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x8c => 400,
        other => u16::from(other),
    }
}
