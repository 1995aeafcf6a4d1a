//! WebSockets over TLS (`wss`), on either side of the gateway, with the leak
//! guard on.

use std::io::{Read, Write};

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::websocket::{
    Socket, TlsSocket, WebSocketUpstream, close_code, open, open_over, open_with,
};
use knoxcall_tests::{Authority, Config, Gateway, TlsConnection, keys};
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// Says every message again, and the secret behind it.
fn tell<S: Read + Write>(socket: &mut Socket<S>) {
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            let told = format!("{text} {TOKEN}");
            let _ = socket.send(Message::text(told));
        }
    }
}

fn guarded(config: Config) -> Config {
    config.edit_route(
        "echo",
        json!({"inject_headers": {"Authorization": "Bearer {{secret:token}}"}, "environments": {}}),
    )
}

/// As a listener over TLS.
fn secured(config: Config, authority: &Authority) -> Config {
    let (certificate, key) = authority.issue_as("gateway", "DNS:gw.test");
    let certificates = json!([{"cert_file": certificate, "key_file": key}]);
    config.listener(json!({"tls": {"certificates": certificates}}))
}

/// To an upstream over TLS, with whatever else.
fn to_tls(upstream: &WebSocketUpstream, fields: serde_json::Value) -> Config {
    let target = format!("https://localhost:{}", upstream.address().port());
    Config::new(upstream.address())
        .edit_route("echo", json!({"target_base_url": target}))
        .edit_route("echo", fields)
}

fn open_over_tls(gateway: &Gateway) -> TlsSocket {
    let stream = TlsConnection::open(gateway.address(), "gw.test").into_stream();
    open_over(stream, &[("x-knoxcall-key", keys::LIVE)]).expect("the upgrade")
}

/// Small and large messages pass whole, but for the secret; then a close.
fn talk<S: Read + Write>(mut socket: Socket<S>) {
    for length in [5, 126, 65_536, 200_000] {
        let text = "x".repeat(length);
        socket.send(Message::text(text.clone())).unwrap();
        let masked = format!("{text} {}", "*".repeat(TOKEN.len()));
        assert!(socket.read().unwrap() == Message::text(masked), "{length}");
    }
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    socket.close(Some(close)).unwrap();
    assert_eq!(close_code(&mut socket), 1000);
}

#[test]
fn a_client_over_tls_is_served() {
    let authority = Authority::new();
    let upstream = WebSocketUpstream::start(tell);
    let config = secured(guarded(Config::new(upstream.address())), &authority);
    let gateway = Gateway::start(&config);
    talk(open_over_tls(&gateway));
    let seen = &upstream.handshakes()[0];
    assert_eq!(seen["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(seen["x-forwarded-proto"], "https");
}

#[test]
fn an_upstream_over_tls_is_reached() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let upstream = WebSocketUpstream::start_over_tls(&certificate, &key, tell);
    let trust = json!({"custom_ca_file": authority.certificate()});
    let config = guarded(to_tls(&upstream, trust));
    talk(open(&Gateway::start(&config)));
    let gateway = Gateway::start(&secured(config, &authority));
    talk(open_over_tls(&gateway));
    assert_eq!(upstream.handshakes().len(), 2);
}

#[test]
fn an_upstream_that_is_not_believed_hears_of_no_websocket() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue("DNS:localhost");
    let upstream = WebSocketUpstream::start_over_tls(&certificate, &key, tell);
    let trust = json!({"custom_ca_file": stranger.certificate()});
    let gateway = Gateway::start(&guarded(to_tls(&upstream, trust)));
    let refused = open_with(&gateway, &[("x-knoxcall-key", keys::LIVE)]);
    let answer = refused.expect_err("a refusal");
    assert_eq!(answer.status(), 502);
    let body = answer.body().clone().unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("upstream_tls"), "{body}");
    assert!(upstream.handshakes().is_empty());
}

#[test]
fn a_stop_closes_both_ends_over_tls_with_1001() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let (told, hears) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = WebSocketUpstream::start_over_tls(&certificate, &key, move |socket| {
        socket.send(Message::text("open")).unwrap();
        told.lock().unwrap().send(close_code(socket)).unwrap();
        while socket.read().is_ok() {}
    });
    let trust = json!({"custom_ca_file": authority.certificate()});
    let config = guarded(to_tls(&upstream, trust)).limit("shutdown_grace_ms", 300);
    let mut gateway = Gateway::start(&secured(config, &authority));
    let mut socket = open_over_tls(&gateway);
    assert_eq!(socket.read().unwrap(), Message::text("open"));
    gateway.signal("TERM");
    assert_eq!(close_code(&mut socket), 1001);
    assert_eq!(hears.recv().unwrap(), 1001);
    assert!(gateway.process().wait().success());
}
