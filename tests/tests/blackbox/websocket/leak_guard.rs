//! What an upstream's messages give away does not reach the client.

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::websocket::{WebSocketUpstream, fragment, open};
use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message};

use super::{frame, guarded, only_record, sending, switched};

fn stars() -> String {
    "*".repeat(TOKEN.len())
}

#[test]
fn secrets_are_masked_in_messages() {
    let upstream = WebSocketUpstream::start(|socket| {
        let (one, other) = TOKEN.split_at(8);
        let whole = format!("token={TOKEN};");
        socket.send(Message::text(whole.clone())).unwrap();
        socket.send(Message::binary(whole.into_bytes())).unwrap();
        socket
            .send(fragment(format!("a{one}"), true, false))
            .unwrap();
        socket
            .send(Message::Ping(Bytes::from_static(b"?")))
            .unwrap();
        socket
            .send(fragment(format!("{other}b"), false, true))
            .unwrap();
        socket
            .send(Message::Ping(Bytes::from_static(TOKEN.as_bytes())))
            .unwrap();
        socket.send(Message::text(one)).unwrap();
        let _ = socket.close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: TOKEN.into(),
        }));
        while socket.read().is_ok() {}
    });
    let gateway = Gateway::start(&guarded(Config::new(upstream.address())));
    let mut socket = open(&gateway);
    let masked = format!("token={};", stars());
    let ping = |text: String| Message::Ping(Bytes::from(text));
    for expected in [
        Message::text(masked.clone()),
        Message::binary(masked.into_bytes()),
        ping("?".to_owned()),
        Message::text(format!("a{}b", stars())),
        ping(stars()),
        Message::text(TOKEN.split_at(8).0),
    ] {
        assert_eq!(socket.read().unwrap(), expected);
    }
    let Ok(Message::Close(Some(close))) = socket.read() else {
        panic!("no close");
    };
    assert_eq!(close.reason.as_str(), stars());
    while socket.read().is_ok() {}
    let record = only_record(&gateway);
    assert_eq!(record.number("secrets_masked"), Some(5.0), "{record:?}");
}

#[test]
fn a_secret_in_several_packets_is_masked() {
    let bytes = frame(0x81, &format!("<{TOKEN}>"));
    let upstream = sending(bytes.chunks(3).map(<[u8]>::to_vec).collect());
    let gateway = Gateway::start(&guarded(Config::new(upstream.address())));
    let mut client = switched(&gateway);
    let masked = frame(0x81, &format!("<{}>", stars()));
    assert_eq!(client.read_exact(masked.len()), masked);
}

#[test]
fn a_frame_that_cannot_be_inspected_ends_a_strict_websocket() {
    let good = frame(0x81, "good");
    let compressed = frame(0xc1, "what is this");
    let upstream = sending(vec![[good.clone(), compressed.clone()].concat()]);
    let config = guarded(Config::new(upstream.address()));
    let gateway = Gateway::start(&config);
    let mut client = switched(&gateway);
    let close = [0x88, 2, 0x03, 0xea];
    assert_eq!(client.read_to_end(), [&good[..], &close].concat());
    drop(client);
    let record = only_record(&gateway);
    assert_eq!(record.text("error"), Some("response_uninspectable"));
    assert_eq!(record.text("ended_by"), Some("gateway"));
    let refused = [("type", "response_uninspectable")];
    assert_eq!(gateway.metric("knoxcall_refusals_total", &refused), 1.0);

    let lenient = config.edit_route("echo", json!({"leak_guard": "lenient"}));
    let gateway = Gateway::start(&lenient);
    let mut client = switched(&gateway);
    let all = [good, compressed].concat();
    assert_eq!(client.read_exact(all.len()), all);
}

#[test]
fn an_extension_that_a_rule_hides_is_seen_by_a_strict_guard() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        )?;
        session.hang()
    });
    let rules = json!({"response_headers": {"remove": ["Sec-WebSocket-Extensions"]}});
    let config = guarded(Config::new(upstream.address())).edit_route("echo", rules);
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send(Request::websocket("/").bytes());
    let response = client.read();
    response.assert_refused(502, "response_uninspectable");
}

#[test]
fn a_close_that_cannot_be_inspected_ends_it_with_one_that_can() {
    // Masked, as a server's must not be (RFC 6455, section 5.1).
    let upstream = sending(vec![vec![0x88, 0x82, 1, 2, 3, 4, 5, 6]]);
    let gateway = Gateway::start(&guarded(Config::new(upstream.address())));
    let mut client = switched(&gateway);
    assert_eq!(client.read_to_end(), [0x88, 2, 0x03, 0xea]);
}
