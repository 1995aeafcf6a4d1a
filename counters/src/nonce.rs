//! Replay protection: each nonce is claimed once. The store holds only whole
//! memory: what it cannot hold or may have forgotten is refused.

mod local;
mod shared;
mod table;
mod tally;

use std::sync::Arc;

pub(crate) use self::local::LocalNonces;
pub(crate) use self::shared::SharedNonces;

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
pub(crate) struct Nonce {
    pub key: NonceKey,
    /// All in Unix seconds.
    pub now: u64,
    /// The last second in which it could be replayed.
    pub expires: u64,
    pub signed_at: u64,
}

impl Nonce {
    /// In seconds: one more than needed. By duration, not by date: a server's
    /// clock may be another.
    fn lifetime(&self) -> u64 {
        self.expires.saturating_sub(self.now).saturating_add(1)
    }
}

/// Where nonces are remembered.
pub(crate) enum Nonces {
    Here(LocalNonces),
    Shared(Arc<SharedNonces>),
}

impl Nonces {
    pub(crate) async fn claim(&self, nonce: Nonce) -> Claim {
        match self {
            Nonces::Here(nonces) => nonces.claim(nonce),
            Nonces::Shared(nonces) => nonces.claim(nonce).await,
        }
    }

    /// How many are live in process, about.
    pub(crate) fn len(&self, now: u64) -> usize {
        match self {
            Nonces::Here(nonces) => nonces.len(now),
            Nonces::Shared(_) => 0,
        }
    }
}
