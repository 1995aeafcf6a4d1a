//! Answers of HTTP/1 that break off, are too large, contradict themselves or
//! bring more than they may: none of it looks whole to a client, and none of it
//! becomes the answer to the next request.

use std::io;

use knoxcall_tests::{Config, Gateway, Http2Client, Request, Session, Upstream};
use serde_json::json;

/// What would be an answer, if somebody took it for one.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// One worker, so that a connection that is kept is used again.
fn start(upstream: &Upstream) -> Gateway {
    let read = json!({"read_timeout_ms": 1_000});
    let config = Config::new(upstream.address()).edit_route("echo", read);
    Gateway::start(&config.set("/workers", json!(1)))
}

/// Answers `/bad` as the script says, everything else with `ok`.
fn upstream(bad: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |session| {
        while let Some(request) = session.request()? {
            match request.target.as_str() {
                "/bad" => bad(session)?,
                _ => session.answer("ok")?,
            }
        }
        Ok(())
    })
}

fn saying(bytes: impl Into<Vec<u8>>) -> Upstream {
    let bytes = bytes.into();
    upstream(move |session| session.send(&bytes))
}

fn next_is_served(gateway: &Gateway) {
    for _ in 0..2 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
}

/// The answer began, and the client can tell that it is not whole.
#[track_caller]
fn assert_breaks_off(gateway: &Gateway, what: &str) {
    let mut client = gateway.connect();
    client.send(Request::get("/bad").bytes());
    let (head, rest) = (client.read_begun(0).0, client.read_to_end());
    assert!(head.first_line.contains("200"), "{what}: {head:?}");
    match (head.is_chunked(), head.length()) {
        (true, None) => assert!(!rest.ends_with(b"0\r\n\r\n"), "{what}: {rest:?}"),
        (false, Some(length)) => assert!(rest.len() < length, "{what}: {rest:?}"),
        other => panic!("{what}: framed by {other:?}"),
    }
}

#[test]
fn a_reset_before_the_answer_is_whole_is_told() {
    for (sent, has_begun) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\nContent-Len", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
            true,
        ),
    ] {
        let (told, taken) = std::sync::mpsc::channel();
        let taken = std::sync::Mutex::new(taken);
        let upstream = upstream(move |session| {
            session.send(sent)?;
            // What is on its way is lost with the reset.
            if has_begun {
                let _ = taken.lock().unwrap().recv();
            }
            session.reset()?;
            Err(io::ErrorKind::ConnectionReset.into())
        });
        let gateway = start(&upstream);
        let mut client = gateway.connect();
        client.send(Request::get("/bad").bytes());
        if has_begun {
            let (head, _) = client.read_begun(4);
            told.send(()).unwrap();
            let rest = client.read_to_end();
            assert!(head.first_line.contains("200"), "{sent:?}");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{sent:?}: {rest:?}");
        } else {
            client.read().assert_refused(502, "upstream_failed");
        }
        next_is_served(&gateway);
        let record = &gateway.wait_for_records(1)[0];
        assert_eq!(record.text("error"), Some("upstream_failed"), "{record:?}");
    }
}

#[test]
fn an_upstream_that_says_no_more_before_its_end_is_not_whole() {
    for sent in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX-Trailer: 1\r\n",
    ] {
        // Half-closed: it would still listen.
        let upstream = upstream(move |session| {
            session.send(sent)?;
            session.finish();
            session.hang()
        });
        let gateway = start(&upstream);
        assert_breaks_off(&gateway, sent);
        next_is_served(&gateway);
    }
}

#[test]
fn a_chunk_size_that_is_none_ends_the_answer() {
    for chunks in [
        "zz\r\nok\r\n0\r\n\r\n",
        "-2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "2 2\r\nok\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\r\nokXX0\r\n\r\n",
        "1\r\nok\r\n0\r\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let upstream = saying(format!("{head}{chunks}"));
        let gateway = start(&upstream);
        assert_breaks_off(&gateway, chunks);
        next_is_served(&gateway);
    }
}

#[test]
fn a_head_without_end_is_refused() {
    let name = "HTTP/1.1 200 OK\r\nX-Long: ";
    for head in [
        format!("{name}{}\r\n\r\n", "x".repeat(4 << 20)),
        format!("{name}1\r\n{}\r\n", "X-Many: 1\r\n".repeat(200_000)),
        format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(4 << 20)),
    ] {
        let upstream = saying(head);
        let gateway = start(&upstream);
        let response = gateway.get("/bad");
        response.assert_refused(502, "upstream_failed");
        next_is_served(&gateway);
    }
}

