//! What concerns the process: where it listens, what it bears, what it shares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The read-only listener for `/healthz`, `/livez` and `/metrics`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminDocument {
    /// Without it there is no admin listener.
    pub enabled: bool,
    /// Address and port.
    pub address: String,
    /// Needed for an address that is not loopback: metrics name routes' traffic.
    pub allow_remote: bool,
}

impl Default for AdminDocument {
    fn default() -> Self {
        Self {
            enabled: true,
            address: "127.0.0.1:9901".to_owned(),
            allow_remote: false,
        }
    }
}

/// A proxy in front of the gateway whose word on the client's address counts.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedProxyDocument {
    /// The proxy's own address or range.
    pub cidr: String,
    /// Take the client's address from `CF-Connecting-IP`; otherwise from the
    /// right-most untrusted entry of `X-Forwarded-For`.
    #[serde(default)]
    pub cf_connecting_ip: bool,
}

/// Bounds on connections, heads and bodies.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsDocument {
    /// Bytes of a request's head (request line and header fields).
    #[schemars(range(min = 1024, max = 61_440))]
    pub head_bytes: u32,
    /// Header fields of a request.
    #[schemars(range(min = 8, max = 256))]
    pub head_fields: u32,
    /// Milliseconds for a whole head, from its first byte.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub head_timeout_ms: u64,
    /// Milliseconds for a TLS handshake, from its beginning. The header of the
    /// PROXY protocol before it has those of a head.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub tls_handshake_timeout_ms: u64,
    /// Milliseconds an idle keep-alive connection stays open.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub keepalive_timeout_ms: u64,
    /// Milliseconds for a client that sends nothing of its body, or takes
    /// nothing of its answer.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub body_timeout_ms: u64,
    /// Bytes a second that a client must send of a body, counted from its fifth
    /// second on. 0: no least rate. gRPC, server-sent events and WebSockets have
    /// none either.
    #[schemars(range(max = 1_000_000))]
    pub min_body_rate: u32,
    /// Milliseconds that gRPC calls, server-sent events and WebSockets may be
    /// silent, in place of `body_timeout_ms` and a route's `read_timeout_ms`.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub stream_idle_timeout_ms: u64,
    /// Requests at once on one connection of HTTP/2.
    #[schemars(range(min = 1, max = 10_000))]
    pub http2_max_streams: u32,
    /// Client connections, in all.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,
    /// Client connections from one address (IPv6: from one /64). Trusted
    /// proxies are exempt.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections_per_address: u32,
    /// Bytes of a body that has to be read whole, to be verified or changed.
    #[schemars(range(min = 1, max = 67_108_864))]
    pub max_inspected_body_bytes: u32,
    /// Bytes of all bodies that are held whole at one time; a request beyond
    /// gets 503.
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub max_buffered_bytes: u64,
    /// Requests of unknown callers that one address (IPv6: one /64) may make in
    /// a minute before it gets 429 in the place of 401. A signature that is
    /// refused does not count. Trusted proxies are exempt.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub unauthorized_per_minute: u32,
    /// Milliseconds that running requests have to finish on SIGTERM.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub shutdown_grace_ms: u64,
    /// Milliseconds between `/healthz` turning 503 and the listeners closing.
    #[schemars(range(min = 0, max = 600_000))]
    pub drain_delay_ms: u64,
}

impl Default for LimitsDocument {
    fn default() -> Self {
        Self {
            head_bytes: 16_384,
            head_fields: 100,
            head_timeout_ms: 10_000,
            tls_handshake_timeout_ms: 10_000,
            keepalive_timeout_ms: 60_000,
            body_timeout_ms: 30_000,
            min_body_rate: 100,
            stream_idle_timeout_ms: 300_000,
            http2_max_streams: 100,
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            max_inspected_body_bytes: 1_048_576,
            max_buffered_bytes: 268_435_456,
            unauthorized_per_minute: 120,
            shutdown_grace_ms: 30_000,
            drain_delay_ms: 0,
        }
    }
}

/// State that instances share. Without Redis it is kept in this process.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CountersDocument {
    /// `redis://HOST:PORT/DB` or `redis+unix:///PATH`, without a password.
    pub redis_url: Option<String>,
    /// The environment variable that holds the URL; it may hold a password.
    pub redis_url_from_env: Option<String>,
    /// The file that holds the URL; it may hold a password. Neither readable
    /// by others nor writable by the group.
    pub redis_url_from_file: Option<String>,
    /// Instances that share the limits. While Redis is away each one admits
    /// its share of them.
    #[schemars(range(min = 1, max = 10_000))]
    pub instances: u32,
    /// Nonces and signatures that this process has room for without Redis; when
    /// there is none left, signed requests get 503. Takes 32 to 64 bytes each,
    /// 32 MiB by default, from the first signed request on.
    #[schemars(range(min = 1_000, max = 100_000_000))]
    pub nonce_capacity: u32,
    /// Milliseconds that a request waits for Redis.
    #[schemars(range(min = 1, max = 60_000))]
    pub redis_timeout_ms: u64,
}

impl Default for CountersDocument {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_url_from_env: None,
            redis_url_from_file: None,
            instances: 1,
            nonce_capacity: 1_000_000,
            redis_timeout_ms: 250,
        }
    }
}

/// Connections to upstreams, for all routes.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamDocument {
    /// Idle connections kept for reuse: each worker has an equal share.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pool_size: u32,
    /// Seconds that a resolved address is used at least, whatever its TTL.
    #[schemars(range(min = 1, max = 86_400))]
    pub dns_min_ttl_sec: u64,
    /// Seconds that a resolved address is used at most.
    #[schemars(range(min = 1, max = 86_400))]
    pub dns_max_ttl_sec: u64,
    /// Milliseconds for one look-up.
    #[schemars(range(min = 1, max = 60_000))]
    pub dns_timeout_ms: u64,
}

impl Default for UpstreamDocument {
    fn default() -> Self {
        Self {
            pool_size: 1_024,
            dns_min_ttl_sec: 1,
            dns_max_ttl_sec: 300,
            dns_timeout_ms: 5_000,
        }
    }
}
