//! State that instances of the gateway share: rate limits, nonces, and the
//! budget of 401s of each address. In process, or in Redis with leases so that
//! the common request makes no round trip.
//!
//! With Redis, all instances together admit no more than a limit's capacity and
//! what it has regained since. Tokens lie leased at an instance for a second at
//! most, so that within a shorter interval each may exceed the rate by its lease:
//! 1 % of the limit. While Redis is away each instance admits its share.
//!
//! This crate knows nothing of bundles, requests or Pingora.

mod bucket;
mod gcra;
mod lease;
mod limit;
mod link;
mod memory;
mod nonce;
mod take;
mod time;
mod unauthorized;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};

pub use crate::bucket::Bucket;
pub use crate::limit::{Limit, Quota};
pub use crate::nonce::{Claim, NonceKey};
pub use crate::take::Taken;
pub use crate::time::{Clock, Now};
pub use crate::unauthorized::UnauthorizedBudget;

use crate::bucket::Registry;
use crate::link::Link;
use crate::nonce::{LocalNonces, Nonce, Nonces, SharedNonces};

/// How long a request waits for Redis, unless told otherwise.
pub const REDIS_PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Config {
    /// `redis://[user:password@]host[:port][/database]` or
    /// `redis+unix:///path`; `None`: everything in process.
    pub redis_url: Option<String>,
    /// How many instances there are, for the share while Redis is away.
    pub instances: NonZeroU32,
    /// Nonces that are remembered for certain without Redis. 32 to 64 bytes
    /// each, from the first claim on, resident as they are used.
    pub nonce_capacity: usize,
    /// Failures a minute that an address may have; 0: any number.
    pub unauthorized_per_minute: u32,
    /// What every key in Redis begins with.
    pub key_prefix: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            redis_url: None,
            instances: NonZeroU32::MIN,
            nonce_capacity: 1_000_000,
            unauthorized_per_minute: 120,
            key_prefix: "knoxcall:".to_owned(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("redis_url", &self.redis_url.as_ref().map(|_| "[redacted]"))
            .field("instances", &self.instances)
            .field("nonce_capacity", &self.nonce_capacity)
            .field("unauthorized_per_minute", &self.unauthorized_per_minute)
            .field("key_prefix", &self.key_prefix)
            .finish()
    }
}

/// The URL itself is never quoted: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "the redis url is not valid; allowed are redis://[user:password@]host[:port][/database] and redis+unix:///path"
    )]
    Url,
    #[error("rediss:// is not supported; reach redis in a private network or through a tls tunnel")]
    Tls,
}

/// All shared state. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Counters(Arc<Inner>);

struct Inner {
    instances: NonZeroU32,
    registry: Registry,
    nonces: Nonces,
    unauthorized: UnauthorizedBudget,
    link: Option<Arc<Link>>,
    /// Requests judged by this instance's share as Redis was away.
    fallbacks: AtomicU64,
    lease_round_trips: AtomicU64,
}

/// For metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub redis_configured: bool,
    /// False also before the first request has made the connection.
    pub redis_up: bool,
    /// Times that Redis went away.
    pub redis_losses_total: u64,
    /// Questions to Redis about limits, each for all limits of a request.
    pub lease_round_trips_total: u64,
    /// Requests judged by this instance's share as Redis was away.
    pub fallbacks_total: u64,
    pub buckets: usize,
    /// Live nonces in process, about.
    pub nonces: usize,
    /// Addresses with failures in the last minute, about.
    pub unauthorized_addresses: usize,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counters").field(&self.status()).finish()
    }
}

impl Counters {
    /// Makes no connection: the first request that needs Redis does, inside its
    /// own runtime.
    pub fn new(config: Config) -> Result<Counters, ConfigError> {
        Counters::with_redis_patience(config, REDIS_PATIENCE)
    }

    /// As [`Counters::new`]; `patience` is how long a request waits for Redis
    /// before it is taken to be away.
    pub fn with_redis_patience(
        config: Config,
        patience: Duration,
    ) -> Result<Counters, ConfigError> {
        let started = time::unix_seconds();
        let memory_key = format!("{}nonces-since", config.key_prefix);
        let link = match config.redis_url.as_deref() {
            Some(url) => Some(Arc::new(Link::new(
                open(url)?,
                patience,
                memory_key,
                started,
            ))),
            None => None,
        };
        Ok(Counters(Arc::new(Inner {
            instances: config.instances,
            nonces: match &link {
                Some(link) => Nonces::Shared(SharedNonces::new(link.clone(), &config.key_prefix)),
                None => Nonces::Here(LocalNonces::new(config.nonce_capacity, started)),
            },
            registry: Registry::new(link.is_some().then_some(config.key_prefix)),
            unauthorized: UnauthorizedBudget::new(config.unauthorized_per_minute),
            link,
            fallbacks: AtomicU64::new(0),
            lease_round_trips: AtomicU64::new(0),
        })))
    }

    /// The bucket of that name, with its state if there is one. For when a
    /// bundle is compiled, not for requests.
    pub fn bucket(&self, name: &str, limit: Limit) -> Arc<Bucket> {
        self.0.registry.bucket(name, limit)
    }

    /// One token from each bucket, or from none. Takes no lock and allocates
    /// nothing unless Redis has to be asked. A request cancelled meanwhile
    /// counts as made.
    pub async fn take<B: AsRef<Bucket> + Sync>(&self, buckets: &[B], now: Now) -> Taken {
        take::take(&self.0, buckets, now).await
    }

    /// Claims a nonce, or a signature, until `expires`. All times are Unix
    /// seconds. The caller has verified the signature and its age before.
    pub async fn claim(
        &self,
        scope_key: &NonceKey,
        now_unix: u64,
        expires: u64,
        signed_at: u64,
    ) -> Claim {
        let nonce = Nonce {
            key: *scope_key,
            now: now_unix,
            expires,
            signed_at,
        };
        self.0.nonces.claim(nonce).await
    }

    pub fn unauthorized(&self) -> &UnauthorizedBudget {
        &self.0.unauthorized
    }

    pub fn status(&self) -> Status {
        let link = self.0.link.as_deref();
        Status {
            redis_configured: link.is_some(),
            redis_up: link.is_some_and(Link::is_up),
            redis_losses_total: link.map_or(0, Link::failures),
            lease_round_trips_total: self.0.lease_round_trips.load(Ordering::Relaxed),
            fallbacks_total: self.0.fallbacks.load(Ordering::Relaxed),
            buckets: self.0.registry.len(),
            nonces: self.0.nonces.len(time::unix_seconds()),
            unauthorized_addresses: self.0.unauthorized.len(),
        }
    }
}

fn open(url: &str) -> Result<redis::Client, ConfigError> {
    if url.starts_with("rediss:") || url.starts_with("valkeys:") {
        return Err(ConfigError::Tls);
    }
    let info = url.into_connection_info().map_err(|_| ConfigError::Url)?;
    match info.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => {}
        _ => return Err(ConfigError::Tls),
    }
    redis::Client::open(info).map_err(|_| ConfigError::Url)
}
