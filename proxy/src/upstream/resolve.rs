//! Names of upstreams, resolved by us: asynchronously, by TTL, and never by a
//! blocking call on a request (Pingora's `HttpPeer::new` would make one).
//!
//! The last good answer is kept for as long as no newer one comes. A failure is
//! kept for a moment, so that those who waited for one look-up share what it
//! came to. Addresses outlive a snapshot, so a reload resolves nothing again
//! unless it was asked for: then the system's files may have changed.

mod reach;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use thiserror::Error;
use tokio::sync::Mutex as AsyncMutex;

use super::complaints::Complaints;
use reach::Reach;

/// What the system says of names.
pub const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

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
    /// `None` until a name is looked up.
    resolver: Mutex<Option<TokioResolver>>,
    reach: fn(IpAddr) -> Reach,
    names: Mutex<HashMap<(String, u16), Arc<Addresses>>>,
}

/// Where one upstream host is now.
pub struct Addresses {
    host: String,
    port: u16,
    /// An IP address, not a name.
    is_literal: bool,
    answer: ArcSwapOption<Answer>,
    /// Only one look-up of a name is under way at a time. Holds what the last
    /// one failed with, if it failed.
    lookup: AsyncMutex<Option<Failure>>,
    /// A task is at it already.
    renewing: AtomicBool,
    /// What requests to it made us log.
    pub complaints: Complaints,
}

struct Failure {
    error: ResolveError,
    until: Instant,
}

struct Answer {
    /// The same list for as long as it holds the same addresses.
    addresses: Arc<[SocketAddr]>,
    refresh_at: Instant,
}

impl AddressBook {
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            resolver: Mutex::default(),
            reach: reach::from_here,
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

    /// Reads the system's files again.
    pub fn reread_system(&self) {
        let files = SYSTEM_FILES.join(", ");
        match system_resolver() {
            Ok(resolver) => {
                self.ask(resolver);
                tracing::info!(files, "read again; names are resolved anew");
            }
            Err(error) => tracing::warn!(error, files, "not read; names resolve as before"),
        }
    }

    /// By another resolver from here on: what it says of a name is learnt the
    /// next time the name is used.
    fn ask(&self, resolver: TokioResolver) {
        *self.resolver() = Some(resolver);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for addresses in names.values().filter(|addresses| !addresses.is_literal) {
            addresses.keep_for(Duration::ZERO);
        }
    }

    fn resolver(&self) -> MutexGuard<'_, Option<TokioResolver>> {
        self.resolver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of the host, if they are known: the same list for as long
    /// as they stay the same. What is due for renewal is used once more while
    /// a task renews it.
    pub fn known(
        self: &Arc<Self>,
        addresses: &Arc<Addresses>,
        now: Instant,
    ) -> Option<Arc<[SocketAddr]>> {
        let answer = addresses.answer.load();
        let answer = answer.as_ref()?;
        if now >= answer.refresh_at {
            self.renew_in_background(addresses);
        }
        Some(answer.addresses.clone())
    }

