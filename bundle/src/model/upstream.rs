//! How upstreams are reached: trust, identity, protocol, time-outs, and how
//! requests are spread over the endpoints of a pool.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::Target;
use crate::ids::HostName;
use crate::secret::SecretValue;

/// How the upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Certificates in PEM trusted beside the system's roots.
    pub custom_ca: Option<Arc<str>>,
    /// The name in SNI and in verification, where it is not the target's host.
    pub server_name: Option<HostName>,
    /// Shown over TLS to whoever asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// Link-local targets and our own listeners are refused without it.
    pub allow_reserved_target: bool,
    pub protocol: UpstreamProtocol,
    pub timeouts: Timeouts,
    pub pool: Pool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    /// In clear: with prior knowledge (h2c).
    Http2,
    /// By ALPN; in clear HTTP/1.1.
    Auto,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificate {
    /// A secret that it is made of has no value here: requests over TLS are
    /// refused.
    Unavailable,
    Held(Arc<KeyPair>),
}

/// A certificate chain and its key, in PEM; parsed once, and matching.
pub struct KeyPair {
    pub chain: Arc<str>,
    pub key: SecretValue,
    /// SHA-256 of both: what tells two pairs apart.
    pub digest: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// TCP, then TLS: each.
    pub connect: Duration,
    /// From the request's end to the answer's first byte.
    pub first_byte: Duration,
    /// Between any two reads of the answer.
    pub read: Duration,
    /// Between any two writes of the request.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// From the request's head to the answer's end, all tries together.
    pub total: Option<Duration>,
}

/// How requests are spread over the endpoints: the addresses of all targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Empty: the service's target alone. Else all of them, that one first;
    /// scheme and path are the same.
    pub targets: Arc<[WeightedTarget]>,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    pub ejection: Option<Ejection>,
    /// Requests at once to one endpoint.
    pub max_connections: Option<NonZeroU32>,
    /// Requests that wait for a place at one endpoint.
    pub max_pending: u32,
    /// Tries after the first, of a hundred requests.
    pub retry_budget_percent: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightedTarget {
    pub target: Target,
    pub weight: NonZeroU32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    #[default]
    RoundRobin,
    ConsistentHash(HashKey),
    LeastConnections,
}

/// What a request is assigned by. Without the header: the client's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashKey {
    ClientAddress,
    Header(HeaderName),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    pub probe: HealthProbe,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: NonZeroU32,
    pub unhealthy_after: NonZeroU32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HealthProbe {
    Tcp,
    Http {
        path: Arc<str>,
        /// Empty: 200 to 299.
        expected: Arc<[u16]>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ejection {
    pub consecutive_failures: NonZeroU32,
    pub base_time: Duration,
    pub max_percent: u32,
    pub statuses: Arc<[u16]>,
}

// === impl Pool ===

/// One target; nothing counted that need not be.
impl Default for Pool {
    fn default() -> Self {
        Self {
            targets: Arc::default(),
            balance: Balance::default(),
            health_check: None,
            ejection: None,
            max_connections: None,
            max_pending: 0,
            retry_budget_percent: 20,
        }
    }
}

// === impl KeyPair ===

impl KeyPair {
    pub fn new(chain: Arc<str>, key: SecretValue) -> Self {
        let mut digest = boring::sha::Sha256::new();
        // The length first, so that no other cut makes the same text.
        digest.update(&(chain.len() as u64).to_be_bytes());
        digest.update(chain.as_bytes());
        digest.update(key.expose().as_bytes());
        Self {
            digest: digest.finish(),
            chain,
            key,
        }
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for KeyPair {}

impl Hash for KeyPair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair([redacted])")
    }
}