#[test]
fn a_length_and_chunks_at_once_are_not_passed_on_as_both() {
    for head in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 2",
        "Transfer-Encoding: identity\r\nContent-Length: 2",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Content-Length: +2",
        "Content-Length: 2, 3",
    ] {
        let upstream = saying(format!(
            "HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"
        ));
        let gateway = start(&upstream);
        let mut client = gateway.connect();
        client.send(Request::get("/bad").bytes());
        let answer = client.read();
        let framings =
            ["content-length", "transfer-encoding"].map(|name| answer.head.all(name).len());
        assert_eq!(framings.iter().sum::<usize>(), 1, "{head}: {answer:?}");
        assert!(!answer.text().contains("evil"), "{head}: {answer:?}");
        next_is_served(&gateway);
    }
}

#[test]
fn what_follows_an_answer_without_body_is_nobodys() {
    let cases = [
        ("GET", "204 No Content\r\n"),
        ("GET", "204 No Content\r\nContent-Length: 45\r\n"),
        ("GET", "204 No Content\r\nTransfer-Encoding: chunked\r\n"),
        ("GET", "304 Not Modified\r\nContent-Length: 45\r\n"),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked\r\n"),
        ("HEAD", "200 OK\r\nContent-Length: 45\r\n"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n"),
    ];
    for (method, head) in cases {
        let upstream = saying(format!("HTTP/1.1 {head}\r\n{EVIL}"));
        let gateway = start(&upstream);
        let mut client = gateway.connect();
        client.send(Request::new(method, "/bad").bytes());
        let answer = client.read_to(method);
        assert!(head.starts_with(&answer.status.to_string()), "{head}");
        if answer.status == 204 {
            assert_eq!(answer.header("content-length"), None, "{head}");
        }
        client.send(Request::get("/").bytes());
        assert_eq!(client.read().text(), "ok", "{method} {head}");
        let over_http2 = Http2Client::connect(gateway.address());
        let answer = over_http2.send(&Request::new(method, "/bad"));
        assert!(answer.body.is_empty(), "{head}");
        assert_eq!(over_http2.send(&Request::get("/")).body, b"ok");
        next_is_served(&gateway);
    }
}

#[test]
fn interim_answers_in_a_row_come_before_the_final_one_only() {
    let mut bytes = String::new();
    for status in [
        "100 Continue",
        "102 Processing",
        "103 Early Hints",
        "103 Early Hints",
        "199 Own",
    ] {
        bytes.push_str(&format!("HTTP/1.1 {status}\r\nX-Interim: 1\r\n\r\n"));
    }
    bytes.push_str("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal");
    let upstream = saying(bytes);
    let gateway = start(&upstream);
    for request in [Request::get("/bad"), Request::post("/bad", "body")] {
        let mut client = gateway.connect();
        client.send(request.bytes());
        loop {
            let answer = client.read_any(&request.method);
            if answer.status == 200 {
                assert_eq!(answer.text(), "final");
                assert_eq!(answer.header("x-interim"), None);
                break;
            }
            assert!((100..200).contains(&answer.status) && answer.status != 101);
            assert_eq!(answer.header("x-knox-upstream-status"), None);
        }
        client.send(Request::get("/").bytes());
        assert_eq!(client.read().text(), "ok");
    }
    let over_http2 = Http2Client::connect(gateway.address());
    assert_eq!(over_http2.send(&Request::get("/bad")).body, b"final");
    let mut old = gateway.connect();
    old.send(Request::get("/bad").version("HTTP/1.0").bytes());
    assert_eq!(old.read_any("GET").status, 200, "HTTP/1.0 knows no others");
}

#[test]
fn interim_answers_without_end_are_cut_off() {
    let upstream = upstream(|session| {
        loop {
            session.send("HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
    });
    let gateway = start(&upstream);
    for request in [
        Request::get("/bad"),
        Request::get("/bad").version("HTTP/1.0"),
    ] {
        let answer = gateway.send(&request);
        assert!(matches!(answer.status, 502 | 504), "{}", answer.text());
    }
    let over_http2 = Http2Client::connect(gateway.address());
    let status = over_http2.send(&Request::get("/bad")).status.as_u16();
    assert!(matches!(status, 502 | 504), "{status}");
    next_is_served(&gateway);
}
