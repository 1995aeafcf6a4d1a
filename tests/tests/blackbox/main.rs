//! What the built gateway does, seen from outside: raw bytes in, raw bytes at
//! the upstream, records, metrics, exit codes. One binary, a module a topic.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a broken assumption must fail the test, loudly"
)]

mod addressing;
mod admin;
mod bodies;
mod bootstrap;
mod caller;
mod caller_opaque;
mod check;
mod cli;
mod client_address;
mod client_certificates;
mod client_certificates_reload;
mod cloudflare_tunnel;
mod config_check;
mod config_show;
mod connection;
mod container;
mod docs_examples;
mod environments;
mod explain;
mod grpc;
mod headers;
mod http2;
mod http2_frames;
mod http2_streams;
mod http2_upstream;
mod hygiene;
mod injection;
mod injection_body;
mod ip_allowlist;
mod limits;
mod listeners;
mod methods;
mod metrics_golden;
mod process_log;
mod proxy_protocol;
mod quickstart;
mod rate_limit;
mod rate_limit_shared;
mod records;
mod redis_outages;
mod reload;
mod reload_limits;
mod response_parts;
mod responses;
mod routing;
mod secrets_never_leak;
mod server_sent_events;
mod shutdown;
mod signature;
mod signature_bodies;
mod slow;
mod spans;
mod templates;
mod tls_downstream;
mod upgrade;
mod upgrade_sessions;
mod upstream;
mod upstream_answers;
mod upstream_keepalive;
mod upstream_mtls;
mod upstream_outages;
mod upstream_pool;
mod upstream_retries;
mod upstream_timeouts;
mod upstream_tls;
mod upstream_tls_connections;
mod variables;
mod websocket;
mod websocket_python;
mod websocket_tls;
