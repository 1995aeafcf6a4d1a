//! A route's time-outs, one at a time: it alone is short, all others are longer
//! than a test waits.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;
use tokio::net::TcpSocket;

const SHORT: Duration = Duration::from_millis(400);
const LONG_MS: u64 = 60_000;

/// The route `echo` to this target.
fn gateway(target: &str, short: &str) -> Gateway {
    Gateway::start(&config(target, short))
}

fn config(target: &str, short: &str) -> Config {
    let mut fields = json!({"target_base_url": target, "environments": {}});
    for limit in ["connect", "first_byte", "read", "write", "idle", "total"] {
        fields[format!("{limit}_timeout_ms")] = LONG_MS.into();
    }
    fields[short] = json!(u64::try_from(SHORT.as_millis()).unwrap());
    let nowhere = "127.0.0.1:1".parse().unwrap();
    Config::new(nowhere)
        .limit("body_timeout_ms", LONG_MS)
        .edit_route("echo", fields)
}

/// A client waits for much less than the other limits.
#[track_caller]
fn assert_ends_in_a_504(gateway: &Gateway, request: &Request) {
    let began = Instant::now();
    let response = gateway.send(request);
    response.assert_refused(504, "upstream_timeout");
    assert!(response.keeps_alive(), "{:?}", response.head);
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    let record = gateway.record_of(&response);
    assert_eq!(record.text("error"), Some("upstream_timeout"));
    assert_eq!(record.number("attempts"), Some(1.0));
}

#[test]
fn an_upstream_that_takes_the_request_and_never_answers_has_the_first_bytes_time() {
    for request in [Request::get("/"), Request::post("/", "x")] {
        let upstream = silent();
        let gateway = gateway(&upstream.url(), "first_byte_timeout_ms");
        assert_ends_in_a_504(&gateway, &request);
        upstream.only_request();
    }
}

#[test]
fn and_no_more_than_the_total_time() {
    let upstream = silent();
    let gateway = gateway(&upstream.url(), "total_timeout_ms");
    assert_ends_in_a_504(&gateway, &Request::get("/"));
    upstream.only_request();
}

fn silent() -> Upstream {
    Upstream::scripted(|session| {
        session.request()?;
        session.hang()
    })
}

/// The kernel accepts for it; nobody reads the client's hello.
#[test]
fn a_tls_handshake_that_is_not_answered_has_the_connections_time_and_the_total_one() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("https://{}", silent.local_addr().unwrap());
    for limit in ["connect_timeout_ms", "total_timeout_ms"] {
        assert_ends_in_a_504(&gateway(&target, limit), &Request::get("/"));
    }
}

#[test]
fn a_connection_that_is_not_accepted_has_the_connections_time() {
    let full = FullListener::new();
    let gateway = gateway(&format!("http://{}", full.address), "connect_timeout_ms");
    assert_ends_in_a_504(&gateway, &Request::get("/"));
}

/// The client is waited for, so it is the client's fault.
#[test]
fn a_body_that_must_be_seen_whole_has_the_total_time() {
    let upstream = Upstream::start();
    let merging = json!({"inject_body": {"a": 1}});
    let config = config(&upstream.url(), "total_timeout_ms").edit_route("echo", merging);
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let request = Request::post("/", "{}").header("Content-Type", "application/json");
    client.send(request.head_bytes());
    let response = client.read();
    response.assert_refused(408, "body_timeout");
    upstream.assert_untouched();
}

/// A client that reads nothing of a long answer does not stretch it either.
#[test]
fn an_answer_under_way_has_the_total_time() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
        let part = [b'x'; 64 * 1024];
        while session.send(part).is_ok() {}
        Ok(())
    });
    let gateway = gateway(&upstream.url(), "total_timeout_ms");
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let record = gateway.wait_for_records(1).remove(0);
    assert_eq!(record.number("status_code"), Some(200.0));
    assert!(record.number("response_bytes") < Some(100_000_000.0));
}

/// Nobody accepts, and the kernel has no place left: it drops whatever asks for
/// a connection.
struct FullListener {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl FullListener {
    fn new() -> Self {
        let listener = listener(1);
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // A place is taken at once, or there is none.
        let error = loop {
            match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// With so many places for connections that nobody has accepted; the standard
/// library's has thousands.
fn listener(places: u32) -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(places).unwrap().into_std().unwrap()
}
