//! Malformed and ambiguous heads, as raw bytes: each is refused by us, with
//! our envelope and a record, its connection is closed, and no byte of it
//! reaches the upstream. Beside them what looks odd and is served.

mod framing;
mod target;

use knoxcall_tests::{Config, Gateway, Upstream};
use serde_json::json;

const OPEN: &str = "x-knoxcall-route: echo\r\n";

#[test]
fn a_head_outside_the_grammar_is_refused() {
    refuses(
        400,
        "malformed_request",
        &[
            ("folded line", get("X-A: a\r\n b\r\n")),
            ("folded with tab", get("X-A: a\r\n\tb\r\n")),
            (
                "first line folded",
                format!("GET / HTTP/1.1\r\n X-A: a\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            ("NUL in a value", get("X-A: a\0b\r\n")),
            ("bare CR in a value", get("X-A: a\rb\r\n")),
            ("control in a value", get("X-A: a\x01b\r\n")),
            ("DEL in a value", get("X-A: a\x7fb\r\n")),
            ("bare LF", get("X-A: a\nX-B: b\r\n")),
            (
                "only LF",
                format!(
                    "GET / HTTP/1.1\nHost: gw.test\n{}\n",
                    OPEN.replace('\r', "")
                ),
            ),
            ("no colon", get("X-A\r\n")),
            ("empty name", get(": a\r\n")),
            ("space in a name", get("X A: a\r\n")),
            ("space before the colon", get("X-A : a\r\n")),
            ("brackets in a name", get("X[A]: a\r\n")),
            ("not ASCII in a name", get("X-\u{e9}: a\r\n")),
            (
                "no version",
                format!("GET /\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "HTTP/1.2",
                format!("GET / HTTP/1.2\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "HTTP/2.0",
                format!("GET / HTTP/2.0\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "lower-case version",
                format!("GET / http/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "two spaces",
                format!("GET  / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "a space at the end",
                format!("GET / HTTP/1.1 \r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "a tab",
                format!("GET\t/\tHTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "a space in the target",
                format!("GET /a b HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "no method",
                format!(" / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "no token as method",
                format!("G(T / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "a method in small letters",
                format!("get / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "a long method",
                format!(
                    "{} / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n",
                    "A".repeat(21)
                ),
            ),
            ("not HTTP", "HELO gw.test\r\n\r\n".into()),
            (
                "a TLS hello",
                "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".into(),
            ),
        ],
    );
}

#[test]
fn a_second_copy_of_what_we_decide_on_is_refused() {
    refuses(
        400,
        "malformed_request",
        &[
            ("route", get("X-KnoxCall-Route: echo\r\n")),
            ("key", get("x-knoxcall-key: a\r\nX-Knoxcall-Key: a\r\n")),
            (
                "environment",
                get("x-knoxcall-environment: production\r\nx-knoxcall-environment: staging\r\n"),
            ),
            (
                "CF-Connecting-IP",
                get("CF-Connecting-IP: 1.1.1.1\r\nCF-Connecting-IP: 1.1.1.2\r\n"),
            ),
        ],
    );
}

#[test]
fn too_large_a_head_is_refused() {
    let field = |size: usize| get(&format!("X-A: {}\r\n", "a".repeat(size)));
    let fields = |count: usize| get(&"X-A: a\r\n".repeat(count));
    refuses(
        431,
        "head_too_large",
        &[
            ("one field of 17 KiB", field(17 * 1024)),
            ("one field of 100 kB", field(100_000)),
            ("one field of 2 MB", field(2_000_000)),
            ("200 fields", fields(200)),
            ("300 fields", fields(300)),
            (
                "many fields",
                get(&format!("X-A: {}\r\n", "a".repeat(1000)).repeat(20)),
            ),
            (
                "a long target",
                format!(
                    "GET /{} HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n",
                    "a".repeat(17_000)
                ),
            ),
        ],
    );
}

#[test]
fn what_is_odd_but_clear_is_served() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for (what, request) in [
        (
            "absolute target",
            format!("GET http://gw.test/x HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
        ),
        (
            "scheme in capitals",
            format!("GET HTTP://gw.test/x HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
        ),
        (
            "blanks around a value",
            "GET /x HTTP/1.1\r\nHost: \t gw.test \t\r\nx-knoxcall-route:echo\r\n\r\n".into(),
        ),
        (
            "bytes over 127 in a value",
            format!("GET /x HTTP/1.1\r\nHost: gw.test\r\nX-A: \u{e9}\r\n{OPEN}\r\n"),
        ),
        (
            "empty value",
            format!("GET /x HTTP/1.1\r\nHost: gw.test\r\nX-A:\r\n{OPEN}\r\n"),
        ),
        (
            "an unusual method",
            format!("PROPFIND /x HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
        ),
        (
            "CHUNKED in capitals",
            format!(
                "POST /x HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: CHUNKED\r\n{OPEN}\r\n0\r\n\r\n"
            ),
        ),
        (
            "trailing dotless host with port",
            format!("GET /x HTTP/1.1\r\nHost: gw.test:8080\r\n{OPEN}\r\n"),
        ),
        (
            "HTTP/1.0 with host",
            format!("GET /x HTTP/1.0\r\nHost: gw.test\r\n{OPEN}\r\n"),
        ),
        (
            "empty segments",
            format!("GET /x HTTP/1.1\r\nHost: gw.test\r\nAccept:*/*\r\n{OPEN}\r\n"),
        ),
    ] {
        let mut client = gateway.connect();
        client.send(&request);
        let response = client.read();
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        assert_eq!(upstream.last_request().target, "/x", "{what}");
    }
}

#[test]
fn a_host_in_another_case_than_the_target_is_answered_by_us() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut client = gateway.connect();
    client.send(format!(
        "GET http://GW.test/x HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"
    ));
    let response = client.read();
    assert!(matches!(response.status, 200 | 400));
    gateway.record_of(&response);
}

/// Sends each row, and checks all that is promised of a refusal.
fn refuses(status: u16, kind: &str, rows: &[(&str, String)]) {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for (what, request) in rows {
        let mut client = gateway.connect();
        client.try_send(latin1(request));
        let response = client.read();
        assert_eq!(response.status, status, "{what}: {}", response.text());
        assert_eq!(response.error(), kind, "{what}");
        assert!(!response.keeps_alive(), "{what}: the answer promises more");
        assert!(client.is_closed(), "{what}: the connection goes on");
        let record = gateway.record_of(&response);
        assert_eq!(record.text("error"), Some(kind), "{what}");
        assert_eq!(
            record.number("status_code"),
            Some(f64::from(status)),
            "{what}"
        );
    }
    upstream.assert_untouched();
    assert_eq!(gateway.records().len(), rows.len(), "one record for each");
}

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"open": true, "environments": {}})),
    )
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: gw.test\r\n{OPEN}{fields}\r\n{body}")
}

fn with_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{OPEN}\r\n")
}

/// The tables are text; on the wire each character is one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap())
        .collect()
}
