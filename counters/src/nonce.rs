//! Replay protection: each nonce is claimed once. The store holds only whole
//! memory: what it cannot hold or may have forgotten is refused.

mod local;
mod table;
mod tally;

use std::sync::Arc;

pub(crate) use self::local::LocalNonces;
use crate::link::{Away, Link};
use crate::memory;

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Fresh,
    Replayed,
    /// Signed before the store's memory begins, or in its first second, or so
    /// long ago that it may have been forgotten: it may be a replay.
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