    /// Are these still the addresses of the host? As [`Self::known`], with
    /// nothing copied.
    pub fn are_current(
        self: &Arc<Self>,
        addresses: &Arc<Addresses>,
        list: Option<&Arc<[SocketAddr]>>,
        now: Instant,
    ) -> bool {
        match (&*addresses.answer.load(), list) {
            (Some(answer), Some(list)) => {
                if now >= answer.refresh_at {
                    self.renew_in_background(addresses);
                }
                Arc::ptr_eq(&answer.addresses, list)
            }
            (None, None) => {
                self.renew_in_background(addresses);
                true
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// As [`Self::known`], and looks the name up where it is not.
    pub async fn addresses(
        self: &Arc<Self>,
        addresses: &Arc<Addresses>,
        now: Instant,
    ) -> Result<Arc<[SocketAddr]>, ResolveError> {
        if let Some(known) = self.known(addresses, now) {
            return Ok(known);
        }
        // Whoever asks may give up: what is found is kept all the same.
        let (book, asked) = (self.clone(), addresses.clone());
        let renewal = tokio::spawn(async move { book.renew(&asked).await });
        renewal
            .await
            .unwrap_or_else(|_| Err(addresses.failure("the look-up broke off")))?;
        self.known(addresses, now)
            .ok_or_else(|| addresses.failure("no addresses"))
    }

    pub fn renew_in_background(self: &Arc<Self>, addresses: &Arc<Addresses>) {
        if addresses.renewing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (book, addresses) = (self.clone(), addresses.clone());
        tokio::spawn(async move {
            if let Err(error) = book.renew(&addresses).await
                && addresses.complaints.due(Instant::now()).is_some()
            {
                tracing::warn!(%error, "the last good addresses are kept, if there are any");
            }
            addresses.renewing.store(false, Ordering::Relaxed);
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
                addresses.learn(answer);
                Ok(())
            }
            Err(error) => {
                // So that a dead resolver is not asked by every request.
                addresses.keep_for(RETRY_AFTER);
                *last_failure = Some(Failure {
                    error: error.clone(),
                    until: Instant::now() + FAILURE_KEPT,
                });
                Err(error)
            }
        }
    }

    async fn lookup(&self, addresses: &Addresses) -> Result<Answer, ResolveError> {
        let resolver = self.resolver_to_ask();
        let resolver = resolver.map_err(|reason| addresses.failure(&reason))?;
        let query = resolver.lookup_ip(addresses.host.as_str());
        let found = tokio::time::timeout(self.patience.lookup, query)
            .await
            .map_err(|_| addresses.failure("the resolver did not answer in time"))?
            .map_err(|error| addresses.failure(&error.to_string()))?;
        let (reach, ips) = reach::best(found.iter(), self.reach);
        if ips.is_empty() {
            return Err(addresses.failure("no addresses"));
        }
        // Those of the other family may be missing for the moment.
        if reach == Reach::No && addresses.is_reached(self.reach) {
            return Err(addresses.failure("no route to any of its addresses"));
        }
        let ttl = found
            .valid_until()
            .saturating_duration_since(Instant::now())
            .min(self.patience.longest_ttl)
            .max(self.patience.shortest_ttl);
        Ok(Answer {
            addresses: endpoints(ips, addresses.port),
            refresh_at: Instant::now() + ttl,
        })
    }

    fn resolver_to_ask(&self) -> Result<TokioResolver, String> {
        let mut resolver = self.resolver();
        match &*resolver {
            Some(known) => Ok(known.clone()),
            None => Ok(resolver.insert(system_resolver()?).clone()),
        }
    }
}

impl Addresses {
    /// An IP literal is its own answer, for good.
    fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| {
            let never = Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600);
            Arc::new(Answer {
                addresses: endpoints([ip], port),
                refresh_at: never,
            })
        });
        Self {
            host: host.to_owned(),
            port,
            is_literal: literal.is_some(),
            answer: ArcSwapOption::new(literal),
            lookup: AsyncMutex::new(None),
            renewing: AtomicBool::new(false),
            complaints: Complaints::default(),
        }
    }

    /// The last good answer, due for renewal or not.
    pub fn last(&self) -> Option<Arc<[SocketAddr]>> {
        let answer = self.answer.load();
        answer.as_ref().map(|answer| answer.addresses.clone())
    }

    /// Is there a way to any of the last good ones?
    fn is_reached(&self, reach: fn(IpAddr) -> Reach) -> bool {
        let last = self.last();
        let mut last = last.iter().flat_map(|list| list.iter());
        last.any(|address| reach(address.ip()) > Reach::No)
    }

    fn failure(&self, reason: &str) -> ResolveError {
        ResolveError {
            host: self.host.clone(),
            reason: reason.to_owned(),
        }
    }

    /// The list stays the same one where the addresses are the same.
    fn learn(&self, answer: Answer) {
        let addresses = match &*self.answer.load() {
            Some(last) if last.addresses == answer.addresses => last.addresses.clone(),
            Some(_) | None => answer.addresses,
        };
        self.answer.store(Some(Arc::new(Answer {
            addresses,
            refresh_at: answer.refresh_at,
        })));
    }

    /// The last good answer is used for so long before the name is looked up
    /// again.
    fn keep_for(&self, time: Duration) {
        if let Some(answer) = &*self.answer.load() {
            self.answer.store(Some(Arc::new(Answer {
                addresses: answer.addresses.clone(),
                refresh_at: Instant::now() + time,
            })));
        }
    }
}

/// In an order of its own, whatever the server's: that says which are first.
fn endpoints(ips: impl IntoIterator<Item = IpAddr>, port: u16) -> Arc<[SocketAddr]> {
    let mut list: Vec<SocketAddr> = ips
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    list.sort_unstable();
    list.dedup();
    list.into()
}

/// As [`SYSTEM_FILES`] have it.
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
