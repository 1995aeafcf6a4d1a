//! HTTP/2 as raw frames, because no library would send them: requests and
//! answers that would be something else over HTTP/1. None reaches the other
//! side, and the next one is served.

use std::sync::{Arc, Mutex};

use knoxcall_tests::http2_frames::{
    END_STREAM, Frame, Outcome, PREFACE, RESET, SETTINGS, answer_with, ask, data, headers,
};
use knoxcall_tests::{Config, Gateway, Http2Client, Request, Upstream, eventually, keys};
use serde_json::json;

type Fields<'f> = Vec<(&'f str, &'f str)>;

fn request<'f>(method: &'f str, path: &'f str) -> Fields<'f> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "gw.test"),
        (":path", path),
        ("x-knoxcall-key", keys::LIVE),
        ("x-knoxcall-route", "echo"),
    ]
}

/// One connection to the upstream, so that whatever is left on it is met.
fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&Config::new(upstream.address()).set("/workers", json!(1)))
}

#[track_caller]
fn assert_refused(gateway: &Gateway, frames: &[Frame], what: &str) {
    let outcome = ask(gateway.address(), frames);
    assert!(
        matches!(outcome, Outcome::Refused | Outcome::Answered(400)),
        "{what} is {outcome:?}"
    );
}

#[test]
fn a_sound_request_is_served() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let get = headers(&request("GET", "/"), END_STREAM);
    assert_eq!(ask(gateway.address(), &[get]), Outcome::Answered(200));
    let post = headers(&request("POST", "/"), 0);
    let frames = [post, data("in ", 0), data("parts", END_STREAM)];
    assert_eq!(ask(gateway.address(), &frames), Outcome::Answered(200));
    assert_eq!(upstream.last_request().body, b"in parts");
}

#[test]
fn a_body_of_another_length_than_announced_is_no_request() {
    const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases: [(&str, Vec<Frame>); 5] = [
        ("5", vec![data("1234", END_STREAM)]),
        ("5", vec![data("", END_STREAM)]),
        ("5", vec![data("12345", 0), data(SECOND, END_STREAM)]),
        ("5", vec![data(format!("12345{SECOND}"), END_STREAM)]),
        ("0", vec![data(SECOND, END_STREAM)]),
    ];
    // Once the body streams through, once it is read before.
    for fields in [json!({}), json!({"inject_body": {"a": 1}})] {
        let is_read_before = fields != json!({});
        let upstream = Upstream::start();
        let config =
            Config::new(upstream.address()).edit_route("echo", json!({"environments": {}}));
        let gateway = Gateway::start(&config.edit_route("echo", fields).set("/workers", json!(1)));
        for (length, body) in &cases {
            let mut head = request("POST", "/");
            head.push(("content-length", length));
            head.push(("content-type", "application/json"));
            let mut frames = vec![headers(&head, 0)];
            frames.extend(body.iter().cloned());
            assert_refused(&gateway, &frames, &format!("{length:?}: {body:?}"));
            gateway.get("/next").assert_served();
        }
        // What had come whole before the stream turned out to be wrong.
        for seen in upstream.requests() {
            let is_as_announced = seen.target == "/" && matches!(&*seen.body, b"" | b"12345");
            let is_sound = seen.target == "/next" || is_as_announced && !is_read_before;
            assert!(is_sound, "{seen:?}");
        }
    }
}

#[test]
fn a_length_that_is_none_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for length in [
        "",
        "x",
        "5, 5",
        "5,5",
        "+5",
        "-5",
        "5 ",
        " 5",
        "0x5",
        "5.0",
        "18446744073709551621",
    ] {
        let mut head = request("POST", "/");
        head.push(("content-length", length));
        let frames = [headers(&head, 0), data("12345", END_STREAM)];
        assert_refused(&gateway, &frames, &format!("length {length:?}"));
    }
    upstream.assert_untouched();
}

