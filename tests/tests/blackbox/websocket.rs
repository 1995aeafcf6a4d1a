//! WebSockets, with a library's client and server on the two sides.

mod leak_guard;

use std::io::Write;
use std::net::Shutdown;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::websocket::{Socket, WebSocketUpstream, close_code, fragment, open, open_with};
use knoxcall_tests::{
    Config, Gateway, RawClient, Record, Request, Upstream, eventually, keys, pause,
};
use serde_json::json;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Error, Message};

const SHORT: u64 = 600;
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Its answers are looked through for the token.
fn guarded(config: Config) -> Config {
    config.edit_route(
        "echo",
        json!({"inject_headers": {"Authorization": "Bearer {{secret:token}}"}, "environments": {}}),
    )
}

/// An upstream that switches and then sends these parts, each by itself.
fn sending(parts: Vec<Vec<u8>>) -> Upstream {
    Upstream::scripted(move |session| {
        session.request()?;
        session.send(SWITCH)?;
        for part in &parts {
            pause(Duration::from_millis(20));
            session.send(part)?;
        }
        session.hang()
    })
}

/// A frame of a server, small.
fn frame(first: u8, payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, length], payload.as_bytes()].concat()
}

fn switched(gateway: &Gateway) -> RawClient {
    let mut client = gateway.connect();
    client.send(Request::websocket("/").bytes());
    assert_eq!(client.read_any("GET").status, 101);
    client
}

fn only_record(gateway: &Gateway) -> Record {
    eventually("the record", || gateway.records().pop())
}

fn nothing_is_active(gateway: &Gateway) {
    eventually("the request to end", || {
        (gateway.metric("knoxcall_requests_active", &[]) == 0.0).then_some(())
    });
}

#[test]
fn messages_pass_both_ways_as_they_are() {
    let upstream = WebSocketUpstream::echo();
    let gateway = Gateway::start(&guarded(Config::new(upstream.address())));
    let mut socket = open(&gateway);
    let mebibyte: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0_u8; 126]),
        Message::binary(vec![7_u8; 65_536]),
        Message::binary(mebibyte),
    ] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message);
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .unwrap();
    let pong = Message::Pong(Bytes::from_static(b"there?"));
    assert_eq!(socket.read().unwrap(), pong);
}

