//! gRPC from end to end with a real client and a real server (Python's
//! `grpcio`, which is the C core that most languages use).

use std::process::Stdio;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, PythonServer, eventually, keys, python};
use serde_json::{Value, json};

const SERVER: &str = "grpc/server.py";
const CLIENT: &str = "grpc/client.py";

/// Of the call that waits, as it came.
fn seconds_left(server: &PythonServer) -> f64 {
    let begun = server.told();
    let left = begun.strip_prefix("begun ").expect("a call that waits");
    left.parse().expect("its deadline")
}

fn gateway(server: &PythonServer) -> Gateway {
    Gateway::start(&Config::new(server.address()).edit_route(
        "echo",
        json!({
            "protocol": "http2",
            "inject_headers": {"x-token": "{{secret:token}}"},
            "environments": {},
        }),
    ))
}

fn call(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = python(CLIENT)
        .arg(gateway.address().to_string())
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_unary_call_passes_with_the_secret_and_its_trailers() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Unary", keys::LIVE]);
    assert_eq!(answer["code"], "OK");
    assert_eq!(answer["length"], 100_000);
    let length = TOKEN.len().to_string();
    assert_eq!(answer["trailers"]["x-token-length"], length.as_str());
}

#[test]
fn a_call_streams_both_ways() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Both", keys::LIVE]);
    assert_eq!(answer["code"], "OK");
    assert_eq!(answer["answers"].as_array().unwrap().len(), 100);
    assert_eq!(answer["trailers"]["x-done"], "1");
}

#[test]
fn the_servers_own_status_reaches_the_caller() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Fail", keys::LIVE]);
    assert_eq!(answer["code"], "FAILED_PRECONDITION");
    assert_eq!(answer["details"], "as asked");
}

#[test]
fn a_refusal_is_a_status_that_the_caller_understands() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(
        &gateway,
        &["Unary", "tk_live_nobody_000000000000000000000000000000"],
    );
    assert_eq!(answer["code"], "UNAUTHENTICATED");
    assert!(
        answer["details"]
            .as_str()
            .unwrap()
            .starts_with("unauthorized")
    );
}

#[test]
fn a_secret_in_a_message_is_masked_and_the_message_stays_whole() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Leak", keys::LIVE]);
    assert_eq!(answer["code"], "OK");
    assert_eq!(
        answer["text"],
        format!("token: {}", "*".repeat(TOKEN.len()))
    );
}

#[test]
fn a_callers_deadline_ends_the_call_at_the_upstream_too() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Slow", keys::LIVE, "0.3"]);
    assert_eq!(answer["code"], "DEADLINE_EXCEEDED");
    assert_eq!(call(&gateway, &["Unary", keys::LIVE])["code"], "OK");
}

#[test]
fn the_time_that_a_caller_gives_is_the_servers_too() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let answer = call(&gateway, &["Wait", keys::LIVE, "2"]);
    assert_eq!(answer["code"], "DEADLINE_EXCEEDED");
    assert!(seconds_left(&server) <= 2.0);
    assert_eq!(server.told(), "ended");
}

#[test]
fn a_call_that_is_given_up_ends_at_the_server_long_before_its_time() {
    let server = PythonServer::start(SERVER);
    let gateway = gateway(&server);
    let mut caller = python(CLIENT)
        .arg(gateway.address().to_string())
        .args(["Wait", keys::LIVE, "3600", "cancel"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let left = seconds_left(&server);
    assert!((3_500.0..=3_600.0).contains(&left), "{left}");
    drop(caller.stdin.take());
    assert_eq!(server.told(), "ended");
    caller.wait().unwrap();
    eventually("the call to end here too", || {
        (gateway.metric("knoxcall_requests_active", &[]) == 0.0).then_some(())
    });
}
