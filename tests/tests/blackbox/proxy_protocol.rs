//! The PROXY protocol: from trusted peers, and then always; what is not exactly
//! a header closes the connection without a word.

use std::time::Duration;

use knoxcall_tests::{
    Authority, Config, Gateway, RawClient, Request, TlsConnection, Upstream, eventually, pause,
};
use serde_json::json;

const LINE: &str = "PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n";
const REFUSED: &str = "knoxcall_proxy_protocol_refused_total";
const SHORT: u64 = 600;

fn config(upstream: &Upstream, from: &str) -> Config {
    Config::new(upstream.address()).listener(json!({"proxy_protocol": {"from": [from]}}))
}

/// Version 2, from 203.0.113.7.
fn binary(command: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12 + 5]);
    header.extend([203, 0, 113, 7, 198, 51, 100, 1, 0xdc, 4, 1, 187]);
    // A field that means nothing to us.
    header.extend([0xe0, 0, 2, b'h', b'i']);
    header
}

/// The address that counted for a request behind this header.
fn address_behind(header: &[u8]) -> String {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "127.0.0.0/8"));
    let mut client = gateway.connect();
    client.send([header, &Request::get("/").bytes()].concat());
    let response = client.read();
    response.assert_served();
    let record = gateway.record_of(&response);
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), record.text("src_ip"));
    record.text("src_ip").unwrap().to_owned()
}

#[test]
fn the_source_that_a_trusted_peer_names_is_the_client() {
    assert_eq!(address_behind(LINE.as_bytes()), "203.0.113.7");
    assert_eq!(address_behind(&binary(1)), "203.0.113.7");
}

#[test]
fn a_peer_that_speaks_for_itself_is_the_client() {
    assert_eq!(address_behind(&binary(0)), "127.0.0.1");
    assert_eq!(address_behind(b"PROXY UNKNOWN\r\n"), "127.0.0.1");
}

#[test]
fn a_header_that_drips_is_read_within_its_time() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "127.0.0.1"));
    let mut client = gateway.connect();
    for byte in LINE.bytes() {
        client.send([byte]);
    }
    client.send(Request::get("/").bytes());
    client.read().assert_served();
}

#[test]
fn a_source_that_is_a_trusted_proxy_names_its_own_client() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "127.0.0.1").set(
        "/trusted_proxies",
        json!([{"cidr": "203.0.113.7"}, {"cidr": "127.0.0.1"}]),
    ));
    let mut client = gateway.connect();
    client.send(LINE);
    client.send(
        Request::get("/")
            .header("X-Forwarded-For", "192.0.2.9")
            .bytes(),
    );
    let response = client.read();
    response.assert_served();
    let record = gateway.record_of(&response);
    assert_eq!(record.text("src_ip"), Some("192.0.2.9"));
}

#[test]
fn a_peer_that_is_not_listed_is_closed_unanswered_and_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "192.0.2.1"));
    let before = gateway.metric(REFUSED, &[("reason", "untrusted")]);
    let mut client = gateway.connect();
    client.try_send(LINE);
    client.try_send(Request::get("/").bytes());
    assert!(client.is_closed());
    let after = gateway.metric(REFUSED, &[("reason", "untrusted")]);
    assert_eq!(after - before, 1.0);
    upstream.assert_untouched();
}

#[test]
fn what_is_no_header_is_closed_unanswered_and_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "127.0.0.1"));
    let mut garbled = binary(1);
    garbled[13] = 0x12;
    for (count, bytes) in (1..).zip([
        Request::get("/").bytes(),
        b"PROXY TCP4 203.0.113.7\r\n".to_vec(),
        garbled,
        b"\x16\x03\x01\x02\x00".to_vec(),
    ]) {
        let mut client = gateway.connect();
        client.try_send(&bytes);
        assert!(client.is_closed(), "{bytes:?}");
        let invalid = gateway.metric(REFUSED, &[("reason", "invalid")]);
        assert_eq!(invalid, f64::from(count), "{bytes:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn a_peer_that_says_nothing_is_cut_and_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream, "127.0.0.1").limit("head_timeout_ms", SHORT));
    let mut silent = gateway.connect();
    silent.send("PROXY TCP4 203.0");
    assert!(silent.is_closed());
    assert_eq!(gateway.metric(REFUSED, &[("reason", "timeout")]), 1.0);
    eventually("its place to be free", || {
        (gateway.metric("knoxcall_connections_open", &[]) == 0.0).then_some(())
    });
}

#[test]
fn the_named_source_is_counted_for_the_limit_of_an_address() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&config(&upstream, "127.0.0.1").limit("max_connections_per_address", 2));
    let open = |source: &str| {
        let mut client = RawClient::connect(gateway.address());
        client.send(format!("PROXY TCP4 {source} 198.51.100.1 1 443\r\n"));
        client.send(Request::get("/").bytes());
        let response = client.read();
        (client, response)
    };
    let _held = [open("203.0.113.7"), open("203.0.113.7")];
    open("203.0.113.7").1.assert_refused(503, "overloaded");
    open("203.0.113.8").1.assert_served();
}

#[test]
fn tls_begins_behind_the_header() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:gw.test");
    let gateway = Gateway::start(&Config::new(upstream.address()).listener(json!({
        "proxy_protocol": {"from": ["127.0.0.1"]},
        "tls": {"certificates": [{"cert_file": certificate, "key_file": key}]},
    })));
    let mut stream = std::net::TcpStream::connect(gateway.address()).unwrap();
    std::io::Write::write_all(&mut stream, &binary(1)).unwrap();
    pause(Duration::from_millis(20));
    let mut connection = TlsConnection::over(stream, "gw.test");
    let head = connection.ask(&Request::get("/"));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
}
