//! The nonces of a lone instance. Nothing is allocated before the first claim,
//! and nothing of it is ever moved or swept: [`Table`].

use std::sync::OnceLock;

use super::table::Table;
use super::tally::Tally;
use super::{Claim, Nonce};

/// In seconds. How far the clock may be set back after the first claim.
const MARGIN: u64 = 86_400;

pub(crate) struct LocalNonces {
    started: u64,
    capacity: usize,
    /// `None`: there was no memory for it.
    memory: OnceLock<Option<Memory>>,
}

struct Memory {
    /// What its seconds count from. By the clock of the first claim: that of
    /// the start may have been years off, as clients have not confirmed it.
    since: u64,
    table: Table,
    tally: Tally,
}

impl LocalNonces {
    pub(crate) fn new(capacity: usize, started: u64) -> LocalNonces {
        LocalNonces {
            started,
            capacity,
            memory: OnceLock::new(),
        }
    }

    /// How many are live, about.
    pub(crate) fn len(&self, now: u64) -> usize {
        let memory = self.memory.get().and_then(Option::as_ref);
        memory.map_or(0, |memory| memory.tally.live(memory.second(now)))
    }

    pub(crate) fn claim(&self, nonce: Nonce) -> Claim {
        if nonce.signed_at <= self.started || nonce.expires < nonce.now {
            return Claim::BeforeStart;
        }
        match self.memory(nonce.now) {
            Some(memory) => memory.claim(nonce),
            None => Claim::Unavailable,
        }
    }

    fn memory(&self, now: u64) -> Option<&Memory> {
        let made = self.memory.get_or_init(|| {
            let memory = Memory::new(self.capacity, now);
            if memory.is_none() {
                let capacity = self.capacity;
                tracing::error!(capacity, "no memory for nonces; signed requests get 503");
            }
            memory
        });
        made.as_ref()
    }
}

impl Memory {
    fn new(capacity: usize, now: u64) -> Option<Memory> {
        Some(Memory {
            since: now.saturating_sub(MARGIN),
            table: Table::new(capacity)?,
            tally: Tally::new()?,
        })
    }

    fn second(&self, unix: u64) -> u64 {
        unix.saturating_sub(self.since)
    }

    fn claim(&self, nonce: Nonce) -> Claim {
        let (now, expires) = (self.second(nonce.now), self.second(nonce.expires));
        let claim = self.table.claim(&nonce.key, now, expires);
        if claim == Claim::Fresh {
            self.tally.add(expires);
        }
        claim
    }
}

#[cfg(test)]
mod tests;
