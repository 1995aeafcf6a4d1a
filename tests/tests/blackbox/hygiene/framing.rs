//! Where one request ends and the next begins (RFC 9112 section 6): whatever
//! two parsers could read in two ways is refused.

use knoxcall_tests::Upstream;

use super::{OPEN, gateway, get, post, refuses};

#[test]
fn ambiguous_framing_is_refused() {
    refuses(
        400,
        "malformed_request",
        &[
            (
                "length and chunked",
                post(
                    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "chunked and length",
                post(
                    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "differing lengths",
                post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
            ),
            (
                "equal lengths",
                post("Content-Length: 1\r\nContent-Length: 1\r\n", "a"),
            ),
            ("list of lengths", post("Content-Length: 1, 1\r\n", "a")),
            ("signed length", post("Content-Length: +4\r\n", "abcd")),
            ("negative length", post("Content-Length: -1\r\n", "")),
            (
                "hexadecimal length",
                post("Content-Length: 0x4\r\n", "abcd"),
            ),
            ("empty length", post("Content-Length:\r\n", "")),
            (
                "length with a space in it",
                post("Content-Length: 1 0\r\n", ""),
            ),
            (
                "length over 64 bits",
                post("Content-Length: 18446744073709551617\r\n", "a"),
            ),
            (
                "unknown coding",
                post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            ),
            (
                "identity, chunked",
                post("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
            ),
            (
                "chunked, identity",
                post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            ),
            (
                "gzip, chunked",
                post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            ),
            ("gzip alone", post("Transfer-Encoding: gzip\r\n", "")),
            ("identity", post("Transfer-Encoding: identity\r\n", "")),
            (
                "chunked twice",
                post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            ),
            (
                "two coding lines",
                post(
                    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "quoted",
                post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
            ),
            (
                "with parameter",
                post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
            ),
            (
                "vertical tab",
                post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
            ),
            ("empty coding", post("Transfer-Encoding:\r\n", "")),
            (
                "space before the colon",
                post(
                    "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n",
                    "abc",
                ),
            ),
            (
                "tab before the colon",
                post("Content-Length\t: 3\r\n", "abc"),
            ),
            (
                "HTTP/1.0 and chunked",
                "POST / HTTP/1.0\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                    .into(),
            ),
        ],
    );
}

#[test]
fn what_follows_a_refused_head_is_never_read_as_a_request() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: gw.test\r\n{OPEN}\r\n");
    for head in [
        post(
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        post("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
        post("Content-Length: 0\r\nContent-Length: 100\r\n", ""),
        get("X-A: a\r\n b\r\n"),
    ] {
        let mut client = gateway.connect();
        client.send(format!("{head}{smuggled}"));
        client.read().assert_refused(400, "malformed_request");
        assert_eq!(client.read_to_end(), b"", "a second answer");
    }
    upstream.assert_untouched();
}

#[test]
fn broken_chunks_are_not_passed_on_as_a_whole_body() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\na\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(post("Transfer-Encoding: chunked\r\n", chunks));
        let response = client.read();
        assert!(
            matches!(response.status, 400..=599),
            "{chunks:?}: {}",
            response.status
        );
        assert!(client.is_closed(), "{chunks:?}: the connection goes on");
    }
    upstream.assert_untouched();
}
