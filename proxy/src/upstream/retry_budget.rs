//! How many further tries a pool's requests may cause: a share of all requests,
//! and a few a second whatever the share. Without it, an upstream that begins
//! to fail gets three times the load that it failed under. Atomics alone.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Allowed in each second, if nothing has been saved.
const ALWAYS: u64 = 3;
/// A try, in thousandths.
const TRY: i64 = 1_000;
/// Most that calm times may save, in tries.
const MOST_SAVED: i64 = 500;

#[derive(Debug)]
pub struct RetryBudget {
    started: Instant,
    /// In thousandths of a try.
    saved: AtomicI64,
    /// The second, and below it how many of its own tries are used.
    this_second: AtomicU64,
}

/// Bits of the count in `this_second`.
const COUNT: u64 = 8;

impl RetryBudget {
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            saved: AtomicI64::new(0),
            this_second: AtomicU64::new(0),
        }
    }

    /// A request has come.
    pub fn save(&self, percent: u32) {
        if self.saved.load(Relaxed) < MOST_SAVED * TRY {
            let share = i64::from(percent) * TRY / 100;
            self.saved.fetch_add(share, Relaxed);
        }
    }

    /// May it be tried once more?
    pub fn spend(&self, now: Instant) -> bool {
        self.spend_of_this_second(now) || self.spend_of_saved()
    }

    fn spend_of_this_second(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.started);
        // From one on: zero is a second that no request is in.
        let second = (elapsed + Duration::from_secs(1)).as_secs();
        let spend = |state: u64| {
            let used = match state >> COUNT >= second {
                true => state & ((1 << COUNT) - 1),
                false => 0,
            };
            let at = (state >> COUNT).max(second);
            (used < ALWAYS).then_some(at << COUNT | (used + 1))
        };
        self.this_second
            .fetch_update(Relaxed, Relaxed, spend)
            .is_ok()
    }

    fn spend_of_saved(&self) -> bool {
        let spend = |saved: i64| (saved >= TRY).then_some(saved - TRY);
        self.saved.fetch_update(Relaxed, Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_few_tries_a_second_are_always_allowed() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        for second in [0, 1, 7] {
            let now = start + Duration::from_secs(second);
            assert_eq!(spent(&budget, now), 3);
            assert_eq!(spent(&budget, now + Duration::from_millis(999)), 0);
        }
    }

    #[test]
    fn a_share_of_all_requests_is_allowed_beside() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        (0..100).for_each(|_| budget.save(20));
        assert_eq!(spent(&budget, start), 3 + 20);
        (0..100).for_each(|_| budget.save(0));
        assert_eq!(spent(&budget, start), 0);
    }

    #[test]
    fn calm_times_save_only_so_much() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        (0..100_000).for_each(|_| budget.save(100));
        assert_eq!(spent(&budget, start), 3 + 500);
    }
}