#[test]
fn two_lengths_are_one_too_many() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for lengths in [["5", "6"], ["6", "5"]] {
        let mut head = request("POST", "/");
        head.extend(lengths.map(|length| ("content-length", length)));
        let frames = [headers(&head, 0), data("12345", END_STREAM)];
        assert_refused(&gateway, &frames, &format!("{lengths:?}"));
    }
    upstream.assert_untouched();
}

#[test]
fn names_and_values_that_http1_would_cut_are_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for field in [
        ("x-a", "1\0"),
        ("x-a", "1\n"),
        ("x-a", "1\r"),
        ("x-a", "1\nx-b: 2"),
        ("x-a", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("x-a\0", "1"),
        ("x-a:", "1"),
        ("x-a: 1\r\nx-b", "1"),
        ("x a", "1"),
        ("", "1"),
        ("X-A", "1"),
        ("x-A", "1"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("te", "chunked"),
        ("te", "trailers, chunked"),
        ("connection", "x-knoxcall-key"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
    ] {
        let mut head = request("GET", "/");
        head.push(field);
        assert_refused(
            &gateway,
            &[headers(&head, END_STREAM)],
            &format!("{field:?}"),
        );
        // Nor as a part of what is there.
        let mut head = request("POST", "/");
        head.push(field);
        let frames = [headers(&head, 0), data("12345", END_STREAM)];
        assert_refused(&gateway, &frames, &format!("{field:?} with a body"));
    }
    upstream.assert_untouched();
}

#[test]
fn pseudo_headers_stand_first_and_once() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let sound = request("GET", "/");
    // Twice each, the same or another.
    for field in [
        (":method", "GET"),
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/other"),
        (":authority", "gw.test"),
        (":authority", "other.test"),
        (":status", "200"),
        (":protocol", "websocket"),
        (":", "1"),
    ] {
        for at in [0, 4, sound.len()] {
            let mut head = sound.clone();
            head.insert(at, field);
            let what = format!("{field:?} at {at}");
            assert_refused(&gateway, &[headers(&head, END_STREAM)], &what);
        }
    }
    // Missing, or behind the others.
    for at in [0, 1, 3] {
        let mut head = sound.clone();
        let field = head.remove(at);
        assert_refused(
            &gateway,
            &[headers(&head, END_STREAM)],
            &format!("no {field:?}"),
        );
        head.push(field);
        assert_refused(
            &gateway,
            &[headers(&head, END_STREAM)],
            &format!("late {field:?}"),
        );
    }
    for method in [
        "GET /smuggled HTTP/1.1\r\nx:",
        "GET ",
        "G\0T",
        "",
        "CONNECT",
    ] {
        let head = request(method, "/");
        assert_refused(
            &gateway,
            &[headers(&head, END_STREAM)],
            &format!("method {method:?}"),
        );
    }
    for scheme in ["http://gw.test/x?", "ht tp", "http\r\n"] {
        let mut head = sound.clone();
        head[1].1 = scheme;
        assert_refused(
            &gateway,
            &[headers(&head, END_STREAM)],
            &format!("scheme {scheme:?}"),
        );
    }
    upstream.assert_untouched();
}

#[test]
fn who_is_asked_is_said_in_one_way() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for host in ["other.test", "gw.test:81", "", "gw.test, other.test"] {
        let mut head = request("GET", "/");
        head.push(("host", host));
        assert_refused(&gateway, &[headers(&head, END_STREAM)], host);
    }
    for authority in [
        "user@gw.test",
        "gw.test/x",
        "gw.test\r\nx: 1",
        "gw test",
        "",
    ] {
        let mut head = request("GET", "/");
        head[2].1 = authority;
        assert_refused(&gateway, &[headers(&head, END_STREAM)], authority);
    }
    let mut head = request("GET", "/");
    head.extend([("host", "gw.test"), ("host", "gw.test")]);
    assert_refused(&gateway, &[headers(&head, END_STREAM)], "twice");
    upstream.assert_untouched();
    let mut head = request("GET", "/");
    head.push(("host", "gw.test"));
    let frames = [headers(&head, END_STREAM)];
    assert_eq!(ask(gateway.address(), &frames), Outcome::Answered(200));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn trailers_bring_nothing_that_counts() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for trailers in [
        vec![("X-Upper", "1")],
        vec![("x-a", "1\r\nx-b: 2")],
        vec![("transfer-encoding", "chunked")],
    ] {
        let frames = [
            headers(&request("POST", "/"), 0),
            data("body", 0),
            headers(&trailers, END_STREAM),
        ];
        assert_refused(&gateway, &frames, &format!("{trailers:?}"));
    }
    assert!(upstream.requests().is_empty(), "{:?}", upstream.requests());
    let frames = [
        headers(&request("POST", "/"), 0),
        data("body", 0),
        headers(
            &[("x-knoxcall-route", "other"), ("x-late", "1")],
            END_STREAM,
        ),
    ];
    assert_eq!(ask(gateway.address(), &frames), Outcome::Answered(200));
    let seen = upstream.only_request();
    assert_eq!(
        (seen.body.as_slice(), seen.header("x-late")),
        (&b"body"[..], None)
    );
}

