//! Names of upstreams, resolved by us: asynchronously, by TTL, and never by a
//! blocking call on a request (Pingora's `HttpPeer::new` would make one).
//!
//! The last good answer is kept for as long as no newer one comes. A failure is
//! kept for a moment, so that those who waited for one look-up share what it
//! came to. Addresses outlive a snapshot, so a reload resolves nothing again.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use http::Extensions;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
use thiserror::Error;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::complaints::Complaints;

/// After a failed look-up, the last good answer is used this long before the
/// next try.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Without a good answer, a name is asked for again so long after it failed.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Error)]
#[error("{host} does not resolve: {reason}")]
pub struct ResolveError {
    pub host: String,
    pub reason: String,
}

/// Bounds on what the resolver says.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// An answer is used for at least this long, however short its TTL is.
    pub shortest_ttl: Duration,
    /// And asked for again after this long, however long its TTL is.
    pub longest_ttl: Duration,
    /// How long one look-up may take before the request is told so.
    pub lookup: Duration,
}

/// Every upstream host by its name and port.
pub struct AddressBook {
    patience: Patience,
    resolver: OnceCell<TokioResolver>,
    names: Mutex<HashMap<(String, u16), Arc<Addresses>>>,
}

/// Where one upstream host is now.
pub struct Addresses {
    host: String,
    port: u16,
    answer: ArcSwapOption<Answer>,
    /// Only one look-up of a name is under way at a time. Holds what the last
    /// one failed with, if it failed.
    lookup: AsyncMutex<Option<Failure>>,
    /// What requests to it made us log.
    pub complaints: Complaints,
}

struct Failure {
    error: ResolveError,
    until: Instant,
}

struct Answer {
    rotation: Arc<RoundRobin>,
    refresh_at: Instant,
}

impl AddressBook {
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            resolver: OnceCell::new(),
            names: Mutex::default(),
        }
    }

    /// The entry for a host, shared by everyone who names it.
    pub fn entry(&self, host: &str, port: u16) -> Arc<Addresses> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .entry((host.to_owned(), port))
            .or_insert_with(|| Arc::new(Addresses::new(host, port)))
            .clone()
    }

    /// Forgets hosts that no snapshot names any more.
    pub fn sweep(&self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, addresses| Arc::strong_count(addresses) > 1);
    }

    /// One address of the host, in turn. Looks the name up where no answer is
    /// at hand; an answer that is due for renewal is used once more while a
    /// task renews it.
    pub async fn pick(
        self: &Arc<Self>,
        addresses: &Arc<Addresses>,
        now: Instant,
    ) -> Result<SocketAddr, ResolveError> {
        if let Some(answer) = &*addresses.answer.load() {
            if now >= answer.refresh_at {
                self.renew_in_background(addresses);
            }
            if let Some(address) = answer.next() {
                return Ok(address);
            }
        }
        self.renew(addresses).await?;
        addresses
            .answer
            .load()
            .as_deref()
            .and_then(Answer::next)
            .ok_or_else(|| addresses.failure("no addresses"))
    }

    fn renew_in_background(self: &Arc<Self>, addresses: &Arc<Addresses>) {
        let (book, addresses) = (self.clone(), addresses.clone());
        tokio::spawn(async move {
            if let Err(error) = book.renew(&addresses).await {
                tracing::warn!(%error, "the last good addresses are kept");
            }
        });
    }

    /// Looks the name up, unless another task has just done so.
    async fn renew(&self, addresses: &Addresses) -> Result<(), ResolveError> {
        let mut last_failure = addresses.lookup.lock().await;
        if let Some(answer) = &*addresses.answer.load()
            && Instant::now() < answer.refresh_at
        {
            return Ok(());
        }
        if let Some(failure) = &*last_failure
            && Instant::now() < failure.until
        {
            return Err(failure.error.clone());
        }
        match self.lookup(addresses).await {
            Ok(answer) => {
                *last_failure = None;
                addresses.answer.store(Some(Arc::new(answer)));
                Ok(())
            }
            Err(error) => {
                addresses.postpone();
                *last_failure = Some(Failure {
                    error: error.clone(),
                    until: Instant::now() + FAILURE_KEPT,
                });
                Err(error)
            }
        }
    }

    async fn lookup(&self, addresses: &Addresses) -> Result<Answer, ResolveError> {
        let resolver = self
            .resolver
            .get_or_try_init(|| async { system_resolver() })
            .await
            .map_err(|reason| addresses.failure(&reason))?;
        let query = resolver.lookup_ip(addresses.host.as_str());
        let found = tokio::time::timeout(self.patience.lookup, query)
            .await
            .map_err(|_| addresses.failure("the resolver did not answer in time"))?
            .map_err(|error| addresses.failure(&error.to_string()))?;
        let ips: Vec<IpAddr> = found.iter().collect();
        if ips.is_empty() {
            return Err(addresses.failure("no addresses"));
        }
        let ttl = found
            .valid_until()
            .saturating_duration_since(Instant::now())
            .min(self.patience.longest_ttl)
            .max(self.patience.shortest_ttl);
        Ok(Answer::new(ips, addresses.port, Instant::now() + ttl))
    }
}

impl Addresses {
    /// An IP literal is its own answer, for good.
    fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| {
            let never = Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600);
            Arc::new(Answer::new(vec![ip], port, never))
        });
        Self {
            host: host.to_owned(),
            port,
            answer: ArcSwapOption::new(literal),
            lookup: AsyncMutex::new(None),
            complaints: Complaints::default(),
        }
    }

    fn failure(&self, reason: &str) -> ResolveError {
        ResolveError {
            host: self.host.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Keeps the last good answer for a while, so that a dead resolver is not
    /// asked by every request.
    fn postpone(&self) {
        if let Some(answer) = &*self.answer.load() {
            self.answer.store(Some(Arc::new(Answer {
                rotation: answer.rotation.clone(),
                refresh_at: Instant::now() + RETRY_AFTER,
            })));
        }
    }
}

impl Answer {
    fn new(ips: Vec<IpAddr>, port: u16, refresh_at: Instant) -> Self {
        let backends: BTreeSet<Backend> = ips
            .into_iter()
            .map(|ip| Backend {
                addr: pingora::protocols::l4::socket::SocketAddr::Inet(SocketAddr::new(ip, port)),
                weight: 1,
                ext: Extensions::new(),
            })
            .collect();
        Self {
            rotation: Arc::new(RoundRobin::build(&backends)),
            refresh_at,
        }
    }

    fn next(&self) -> Option<SocketAddr> {
        self.rotation
            .iter(b"")
            .next()
            .and_then(|backend| backend.addr.as_inet().copied())
    }
}

/// The system's own configuration (`/etc/resolv.conf`, `/etc/hosts`).
fn system_resolver() -> Result<TokioResolver, String> {
    uncached(TokioResolver::builder_tokio().map_err(|error| error.to_string())?)
}

/// Answers are cached by us, so that their TTL is ours to bound.
fn uncached(builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, String> {
    let mut builder = builder;
    builder.options_mut().cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod name_server;
#[cfg(test)]
mod tests;
