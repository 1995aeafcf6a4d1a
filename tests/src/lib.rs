//! What the black-box tests are made of: the built gateway as a process, raw
//! HTTP/1 clients and upstreams that do exactly what a test says, and real
//! servers (Redis, nginx) on ports of their own.
//!
//! Everything blocks, on threads, with a deadline; whatever is started ends
//! with the value that started it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this crate is tests: a broken assumption must fail the test, loudly"
)]

mod certificates;
mod client;
mod collector;
pub mod config;
mod gateway;
mod http2;
pub mod http2_frames;
mod nginx;
mod ports;
mod process;
mod python;
mod records;
mod redis;
mod request;
pub mod signing;
mod tls;
mod tls_upstream;
mod upstream;
mod wait;
pub mod websocket;
mod wire;

pub use certificates::Authority;
pub use client::{RawClient, Response};
pub use collector::{Collector, ReceivedSpan};
pub use config::{Config, keys};
pub use gateway::{Cli, Gateway, Output, binary};
pub use http2::{Http2Client, Http2Received, Http2Response, Http2Stream, Http2Upstream};
pub use nginx::Nginx;
pub use ports::free_port;
pub use process::Process;
pub use python::{PythonServer, python};
pub use records::Record;
pub use redis::Redis;
pub use request::Request;
pub use tls::{Dialled, TlsConnection, dial};
pub use tls_upstream::{Asked, TlsUpstream};
pub use upstream::{Received, Session, Upstream};
pub use wait::{DEADLINE, Over, eventually, pause};
pub use wire::{Head, Wire};

/// Does this run include what takes long?
pub fn full() -> bool {
    std::env::var_os("KNOXCALL_TEST_FULL").is_some()
}
