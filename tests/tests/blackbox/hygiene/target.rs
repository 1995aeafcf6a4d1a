//! Host and target (RFC 9112 section 3): one host, and a target that is a path
//! of it.

use knoxcall_tests::Upstream;

use super::{OPEN, gateway, refuses, with_host};

#[test]
fn a_host_that_is_none_or_two_is_refused() {
    refuses(
        400,
        "malformed_request",
        &[
            ("no host", format!("GET / HTTP/1.1\r\n{OPEN}\r\n")),
            (
                "empty host",
                format!("GET / HTTP/1.1\r\nHost:\r\n{OPEN}\r\n"),
            ),
            (
                "two hosts",
                format!("GET / HTTP/1.1\r\nHost: gw.test\r\nHost: gw.test\r\n{OPEN}\r\n"),
            ),
            (
                "two differing hosts",
                format!("GET / HTTP/1.1\r\nHost: gw.test\r\nhost: evil.test\r\n{OPEN}\r\n"),
            ),
            ("userinfo", with_host("user@gw.test")),
            ("userinfo with port", with_host("gw.test:80@evil.test")),
            ("a list", with_host("gw.test, evil.test")),
            ("a path", with_host("gw.test/x")),
            ("a query", with_host("gw.test?x")),
            ("a space", with_host("gw.test evil.test")),
            ("letters for a port", with_host("gw.test:http")),
            ("too large a port", with_host("gw.test:65536")),
            ("no port", with_host("gw.test:")),
            ("two ports", with_host("gw.test:80:80")),
            ("IPv6 without brackets", with_host("::1")),
            ("unclosed bracket", with_host("[::1")),
            ("encoded", with_host("gw%2etest")),
            ("not ASCII", with_host("gw.t\u{e9}st")),
            (
                "absolute target of another host",
                "GET http://evil.test/ HTTP/1.1\r\nHost: gw.test\r\n\r\n".into(),
            ),
            (
                "absolute target without host",
                "GET http://gw.test/ HTTP/1.1\r\n\r\n".into(),
            ),
            (
                "absolute target with userinfo",
                "GET http://a@gw.test/ HTTP/1.1\r\nHost: gw.test\r\n\r\n".into(),
            ),
        ],
    );
}

#[test]
fn a_target_outside_the_grammar_is_refused() {
    let targets = [
        "a",
        "*",
        "gw.test:80",
        "ftp://gw.test/",
        "/a#fragment",
        "/a\\b",
        "/a\"b",
        "/a<b",
        "/a>b",
        "/a^b",
        "/a`b",
        "/a{b}",
        "/a|b",
        "/\u{e9}",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%00b",
        "/?q=%00",
        "/a\x7fb",
        "/a\x01b",
        "/a\tb",
    ];
    let rows: Vec<_> = targets
        .iter()
        .map(|target| {
            (
                *target,
                format!("GET {target} HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n"),
            )
        })
        .collect();
    refuses(400, "malformed_request", &rows);
}

#[test]
fn http_10_without_host_is_not_ours() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut client = gateway.connect();
    client.send(format!("GET / HTTP/1.0\r\n{OPEN}\r\n"));
    let response = client.read();
    assert!(matches!(response.status, 400 | 421), "{}", response.text());
    assert!(client.is_closed());
    upstream.assert_untouched();
}
