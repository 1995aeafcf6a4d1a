//! Replay protection: each nonce is claimed once. The store holds only whole
//! memory: what it cannot hold or may have forgotten is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use papaya::{Compute, HashMap, Operation};

use crate::link::{Away, Link};
use crate::memory;

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Fresh,
    Replayed,
    /// Signed before the store's memory begins, or in its first second, so it
    /// may be a replay.
    BeforeStart,
    /// The store is full or away: nobody can tell.
    Unavailable,
}

/// A digest of the nonce and of whose it is.
pub type NonceKey = [u8; 32];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Nonce<'a> {
    pub key: &'a NonceKey,
    /// All in Unix seconds.
    pub now: u64,
    /// The last second in which it could be replayed.
    pub expires: u64,
    pub signed_at: u64,
}

/// The nonces of a lone instance.
#[derive(Debug)]
pub(crate) struct LocalNonces {
    started: u64,
    capacity: usize,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    expiries: HashMap<NonceKey, u64>,
    /// How many are too many to go on without a sweep.
    sweep_at: AtomicUsize,
    /// The second of the last sweep; one a second will do.
    swept: AtomicU64,
}

impl LocalNonces {
    const SWEPT_FROM: usize = 4_096;

    pub(crate) fn new(capacity: usize, started: u64) -> LocalNonces {
        LocalNonces {
            started,
            capacity,
            held: Arc::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.expiries.len()
    }

    pub(crate) async fn claim(&self, nonce: Nonce<'_>) -> Claim {
        if nonce.signed_at <= self.started {
            return Claim::BeforeStart;
        }
        let full = self.len() >= self.capacity;
        let sweep_at = self.held.sweep_at.load(Ordering::Relaxed);
        if full || self.len() >= sweep_at.max(Self::SWEPT_FROM) {
            self.sweep(nonce.now, full).await;
        }
        if self.len() >= self.capacity && !self.held.expiries.pin().contains_key(nonce.key) {
            return Claim::Unavailable;
        }
        self.held.insert(nonce)
    }

    /// Sweeps off the threads that serve, and waits for it only where there is
    /// no room otherwise.
    async fn sweep(&self, now: u64, wait: bool) {
        if self.held.swept.swap(now, Ordering::Relaxed) == now {
            return;
        }
        let held = Arc::clone(&self.held);
        let sweep = tokio::task::spawn_blocking(move || held.sweep(now));
        if wait && sweep.await.is_err() {
            tracing::error!("the sweep of expired nonces has failed");
        }
    }
}

impl Held {
    fn insert(&self, nonce: Nonce<'_>) -> Claim {
        let expiries = self.expiries.pin();
        let computed = expiries.compute(*nonce.key, |held| match held {
            Some((_, expires)) if *expires >= nonce.now => Operation::Abort(()),
            Some(_) | None => Operation::Insert(nonce.expires),
        });
        match computed {
            Compute::Inserted(..) | Compute::Updated { .. } => Claim::Fresh,
            Compute::Aborted(()) | Compute::Removed(..) => Claim::Replayed,
        }
    }

