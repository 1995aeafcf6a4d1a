//! How a route reaches its upstreams: the targets of a pool, who may serve,
//! and what we show of ourselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the places where a route's requests may go.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetDocument {
    /// As `target_base_url`. All targets of a route have the same scheme and
    /// path.
    pub url: String,
    /// Its share of the requests, beside the other targets'; the addresses of
    /// its name divide it equally. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<u32>,
}

/// Which of a route's endpoints serves a request. An endpoint is an address of
/// a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceName {
    /// In turn, by weight.
    RoundRobin,
    /// The same client, or the same value of `hash_header`, at the same
    /// endpoint for as long as that can serve; few move when endpoints change.
    ConsistentHash,
    /// The less busy, by weight, of two.
    LeastConnections,
}

/// What is spoken to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolName {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in clear with prior knowledge (h2c).
    Http2,
    /// Over TLS what the upstream chooses by ALPN; in clear HTTP/1.1.
    Auto,
}

/// Asks every endpoint again and again whether it can serve.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckDocument {
    #[serde(rename = "type")]
    pub kind: HealthCheckName,
    /// What is asked for by GET, from the target's host: not below the target's
    /// path. Default: `/`. Only with `type: http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Milliseconds from one check of an endpoint to its next, give or take a
    /// tenth. Default: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 3_600_000))]
    pub interval_ms: Option<u64>,
    /// Milliseconds for one check. Default: 2000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60_000))]
    pub timeout_ms: Option<u64>,
    /// So many passed checks in a row bring an endpoint back. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: Option<u32>,
    /// So many failed checks in a row take it out. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: Option<u32>,
    /// The statuses that pass. Default: 200 to 299. Only with `type: http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 200, max = 599)))]
    pub expected_status: Option<Vec<u16>>,
}

/// What a health check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckName {
    /// A request, as the route itself would send it: same TLS, same protocol.
    Http,
    /// A TCP connection, nothing sent.
    Tcp,
}

/// Takes an endpoint out for a while after requests failed there: no
/// connection, no answer in time, a connection that broke, or one of `statuses`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EjectionDocument {
    /// So many failures in a row take it out. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub consecutive_failures: Option<u32>,
    /// Milliseconds that it is out the first time; the second time in a row
    /// twice as long, and so on up to ten times. Default: 30000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub base_time_ms: Option<u64>,
    /// Never more than so many of a hundred endpoints are out by this rule.
    /// Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: Option<u32>,
    /// The answers that count as failures. Default: 502, 503 and 504.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 200, max = 599)))]
    pub statuses: Option<Vec<u16>>,
}

/// The certificate that the gateway shows to upstreams over TLS (mTLS).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamCertificateDocument {
    /// The name of the secret that holds the certificate and its intermediates
    /// (PEM, the certificate first); or `certificate_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The file that holds them; relative to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    /// The name of the secret that holds the private key (PEM, no passphrase).
    pub key: String,
}
