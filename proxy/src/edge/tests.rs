//! What cannot be provoked from outside of the process: a filter that panics.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use knoxcall_bundle::{LoadOptions, load};
use knoxcall_counters::Counters;
use knoxcall_filters::Refusal;
use knoxcall_ledger::{Config, Ledger, Sink};
use pingora::connectors::ConnectorOptions;
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::Edge;
use super::connector::Connector;
use super::deadline::Deadline;
use super::decision::PANIC_HEADER;
use super::exchange::{Exchange, Served};
use crate::downstream::service::connection;
use crate::gateway::Gateway;
use crate::lifecycle::watch_panics;
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::upstream::Upstreams;
use crate::upstream::idle::IdleConnections;

fn connector() -> Connector {
    Connector::new(
        ConnectorOptions::new(16),
        Arc::new(IdleConnections::new(16, 1)),
    )
}

const CONFIG: &str = "
listeners: [{address: '127.0.0.1:8080'}]
tenant: {slug: acme, extra_hosts: [acme.test]}
environments: [{name: production}]
routes:
  - {slug: open, open: true, target_base_url: 'http://127.0.0.1:9'}
logging: {requests: {path: none}}
";

fn gateway(folder: &std::path::Path) -> Arc<Gateway> {
    let file = folder.join("gateway.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let options = LoadOptions {
        allow_inline_secrets: false,
        env: &|_| None,
    };
    let loaded = load(&file, &options).unwrap();
    let counters = Counters::new(knoxcall_counters::Config::default()).unwrap();
    let upstreams = Arc::new(Upstreams::new(Vec::new(), &loaded.settings.upstream));
    let snapshot = Snapshot::compile(loaded, &counters, &upstreams).unwrap();
    let ledger = Ledger::start(Config {
        sink: Sink::File {
            path: folder.join("requests.jsonl"),
            rotate_bytes: 0,
            keep_files: 1,
        },
        queue: 16,
        flush_interval: Duration::from_millis(10),
    })
    .unwrap();
    let metrics = Metrics::new(Refusal::all_examples().iter().map(Refusal::code)).unwrap();
    Arc::new(Gateway::new(snapshot, upstreams, counters, ledger, metrics))
}

/// Serves one connection and returns what the client read until it was closed.
async fn exchange(edge: &Arc<Edge>, listener: &TcpListener, request: String) -> String {
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let accepted = listener.accept().await.unwrap();
    let edge = edge.clone();
    let served = tokio::spawn(async move {
        let (_sender, shutdown) = watch::channel(false);
        let gateway = edge.gateway().clone();
        let (stream, remote) = accepted;
        let arrived = (stream, remote, gateway.connections.arrive());
        connection(&gateway, &edge, 0, arrived, &shutdown).await;
    });
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer).await;
    let _ = served.await;
    answer
}

/// None is known that our own rules let pass; Pingora's session cannot be asked
/// for a head that it has not read.
#[tokio::test]
async fn a_head_that_only_pingora_refuses_is_answered_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path());
    let (mut client, server) = tokio::io::duplex(4096);
    let mut session = Box::new(ServerSession::new_http1(Box::new(server)));
    session.set_pipelined_prefix(BytesMut::from(&b"GET / HTTP/9.9\r\n\r\n"[..]));
    let exchange = Exchange {
        gateway: &gateway,
        connector: &connector(),
        peer: [192, 0, 2, 7].into(),
    };
    let mut deadline = Deadline::after(Duration::from_secs(60));
    let served = exchange.serve(session, &mut deadline).await;
    assert!(!matches!(served, Served::Reusable(_)));
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("malformed_request"), "{answer}");
    gateway.ledger.close();
    let records = std::fs::read_to_string(folder.path().join("requests.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 1);
}

#[tokio::test]
async fn a_panic_ends_its_connection_only_is_counted_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path());
    watch_panics(&gateway);
    let edge = Arc::new(Edge::new(gateway.clone(), connector()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();

    let head = "GET /livez HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n";
    let panicking = format!("GET /boom HTTP/1.1\r\nHost: acme.test\r\n{PANIC_HEADER}: 1\r\n\r\n");
    let broken = exchange(&edge, &listener, panicking).await;
    let served = exchange(&edge, &listener, format!("{head}\r\n")).await;
    let _ = std::panic::take_hook();

    assert_eq!(
        broken, "",
        "the connection of the panic is closed without an answer"
    );
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    assert_eq!(gateway.metrics.panics.get(), 1);
    assert_eq!(gateway.metrics.requests_active.get(), 0);
    gateway.ledger.close();
    let records = std::fs::read_to_string(folder.path().join("requests.jsonl")).unwrap();
    let record = records.lines().find(|line| line.contains("/boom")).unwrap();
    assert!(record.contains("\"ended_by\":\"panic\""), "{record}");
}
