//! What lasts longer than a request, across an upgrade: open WebSockets, and
//! the memory of which signatures were used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use knoxcall_tests::config::SIGNING_SECRET;
use knoxcall_tests::websocket::{Socket, WebSocketUpstream, close_code, open};
use knoxcall_tests::{
    Config, Gateway, Over, RawClient, Redis, Request, Upstream, eventually, keys, signing,
};
use serde_json::json;
use tungstenite::{Error, Message};

use crate::upgrade::upgrade;

fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

#[test]
fn an_open_websocket_lives_to_the_grace_and_is_closed_with_1001() {
    let (told, hears) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = WebSocketUpstream::start(move |socket| {
        while let Ok(message) = socket.read() {
            match message {
                Message::Close(Some(close)) => told.lock().unwrap().send(close.code).unwrap(),
                message => drop(socket.send(message)),
            }
        }
    });
    let grace = Duration::from_secs(3);
    let config = Config::new(upstream.address()).limit("shutdown_grace_ms", 3_000);
    let mut gateway = Gateway::start(&config);
    let mut old = open(&gateway);
    echoes(&mut old, "before");

    let begun = Instant::now();
    let _successor = upgrade(&gateway, &config);
    let mut new = open(&gateway);
    echoes(&mut old, "by the old process");
    echoes(&mut new, "by the new one");
    assert_eq!(close_code(&mut old), 1001);
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    assert!(matches!(old.read(), Err(Error::ConnectionClosed)));
    assert_eq!(u16::from(hears.recv().unwrap()), 1001);
    assert!(gateway.process().wait().success());
    echoes(&mut new, "still");
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(record.text("ended_by"), Some("gateway"));
    assert_eq!(record.text("error_detail"), Some("gateway stopping"));
}

fn signed(target: &str, timestamp: u64) -> Request {
    let signature = signing::v1(SIGNING_SECRET, timestamp, "GET", target, b"");
    Request::get(target)
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header("x-signature", &signature)
}

fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address()).edit_route("echo", json!({"require_signature": true}))
}

/// Asks with ever new signatures until told to end; every one must be served.
fn ask(gateway: &Gateway, caller: usize, done: &AtomicBool) -> Vec<Request> {
    let mut served = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let mut client = gateway.connect();
        let mut is_kept = true;
        while is_kept && !done.load(Ordering::Relaxed) {
            let target = format!("/{caller}/{}", served.len());
            let request = signed(&target, signing::timestamp());
            client.send(request.bytes());
            let response = client.read();
            response.assert_served();
            is_kept = response.keeps_alive();
            served.push(request);
        }
    }
    served
}

#[test]
fn signed_requests_under_load_are_all_served_and_none_twice() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let config = config(&upstream).set("/counters/redis_url", json!(redis.url()));
    let mut gateway = Gateway::start(&config);
    let done = AtomicBool::new(false);
    let mut successor = None;
    let served: Vec<Request> = std::thread::scope(|scope| {
        let over = Over(&done);
        let (shared, done) = (&gateway, &done);
        let callers: Vec<_> = (0..3)
            .map(|caller| scope.spawn(move || ask(shared, caller, done)))
            .collect();
        upstream.wait_for_requests(30);
        successor = Some(upgrade(&gateway, &config));
        upstream.wait_for_requests(upstream.requests().len() + 30);
        drop(over);
        let served = callers.into_iter().map(|caller| caller.join().unwrap());
        served.flatten().collect()
    });
    assert!(gateway.process().wait().success());
    let arrived = upstream.requests().len();
    assert_eq!(arrived, served.len());
    let mut client = gateway.connect();
    for request in served {
        client.send(request.bytes());
        client.read().assert_refused(401, "nonce_replayed");
    }
    assert_eq!(upstream.requests().len(), arrived);
}

/// Two memories that know nothing of one another share out the time.
#[test]
fn without_redis_no_signature_counts_in_both_processes() {
    let upstream = Upstream::start();
    let config = config(&upstream);
    let gateway = Gateway::start(&config);
    let mut old = gateway.connect();
    let dated = signing::timestamp();
    let before = signed("/before", dated);
    old.send(before.bytes());
    old.read().assert_served();
    eventually("that second to begin", || {
        (signing::now() >= dated).then_some(())
    });

    let _successor = upgrade(&gateway, &config);
    gateway
        .send(&before)
        .assert_refused(401, "signature_expired");
    let after = signed("/after", signing::timestamp());
    old.send(after.bytes());
    let by_the_old = old.read();
    by_the_old.assert_refused(401, "signature_expired");
    gateway.send(&after).assert_served();
    let mut again = RawClient::connect(gateway.address());
    again.send(after.bytes());
    again.read().assert_refused(401, "nonce_replayed");
}