/// An upstream of HTTP/2 that says what it is told to.
fn told() -> (Upstream, Arc<Mutex<Vec<Frame>>>) {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let next = answer.clone();
    let upstream =
        Upstream::scripted(move |session| answer_with(session, || next.lock().unwrap().clone()));
    (upstream, answer)
}

fn to_http2(upstream: &Upstream) -> Gateway {
    let fields = json!({"protocol": "http2", "environments": {}, "read_timeout_ms": 1_000});
    let config = Config::new(upstream.address()).edit_route("echo", fields);
    Gateway::start(&config.set("/workers", json!(1)))
}

fn sound_answer() -> Vec<Frame> {
    vec![headers(&[(":status", "200")], 0), data("ok", END_STREAM)]
}

#[test]
fn an_answer_that_http1_would_read_otherwise_is_a_502() {
    let (upstream, answer) = told();
    let gateway = to_http2(&upstream);
    let over_http2 = Http2Client::connect(gateway.address());
    for head in [
        vec![],
        vec![("x-a", "1")],
        vec![(":status", "200"), (":status", "200")],
        vec![("x-a", "1"), (":status", "200")],
        vec![(":status", "abc")],
        vec![(":status", "20")],
        vec![(":status", "2000")],
        vec![(":status", "099")],
        vec![(":status", "200 OK\r\nx-a: 1")],
        vec![(":status", "101")],
        vec![(":status", "200"), ("X-Upper", "1")],
        vec![(":status", "200"), ("x-a", "1\r\nx-b: 2")],
        vec![(":status", "200"), ("x-a", "1\nx-b: 2")],
        vec![(":status", "200"), ("x-a", "1\0")],
        vec![(":status", "200"), ("x-a\r\nx-b", "1")],
        vec![(":status", "200"), ("", "1")],
        vec![(":status", "200"), ("transfer-encoding", "chunked")],
        vec![(":status", "200"), ("connection", "close")],
        vec![(":status", "200"), ("upgrade", "websocket")],
        vec![(":status", "200"), ("content-length", "x")],
        vec![
            (":status", "200"),
            ("content-length", "3"),
            ("content-length", "2"),
        ],
    ] {
        *answer.lock().unwrap() = vec![headers(&head, 0), data("ok", END_STREAM)];
        let response = gateway.get("/");
        assert_eq!(response.status, 502, "{head:?}: {:?}", response.head);
        assert_eq!(response.error(), "upstream_failed", "{head:?}");
        let response = over_http2.send(&Request::get("/"));
        assert_eq!(response.status, 502, "{head:?}: {response:?}");
        *answer.lock().unwrap() = sound_answer();
        assert_eq!(gateway.get("/").text(), "ok", "after {head:?}");
    }
}