    /// Drops what has expired. Next when the number has doubled.
    fn sweep(&self, now: u64) {
        self.expiries.pin().retain(|_, expires| *expires >= now);
        let next = self.expiries.len().saturating_mul(2);
        self.sweep_at.store(next, Ordering::Relaxed);
    }
}

/// Claims in Redis, for all instances. It must not evict keys
/// (`maxmemory-policy noeviction`).
pub(crate) async fn claim_shared(link: &Arc<Link>, prefix: &str, nonce: Nonce<'_>) -> Claim {
    let mut key = format!("{prefix}nonce:").into_bytes();
    key.extend_from_slice(nonce.key);
    // One second more than needed; and by duration, not by date: the server's
    // clock may be another.
    let lifetime = nonce.expires.saturating_sub(nonce.now).saturating_add(1);
    let mut pipeline = redis::pipe();
    pipeline.cmd("GET").arg(&link.memory_key);
    pipeline
        .cmd("SET")
        .arg(key)
        .arg(1)
        .arg("NX")
        .arg("PX")
        .arg(lifetime.saturating_mul(1_000));
    let answer: Result<(Option<String>, Option<String>), Away> = link.query(&pipeline).await;
    let (record, set) = match answer {
        Ok(answer) => answer,
        Err(Away) => return Claim::Unavailable,
    };
    if set.is_none() {
        return Claim::Replayed;
    }
    match record.as_deref().and_then(memory::since) {
        Some(since) if nonce.signed_at > since => Claim::Fresh,
        Some(_) => Claim::BeforeStart,
        None => forgotten(link, nonce).await,
    }
}

/// Redis was emptied under a living connection.
async fn forgotten(link: &Arc<Link>, nonce: Nonce<'_>) -> Claim {
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SET")
        .arg(&link.memory_key)
        .arg(memory::record(nonce.now, ""))
        .arg("NX");
    let answer: Result<(Option<String>,), Away> = link.query(&pipeline).await;
    match answer {
        Ok(_) => Claim::BeforeStart,
        Err(Away) => Claim::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    fn nonce(key: &NonceKey, now: u64, expires: u64) -> Nonce<'_> {
        Nonce {
            key,
            now: START + now,
            expires: START + expires,
            signed_at: START,
        }
    }

    #[tokio::test]
    async fn claims_a_nonce_once() {
        let store = LocalNonces::new(10, START - 1);
        assert_eq!(store.claim(nonce(&[1; 32], 0, 300)).await, Claim::Fresh);
        assert_eq!(store.claim(nonce(&[1; 32], 0, 300)).await, Claim::Replayed);
        assert_eq!(store.claim(nonce(&[2; 32], 0, 300)).await, Claim::Fresh);
    }

    #[tokio::test]
    async fn refuses_a_replay_in_the_last_second_it_could_come() {
        let store = LocalNonces::new(10, START - 1);
        store.claim(nonce(&[1; 32], 0, 300)).await;
        assert_eq!(
            store.claim(nonce(&[1; 32], 300, 600)).await,
            Claim::Replayed
        );
        assert_eq!(store.claim(nonce(&[1; 32], 301, 601)).await, Claim::Fresh);
        assert_eq!(
            store.claim(nonce(&[1; 32], 301, 601)).await,
            Claim::Replayed
        );
    }

    #[tokio::test]
    async fn refuses_what_was_signed_before_its_start_or_in_the_same_second() {
        let store = LocalNonces::new(10, START + 5);
        let mut early = nonce(&[1; 32], 6, 300);
        for signed_at in [START, START + 4, START + 5] {
            early.signed_at = signed_at;
            assert_eq!(store.claim(early).await, Claim::BeforeStart);
        }
        early.signed_at = START + 6;
        assert_eq!(store.claim(early).await, Claim::Fresh);
    }

    #[tokio::test]
    async fn a_full_store_refuses_new_nonces_and_still_knows_the_old() {
        let store = LocalNonces::new(2, START - 1);
        store.claim(nonce(&[1; 32], 0, 300)).await;
        store.claim(nonce(&[2; 32], 0, 300)).await;
        assert_eq!(
            store.claim(nonce(&[3; 32], 0, 300)).await,
            Claim::Unavailable
        );
        assert_eq!(store.claim(nonce(&[1; 32], 0, 300)).await, Claim::Replayed);
        assert_eq!(store.len(), 2);
    }

    #[tokio::test]
    async fn a_full_store_makes_room_from_what_has_expired() {
        let store = LocalNonces::new(2, START - 1);
        store.claim(nonce(&[1; 32], 0, 10)).await;
        store.claim(nonce(&[2; 32], 0, 300)).await;
        assert_eq!(store.claim(nonce(&[3; 32], 11, 311)).await, Claim::Fresh);
        assert_eq!(store.claim(nonce(&[2; 32], 11, 311)).await, Claim::Replayed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_claims_at_once_exactly_one_is_fresh() {
        let store = Arc::new(LocalNonces::new(100_000, START - 1));
        for round in 0..200_u8 {
            let claims: Vec<_> = (0..8)
                .map(|_| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move { store.claim(nonce(&[round; 32], 0, 300)).await })
                })
                .collect();
            let mut fresh = 0;
            for claim in claims {
                fresh += usize::from(claim.await.unwrap() == Claim::Fresh);
            }
            assert_eq!(fresh, 1);
        }
    }
}
