//! What concerns the process and not the tenant: listeners, limits, shared
//! state, logging. Plain data, already validated, defaults filled in.

mod listener;
mod overlap;
mod tracing;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use regex::Regex;

use crate::secret::SecretValue;

pub use crate::document::{LogFormat, LogLevel};
pub use listener::{
    Certificate, ClientAuth, Listener, ListenerTls, MOST_LISTENERS, TicketKey, TlsVersion,
};
pub use overlap::{Overlap, OwnListener, overlapping};
pub use tracing::Tracing;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Never empty.
    pub listeners: Vec<Listener>,
    pub admin: Option<Admin>,
    pub workers: NonZeroUsize,
    pub trusted_proxies: Vec<TrustedProxy>,
    pub limits: Limits,
    pub counters: Counters,
    pub upstream: UpstreamSettings,
    pub logging: Logging,
    /// `None`: no spans are made.
    pub tracing: Option<Tracing>,
}

/// Health and metrics, read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Loopback, unless the document allows another one explicitly.
    pub address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    pub cidr: IpNet,
    /// Take the client's address from `CF-Connecting-IP`.
    pub cf_connecting_ip: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub head_bytes: usize,
    pub head_fields: usize,
    /// For a whole head, from its first byte.
    pub head_timeout: Duration,
    /// From its beginning.
    pub tls_handshake_timeout: Duration,
    /// For an idle keep-alive connection.
    pub keepalive_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// Bytes a second. `None`: however slow.
    pub min_body_rate: Option<NonZeroU32>,
    /// For gRPC, server-sent events and WebSockets.
    pub stream_idle_timeout: Duration,
    pub http2_max_streams: u32,
    pub max_connections: usize,
    /// IPv6: from one /64. Trusted proxies are exempt.
    pub max_connections_per_address: usize,
    pub max_inspected_body: usize,
    /// Of all bodies that are held whole.
    pub max_buffered: usize,
    /// Unknown callers per address (IPv6: per /64) before 429.
    pub unauthorized_per_minute: NonZeroU32,
    /// For running requests to finish, on SIGTERM.
    pub shutdown_grace: Duration,
    /// Between `/healthz` turning 503 and the listeners closing.
    pub drain_delay: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// `None`: state is kept in this process. The URL may hold a password.
    pub redis_url: Option<SecretValue>,
    pub redis_timeout: Duration,
    pub instances: NonZeroU32,
    pub nonce_capacity: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Idle connections kept for reuse: each worker has an equal share.
    pub pool_size: usize,
    pub dns_min_ttl: Duration,
    pub dns_max_ttl: Duration,
    /// For one look-up.
    pub dns_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    pub level: LogLevel,
    pub format: LogFormat,
    pub requests: RequestLog,
    pub obfuscate: Obfuscate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLog {
    pub output: RequestLogOutput,
    pub rotate_bytes: u64,
    pub keep_files: usize,
    /// Records that wait to be written; beyond it they are dropped and counted.
    pub queue: usize,
    pub flush_interval: Duration,
    pub capture_headers: Vec<HeaderName>,
    pub capture_body: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestLogOutput {
    Stdout,
    File(PathBuf),
    None,
}

/// What is masked in request records, beside what always is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Obfuscate {
    pub headers: Vec<HeaderName>,
    pub query: Vec<String>,
    /// Paths such as `$.items[*].card`; their form has been checked.
    pub json_paths: Vec<String>,
    pub patterns: Vec<Pattern>,
}

/// A regular expression that has been compiled; equal by its text.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