#[test]
fn fragments_pass_both_ways() {
    let upstream = WebSocketUpstream::start(|socket| {
        let message = socket.read().unwrap();
        assert_eq!(message, Message::text("one two three"));
        for (part, opens, closes) in [
            ("three ", true, false),
            ("two ", false, false),
            ("one", false, true),
        ] {
            socket.send(fragment(part, opens, closes)).unwrap();
        }
        let _ = socket.read();
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    for (part, opens, closes) in [
        ("one ", true, false),
        ("two ", false, false),
        ("three", false, true),
    ] {
        socket.send(fragment(part, opens, closes)).unwrap();
    }
    assert_eq!(socket.read().unwrap(), Message::text("three two one"));
}

#[test]
fn a_close_reaches_the_other_end_with_its_code_and_reason() {
    let (told, hears) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = WebSocketUpstream::start(move |socket| {
        while let Ok(message) = socket.read() {
            if let Message::Close(close) = message {
                told.lock().unwrap().send(close).unwrap();
            }
        }
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    let close = CloseFrame {
        code: CloseCode::Library(4001),
        reason: "enough".into(),
    };
    socket.close(Some(close.clone())).unwrap();
    assert_eq!(close_code(&mut socket), 4001);
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    assert_eq!(hears.recv().unwrap(), Some(close));
    nothing_is_active(&gateway);
}

#[test]
fn a_record_tells_what_passed_and_who_ended_it() {
    let upstream = WebSocketUpstream::echo();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    socket.send(Message::binary(vec![1; 1000])).unwrap();
    socket.read().unwrap();
    assert_eq!(gateway.metric("knoxcall_requests_active", &[]), 1.0);
    pause(Duration::from_millis(50));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    nothing_is_active(&gateway);
    let record = only_record(&gateway);
    assert_eq!(record.number("status_code"), Some(101.0));
    assert_eq!(record.text("ended_by"), Some("upstream"));
    // Heads of 8 and 4 bytes, and the closes.
    assert_eq!(record.number("request_bytes"), Some(1000.0 + 8.0 + 6.0));
    assert_eq!(record.number("response_bytes"), Some(1000.0 + 4.0 + 2.0));
    assert!(record.number("latency_ms").unwrap() >= 50.0, "{record:?}");
}

#[test]
fn a_handshake_is_decided_like_any_request() {
    let upstream = WebSocketUpstream::echo();
    let gateway = Gateway::start(&guarded(Config::new(upstream.address())));
    let answer = open_with(&gateway, &[]).unwrap_err();
    assert_eq!(answer.status(), 401);
    let answer = open_with(&gateway, &[("x-knoxcall-key", keys::EXPIRED)]).unwrap_err();
    assert_eq!(answer.status(), 401);
    assert!(upstream.handshakes().is_empty());

    open(&gateway);
    let handshake = upstream.handshakes().pop().unwrap();
    assert_eq!(
        handshake["authorization"],
        format!("Bearer {TOKEN}").as_str()
    );
    assert!(!handshake.contains_key("x-knoxcall-key"));
    assert!(handshake.contains_key("x-request-id"));
}

#[test]
fn extensions_are_agreed_on_only_where_nothing_is_looked_into() {
    let upstream = WebSocketUpstream::echo();
    let asked = |config: &Config| {
        let gateway = Gateway::start(config);
        let headers = [
            ("x-knoxcall-key", keys::LIVE),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "chat"),
        ];
        open_with(&gateway, &headers).expect("the upgrade");
        upstream.handshakes().pop().unwrap()
    };
    let plain = asked(&Config::new(upstream.address()));
    assert_eq!(plain["sec-websocket-extensions"], "permessage-deflate");
    assert_eq!(plain["sec-websocket-protocol"], "chat");
    let guarded = asked(&guarded(Config::new(upstream.address())));
    assert!(!guarded.contains_key("sec-websocket-extensions"));
    assert_eq!(guarded["sec-websocket-protocol"], "chat");
}

#[test]
fn an_answer_that_is_no_upgrade_is_one_like_any_other() {
    let upstream = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            session.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(Request::websocket("/").bytes());
        let answer = client.read();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        assert!(answer.keeps_alive());
    }
    client.send(Request::get("/").bytes());
    assert_eq!(client.read().status, 403);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_switch_to_another_protocol_is_refused() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(&Request::websocket("/"))
        .assert_refused(502, "upstream_failed");
}

#[test]
fn what_comes_with_the_heads_is_not_lost() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send([SWITCH.as_bytes(), &frame(0x81, "first")].concat())?;
        let early = session.read(5)?;
        session.send([&frame(0x81, "got")[..], &early].concat())
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    // Not allowed, and done.
    let early = [0x82, 0x80, 1, 2, 3];
    client.send([&Request::websocket("/").bytes()[..], &early].concat());
    assert_eq!(client.read_any("GET").status, 101);
    let expected = [frame(0x81, "first"), frame(0x81, "got"), early.to_vec()].concat();
    assert_eq!(client.read_to_end(), expected);
}

#[test]
fn a_websocket_is_asked_for_over_http1_where_the_upstream_speaks_http2() {
    let upstream = WebSocketUpstream::echo();
    let config = Config::new(upstream.address()).edit_route("echo", json!({"protocol": "http2"}));
    let gateway = Gateway::start(&config);
    let mut socket = open(&gateway);
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
}

#[test]
fn neither_direction_waits_for_the_other() {
    const MUCH: usize = 8 << 20;
    // Takes nothing until the client has taken everything, and the other way.
    let upstream = WebSocketUpstream::start(|socket| {
        socket.send(Message::binary(vec![1; MUCH])).unwrap();
        assert_eq!(socket.read().unwrap().len(), 3);
        let _ = socket.read();
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    assert_eq!(socket.read().unwrap().len(), MUCH);
    socket.send(Message::text("one")).unwrap();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}

    let upstream = WebSocketUpstream::start(|socket| {
        for _ in 0..1000 {
            socket.send(Message::text("tick")).unwrap();
        }
        assert_eq!(socket.read().unwrap().len(), MUCH);
        socket.send(Message::text("done")).unwrap();
        let _ = socket.read();
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    socket.send(Message::binary(vec![2; MUCH])).unwrap();
    while socket.read().unwrap() != Message::text("done") {}
}

#[test]
fn a_half_close_is_passed_on() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send(SWITCH)?;
        let all = session.read_to_end()?;
        session.send(all)
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = switched(&gateway);
    client.send(frame(0x81, "last words")).finish();
    assert_eq!(client.read_to_end(), frame(0x81, "last words"));
    assert_eq!(only_record(&gateway).text("ended_by"), Some("client"));
}

#[test]
fn a_client_that_vanishes_ends_it_at_the_upstream() {
    let (ended, ends) = mpsc::channel();
    let ended = Mutex::new(ended);
    let upstream = WebSocketUpstream::start(move |socket| {
        while socket.read().is_ok() {}
        ended.lock().unwrap().send(()).unwrap();
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    socket.send(Message::text("still here")).unwrap();
    drop(socket);
    ends.recv_timeout(Duration::from_secs(10)).unwrap();
    nothing_is_active(&gateway);
    assert_eq!(only_record(&gateway).text("ended_by"), Some("client"));
}

#[test]
fn an_upstream_that_vanishes_ends_it_at_the_client() {
    let upstream = WebSocketUpstream::start(|socket| {
        socket.send(Message::text("so long")).unwrap();
        socket.get_ref().shutdown(Shutdown::Both).unwrap();
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut socket = open(&gateway);
    assert_eq!(socket.read().unwrap(), Message::text("so long"));
    assert!(socket.read().is_err());
    drop(socket);
    nothing_is_active(&gateway);
    assert_eq!(only_record(&gateway).text("ended_by"), Some("upstream"));
}

/// What an upstream hears when the gateway ends a WebSocket: told by a channel.
fn listening() -> (WebSocketUpstream, mpsc::Receiver<u16>) {
    let (told, hears) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = WebSocketUpstream::start(move |socket: &mut Socket| {
        socket.send(Message::text("open")).unwrap();
        told.lock().unwrap().send(close_code(socket)).unwrap();
        while socket.read().is_ok() {}
    });
    (upstream, hears)
}

#[test]
fn a_websocket_that_is_silent_for_too_long_is_closed_at_both_ends() {
    let (upstream, hears) = listening();
    let config = Config::new(upstream.address()).limit("stream_idle_timeout_ms", SHORT);
    let gateway = Gateway::start(&config);
    let mut socket = open(&gateway);
    assert_eq!(socket.read().unwrap(), Message::text("open"));
    // Any byte either way counts.
    for _ in 0..4 {
        pause(Duration::from_millis(SHORT / 3));
        socket.send(Message::Pong(Bytes::new())).unwrap();
    }
    assert_eq!(close_code(&mut socket), 1001);
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    assert_eq!(hears.recv().unwrap(), 1001);
    nothing_is_active(&gateway);
    let record = only_record(&gateway);
    assert_eq!(record.text("ended_by"), Some("gateway"));
    assert_eq!(record.text("error_detail"), Some("WebSocket idle"));
    assert!(record.number("latency_ms").unwrap() >= 4.0 * SHORT as f64 / 3.0);
}

#[test]
fn a_stop_lets_a_websocket_live_to_the_grace_and_closes_it_at_both_ends() {
    let (upstream, hears) = listening();
    let config = guarded(Config::new(upstream.address())).limit("shutdown_grace_ms", 2 * SHORT);
    let mut gateway = Gateway::start(&config);
    let mut socket = open(&gateway);
    assert_eq!(socket.read().unwrap(), Message::text("open"));
    gateway.signal("TERM");
    pause(Duration::from_millis(SHORT));
    socket.send(Message::Ping(Bytes::new())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(Bytes::new()));
    assert_eq!(close_code(&mut socket), 1001);
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    assert_eq!(hears.recv().unwrap(), 1001);
    assert!(gateway.process().wait().success());
    let record = only_record(&gateway);
    assert_eq!(record.text("ended_by"), Some("gateway"));
    assert_eq!(record.text("error_detail"), Some("gateway stopping"));
}

#[test]
fn a_close_waits_for_the_frame_that_has_begun() {
    let upstream = WebSocketUpstream::start(|socket| {
        // The head of a message that is not sent whole, at first.
        socket.get_mut().write_all(&[0x81, 5, b'a']).unwrap();
        assert_eq!(close_code(socket), 1001);
        socket.get_mut().write_all(b"bcde").unwrap();
        while socket.read().is_ok() {}
    });
    let config = Config::new(upstream.address()).limit("stream_idle_timeout_ms", SHORT);
    let gateway = Gateway::start(&config);
    let mut socket = open(&gateway);
    assert_eq!(socket.read().unwrap(), Message::text("abcde"));
    assert_eq!(close_code(&mut socket), 1001);
}

#[test]
fn a_websocket_that_does_not_end_in_the_grace_does_not_hold_the_process() {
    let upstream = sending(vec![vec![0x81, 100, b'x']]);
    let config = Config::new(upstream.address()).limit("shutdown_grace_ms", 200);
    let mut gateway = Gateway::start(&config);
    let mut client = switched(&gateway);
    assert_eq!(client.read_exact(3), [0x81, 100, b'x']);
    gateway.signal("TERM");
    let _ = gateway.process().wait();
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(only_record(&gateway).number("response_bytes"), Some(3.0));
}

#[test]
fn the_caller_is_the_one_that_the_proxy_protocol_names() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send(SWITCH)
    });
    let config = Config::new(upstream.address())
        .listener(json!({"proxy_protocol": {"from": ["127.0.0.0/8"]}}));
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send("PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n");
    client.send(Request::websocket("/").bytes());
    assert_eq!(client.read_any("GET").status, 101);
    assert_eq!(client.read_to_end(), b"");
    drop(client);
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(only_record(&gateway).text("src_ip"), Some("203.0.113.7"));
}
