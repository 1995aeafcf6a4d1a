//! How many nonces are live, about, for a metric: the claims counted by the
//! second in which they expire, so that nothing has to be taken off again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zerocopy::FromZeros;

/// Three days. A signature is dated a day ahead at most, and remembered for a
/// day after that.
const SECONDS: usize = 1 << 18;
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

pub(super) struct Tally {
    /// Each the second it counts for, and the count.
    cells: Box<[AtomicU64]>,
    latest: AtomicU64,
}

impl Tally {
    /// Pages are not touched before they are used.
    pub(super) fn new() -> Option<Tally> {
        Some(Tally {
            cells: <[AtomicU64]>::new_box_zeroed_with_elems(SECONDS).ok()?,
            latest: AtomicU64::new(0),
        })
    }

    pub(super) fn add(&self, expires: u64) {
        let Some(cell) = self.cell(expires) else {
            return;
        };
        let added = |held: u64| {
            let counts_for = held >> COUNT_BITS;
            if counts_for == expires {
                Some(held + 1)
            } else {
                (counts_for < expires).then_some(expires << COUNT_BITS | 1)
            }
        };
        // An error is a count of a later second: this one is past.
        let _ = cell.fetch_update(Relaxed, Relaxed, added);
        if self.latest.load(Relaxed) < expires {
            self.latest.fetch_max(expires, Relaxed);
        }
    }

    pub(super) fn live(&self, now: u64) -> usize {
        let latest = self.latest.load(Relaxed);
        let seconds = (now..=latest).take(SECONDS);
        let live: u64 = seconds.map(|second| self.of(second)).sum();
        usize::try_from(live).unwrap_or(usize::MAX)
    }

    fn of(&self, second: u64) -> u64 {
        let held = self.cell(second).map_or(0, |cell| cell.load(Relaxed));
        if held >> COUNT_BITS == second {
            held & COUNT_MASK
        } else {
            0
        }
    }

    fn cell(&self, second: u64) -> Option<&AtomicU64> {
        let index = usize::try_from(second).ok()? & (SECONDS - 1);
        self.cells.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_expires_now_or_later() {
        let tally = Tally::new().unwrap();
        for expires in [10, 10, 11, 300] {
            tally.add(expires);
        }
        assert_eq!(tally.live(0), 4);
        assert_eq!(tally.live(10), 4);
        assert_eq!(tally.live(11), 2);
        assert_eq!(tally.live(300), 1);
        assert_eq!(tally.live(301), 0);
    }

    #[test]
    fn a_cell_is_used_again_after_three_days() {
        let round = SECONDS as u64;
        let tally = Tally::new().unwrap();
        tally.add(10);
        tally.add(10 + round);
        assert_eq!(tally.live(10 + round), 1);
        tally.add(10);
        assert_eq!(tally.live(11), 1);
    }
}