#[test]
fn an_answer_of_another_length_than_announced_is_not_whole() {
    let (upstream, answer) = told();
    let gateway = to_http2(&upstream);
    let over_http2 = Http2Client::connect(gateway.address());
    for (length, parts) in [
        ("5", vec!["1234"]),
        ("5", vec![""]),
        ("5", vec!["12345", "HTTP/1.1 200 OK\r\n\r\n"]),
        ("5", vec!["12345HTTP/1.1 200 OK\r\n\r\n"]),
        ("0", vec!["HTTP/1.1 200 OK\r\n\r\n"]),
    ] {
        let mut frames = vec![headers(
            &[(":status", "200"), ("content-length", length)],
            0,
        )];
        frames.extend(parts.iter().map(|part| data(*part, 0)));
        frames.last_mut().unwrap().flags |= END_STREAM;
        *answer.lock().unwrap() = frames;
        let mut client = gateway.connect();
        client.send(Request::get("/").bytes());
        let (head, _) = client.read_begun(0);
        if head.first_line.contains("200") {
            let announced = head.length().expect("its length");
            let whole = client.read_exact_or_end(announced);
            let said = parts.concat().into_bytes();
            let is_what_was_said = whole.as_deref() == said.get(..announced);
            assert!(whole.is_none() || is_what_was_said, "{length} {parts:?}");
        } else {
            assert!(head.first_line.contains("502"), "{parts:?}: {head:?}");
        }
        match over_http2.open(&Request::get("/"), true).read() {
            Ok(answer) => assert!(answer.status == 502, "{parts:?}: {answer:?}"),
            Err(error) => assert!(error.is_reset(), "{parts:?}: {error}"),
        }
        *answer.lock().unwrap() = sound_answer();
        assert_eq!(gateway.get("/").text(), "ok", "after {parts:?}");
    }
}

#[test]
fn an_interim_answer_is_not_the_last() {
    let (upstream, answer) = told();
    let gateway = to_http2(&upstream);
    let interim = |status, flags| headers(&[(":status", status), ("x-interim", "1")], flags);
    let mut frames = vec![interim("100", 0), interim("103", 0), interim("103", 0)];
    frames.extend(sound_answer());
    *answer.lock().unwrap() = frames;
    let response = gateway.get("/");
    assert_eq!(
        (response.text().as_str(), response.header("x-interim")),
        ("ok", None)
    );
    for frames in [
        vec![interim("103", END_STREAM)],
        vec![interim("103", 0), data("ok", END_STREAM)],
        vec![data("ok", END_STREAM)],
    ] {
        *answer.lock().unwrap() = frames.clone();
        let response = gateway.get("/");
        assert_eq!(response.status, 502, "{frames:?}: {:?}", response.head);
        *answer.lock().unwrap() = sound_answer();
        assert_eq!(gateway.get("/").text(), "ok", "after {frames:?}");
    }
}

/// In one packet, so that most are reset before they are begun; h2 bounds those.
#[test]
fn a_flood_of_streams_that_are_reset_at_once_is_counted() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let frame = |kind, payload: &[u8]| Frame {
        kind,
        flags: 0,
        payload: payload.to_vec(),
    };
    let mut flood = [PREFACE, &frame(SETTINGS, b"").on(0)].concat();
    for stream in (1..400).step_by(2) {
        flood.extend(headers(&request("POST", "/"), 0).on(stream));
        flood.extend(frame(RESET, &[0, 0, 0, 8]).on(stream));
    }
    let mut client = gateway.connect();
    client.send(flood);
    client.read_to_end();
    eventually("the flood to be counted", || {
        (gateway.metric("knoxcall_http2_floods_total", &[]) == 1.0).then_some(())
    });
}
