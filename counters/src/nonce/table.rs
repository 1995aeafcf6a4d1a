//! Which nonces have been claimed: a fixed table of fingerprints, without locks.
//!
//! A key has one set of [`WAYS`] slots. A slot is never moved and never empty
//! again; one that has expired is taken for the next nonce of its set. So what
//! lies behind the first empty slot of a set was never used, and there is
//! nothing to sweep or to grow.
//!
//! A fingerprint stands for its key. Another key of the same set with the same
//! [`FINGERPRINT_BITS`] is refused as if it were a replay; a replay is never
//! taken for fresh. A fresh nonce meets n live ones in its set and is refused
//! with a probability of n / 2^36: 16 / 2^36, one in 4.3 billion, where the
//! table holds its capacity.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use zerocopy::FromZeros;

use super::{Claim, NonceKey};

/// Eight lines of memory. With a quarter of all slots in use, the chance that
/// any set of a hundred million nonces is full is below one in a billion.
const WAYS: usize = 64;
const SLOTS_PER_NONCE: usize = 4;
/// Keys spread over no more sets than the other bits of their first eight bytes
/// tell apart.
const MOST_SETS: usize = 1 << SECOND_BITS;

const FINGERPRINT_BITS: u32 = 36;
/// Eight and a half years; what expires later is refused.
const SECOND_BITS: u32 = u64::BITS - FINGERPRINT_BITS;
const LAST_SECOND: u64 = (1 << SECOND_BITS) - 1;

const EMPTY: u64 = 0;

pub(super) struct Table {
    slots: Box<[AtomicU64]>,
    /// A power of two, less one.
    set_mask: usize,
    /// The latest expiry that has been written over.
    forgotten: AtomicU64,
}

/// What a slot holds: a fingerprint that is not zero, and the last second in
/// which it is live.
#[derive(Clone, Copy)]
struct Entry(u64);

enum Found<'t> {
    Live,
    /// The first slot that may be taken, and what was in it.
    Free(&'t AtomicU64, u64),
    Full,
}

impl Table {
    /// `capacity`: what it holds for certain. More are taken until their set is
    /// full. Pages are not touched before they are used.
    pub(super) fn new(capacity: usize) -> Option<Table> {
        let slots = capacity.saturating_mul(SLOTS_PER_NONCE);
        let sets = slots.div_ceil(WAYS).clamp(1, MOST_SETS).next_power_of_two();
        Some(Table {
            slots: <[AtomicU64]>::new_box_zeroed_with_elems(sets.checked_mul(WAYS)?).ok()?,
            set_mask: sets - 1,
            forgotten: AtomicU64::new(0),
        })
    }

    /// Times count in seconds from the same moment. `now` may lag behind other
    /// claims; `expires` is not before it.
    ///
    /// Of two claims A and B of one key only one is fresh while the other is
    /// live. All operations are `SeqCst`, so they have one order; let A write
    /// before B. B looks for another copy after it has written, and gets as far
    /// as A's slot: all slots before it were in use when A took it, and stay so.
    /// There it finds A's entry, live (B is refused) or expired; or the slot has
    /// been taken by a third claim, to which A had expired. That one recorded
    /// A's expiry in `forgotten` before, so that B is refused unless it expires
    /// later, and then it was signed anew.
    ///
    /// If both look when both have written, both are refused. That takes an
    /// entry that is live to one of them and expired to the other.
    pub(super) fn claim(&self, key: &NonceKey, now: u64, expires: u64) -> Claim {
        if expires > LAST_SECOND {
            return Claim::Unavailable;
        }
        let entry = Entry::new(key, expires);
        let set = self.set(key);
        let taken = loop {
            match find(set, entry, now) {
                Found::Live => return Claim::Replayed,
                Found::Full => return Claim::Unavailable,
                Found::Free(slot, seen) => {
                    self.forget(Entry(seen));
                    let lost = slot.compare_exchange(seen, entry.0, SeqCst, SeqCst);
                    if lost.is_ok() {
                        break slot;
                    }
                }
            }
        };
        if has_other(set, taken, entry, now) {
            return Claim::Replayed;
        }
        if expires <= self.forgotten.load(SeqCst) {
            return Claim::BeforeStart;
        }
        Claim::Fresh
    }

    fn set(&self, key: &NonceKey) -> &[AtomicU64] {
        let bits = usize::try_from(first_bits(key) & LAST_SECOND).unwrap_or_default();
        let first = (bits & self.set_mask) * WAYS;
        self.slots.get(first..first + WAYS).unwrap_or_default()
    }

    /// Writes about once a second: what expires in a second is written over in
    /// any order.
    fn forget(&self, entry: Entry) {
        let expired = entry.expires();
        if self.forgotten.load(SeqCst) < expired {
            self.forgotten.fetch_max(expired, SeqCst);
        }
    }
}

fn find(set: &[AtomicU64], entry: Entry, now: u64) -> Found<'_> {
    let mut expired = None;
    for slot in set {
        let seen = slot.load(SeqCst);
        let held = Entry(seen);
        if seen == EMPTY {
            expired = expired.or(Some((slot, seen)));
            break;
        } else if held.expires() < now {
            expired = expired.or(Some((slot, seen)));
        } else if held.is_of_same_key(entry) {
            return Found::Live;
        }
    }
    expired.map_or(Found::Full, |(slot, seen)| Found::Free(slot, seen))
}

fn has_other(set: &[AtomicU64], own: &AtomicU64, entry: Entry, now: u64) -> bool {
    set.iter()
        .map(|slot| (slot, slot.load(SeqCst)))
        .take_while(|(_, seen)| *seen != EMPTY)
        .filter(|(slot, _)| !ptr::eq(*slot, own))
        .map(|(_, seen)| Entry(seen))
        .any(|held| held.is_of_same_key(entry) && held.expires() >= now)
}

/// Keys are digests: any of their bits will do.
fn first_bits(key: &NonceKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Entry {
    fn new(key: &NonceKey, expires: u64) -> Entry {
        let fingerprint = (first_bits(key) >> SECOND_BITS).max(1);
        Entry(fingerprint << SECOND_BITS | expires)
    }

    fn expires(self) -> u64 {
        self.0 & LAST_SECOND
    }

    fn is_of_same_key(self, other: Entry) -> bool {
        self.0 >> SECOND_BITS == other.0 >> SECOND_BITS
    }
}

#[cfg(test)]
pub(super) mod tests;
