//! WebSockets from end to end with a real client and a real server (Python's
//! `websockets`), which compress their messages where they can agree on it.

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, PythonServer, eventually, keys, python};
use serde_json::{Value, json};

fn start() -> PythonServer {
    PythonServer::start("websockets/server.py")
}

fn converse(gateway: &Gateway, key: &str, text: &str) -> Value {
    let address = gateway.address().to_string();
    let output = python("websockets/client.py")
        .args([&address, key, text])
        .output()
        .unwrap();
    let heard = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&heard)
        .unwrap_or_else(|_| panic!("{heard}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A text, fragments, bytes and a ping, and a close by the client.
#[test]
fn a_compressed_conversation_passes_as_it_is() {
    let server = start();
    let gateway = Gateway::start(&Config::new(server.address()));
    let expected = json!({
        "extensions": ["permessage-deflate"],
        "text": "hello",
        "fragments": "<hello>",
        "binary_is_whole": true,
        "ponged": true,
        "closed": [4001, "enough"],
    });
    assert_eq!(converse(&gateway, keys::LIVE, "hello"), expected);
    assert_eq!(server.told(), "extensions permessage-deflate");
    assert_eq!(server.told(), "closed 4001 enough");
    let record = eventually("the record", || gateway.records().pop());
    for bytes in ["request_bytes", "response_bytes"] {
        let passed = record.number(bytes).unwrap();
        assert!(passed < 10_000.0, "{passed} of 76,800 {bytes}");
    }
}

#[test]
fn a_close_by_the_server_reaches_the_client() {
    let server = start();
    let gateway = Gateway::start(&Config::new(server.address()));
    let heard = converse(&gateway, keys::LIVE, "close me");
    assert_eq!(heard["closed"], json!([4002, "as asked"]));
    assert_eq!(server.told(), "extensions permessage-deflate");
    assert_eq!(server.told(), "closed 4002 as asked");
}

#[test]
fn a_secret_that_is_echoed_is_masked_and_nothing_is_compressed() {
    let server = start();
    let gateway = Gateway::start(&Config::new(server.address()).edit_route(
        "echo",
        json!({"inject_headers": {"x-token": "{{secret:token}}"}, "environments": {}}),
    ));
    let stars = "*".repeat(TOKEN.len());
    let expected = json!({
        "extensions": [],
        "text": stars,
        "fragments": format!("<{stars}>"),
        "binary_is_whole": true,
        "ponged": true,
        "closed": [4001, "enough"],
    });
    assert_eq!(converse(&gateway, keys::LIVE, TOKEN), expected);
    assert_eq!(server.told(), "extensions");
}

#[test]
fn a_refusal_is_a_status_that_the_client_understands() {
    let server = start();
    let gateway = Gateway::start(&Config::new(server.address()));
    let heard = converse(&gateway, keys::EXPIRED, "hello");
    assert_eq!(heard, json!({"status": 401}));
}
