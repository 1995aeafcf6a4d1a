//! A token bucket in one word: the generic cell rate algorithm (ITU-T I.371).
//! The word is the time at which the bucket will be full again. Taking is one
//! compare-and-swap; nothing waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limit::{Quota, Rate};
use crate::time::Now;

/// A bucket further from full than it can be, by more than threads can
/// disagree on the time, is left over from a larger limit or another clock.
const IMPLAUSIBLE: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct Gcra {
    full_at: AtomicU64,
}

/// Proof that a token was taken, to give it back by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    full_at: u64,
    interval: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Empty {
    pub retry_after: Duration,
    pub quota: Quota,
}

impl Gcra {
    pub(crate) fn take(&self, rate: Rate, now: Now) -> Result<(Token, Quota), Empty> {
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = match next(seen, rate, now) {
                Ok(next) => next,
                Err(empty) => {
                    self.heal(seen, rate, now);
                    return Err(empty);
                }
            };
            match self.swap(seen, next) {
                Ok(_) => {
                    return Ok((
                        Token {
                            full_at: next,
                            interval: rate.interval,
                        },
                        quota(next, rate, now),
                    ));
                }
                Err(changed) => seen = changed,
            }
        }
    }

    pub(crate) fn peek(&self, rate: Rate, now: Now) -> Result<(), Empty> {
        next(self.full_at.load(Ordering::Relaxed), rate, now).map(drop)
    }

    /// Gives a token back, unless the bucket has been full since: then it has
    /// been regained already. Between two takes without a full bucket the word
    /// moves by whole intervals, which is how we know.
    pub(crate) fn give_back(&self, token: Token) {
        let mut seen = self.full_at.load(Ordering::Relaxed);
        while seen.abs_diff(token.full_at).is_multiple_of(token.interval) {
            match self.swap(seen, seen.saturating_sub(token.interval)) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// When the bucket is full again, in nanoseconds since the epoch.
    pub(crate) fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Relaxed)
    }

    fn heal(&self, seen: u64, rate: Rate, now: Now) {
        let emptiest = now.as_nanos().saturating_add(rate.tolerance);
        if seen > emptiest.saturating_add(IMPLAUSIBLE) {
            // Lost to another thread: that one has seen it too.
            let _ = self.swap(seen, emptiest);
        }
    }

    fn swap(&self, seen: u64, next: u64) -> Result<u64, u64> {
        self.full_at
            .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
    }
}

/// The word after one more token, if there is one.
fn next(full_at: u64, rate: Rate, now: Now) -> Result<u64, Empty> {
    let emptiest = now.as_nanos().saturating_add(rate.tolerance);
    let full_at = full_at.clamp(now.as_nanos(), emptiest);
    let next = full_at.saturating_add(rate.interval);
    if next <= emptiest {
        return Ok(next);
    }
    Err(Empty {
        retry_after: Duration::from_nanos(next - emptiest),
        quota: quota(full_at, rate, now),
    })
}

fn quota(full_at: u64, rate: Rate, now: Now) -> Quota {
    let emptiest = now.as_nanos().saturating_add(rate.tolerance);
    Quota {
        limit: rate.capacity(),
        remaining: emptiest.saturating_sub(full_at) / rate.interval,
        reset_after: now.until(full_at),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::limit::tests::limit;

    const START: u64 = 1_800_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Now {
        Now::from_nanos(START + nanos)
    }

    fn drain(bucket: &Gcra, rate: Rate, now: Now) -> u64 {
        std::iter::from_fn(|| bucket.take(rate, now).ok())
            .take(1_000_000)
            .count() as u64
    }

    #[test]
    fn grants_requests_and_burst_and_then_refuses() {
        let rate = limit(7, Duration::from_secs(1), 3).rate();
        let bucket = Gcra::default();
        assert_eq!(drain(&bucket, rate, at(0)), 10);
        let empty = bucket.take(rate, at(0)).unwrap_err();
        assert_eq!(empty.retry_after, Duration::from_nanos(142_857_143));
        assert_eq!(empty.quota.remaining, 0);
        assert_eq!(empty.quota.limit, 10);
    }

    #[test]
    fn grants_again_exactly_when_it_said() {
        let rate = limit(10, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        drain(&bucket, rate, at(0));
        assert!(bucket.take(rate, at(6 * SECOND - 1)).is_err());
        assert!(bucket.take(rate, at(6 * SECOND)).is_ok());
        assert!(bucket.take(rate, at(6 * SECOND)).is_err());
    }

    #[test]
    fn counts_down_what_remains() {
        let rate = limit(3, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        let left: Vec<u64> = std::iter::from_fn(|| {
            bucket
                .take(rate, at(0))
                .ok()
                .map(|(_, quota)| quota.remaining)
        })
        .collect();
        assert_eq!(left, [2, 1, 0]);
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let rate = limit(2, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        let (token, _) = bucket.take(rate, at(0)).unwrap();
        bucket.take(rate, at(1)).unwrap();
        bucket.give_back(token);
        assert_eq!(drain(&bucket, rate, at(1)), 1);
    }

    #[test]
    fn a_token_regained_meanwhile_is_not_given_back_twice() {
        let rate = limit(2, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        let (token, _) = bucket.take(rate, at(0)).unwrap();
        let later = at(100 * SECOND);
        bucket.take(rate, later).unwrap();
        bucket.give_back(token);
        assert_eq!(drain(&bucket, rate, later), 1);
    }

    #[test]
    fn a_smaller_limit_is_not_held_to_the_debt_of_a_larger_one() {
        let large = limit(10, Duration::from_secs(60), 1_000).rate();
        let small = limit(10, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        drain(&bucket, large, at(0));
        assert!(bucket.take(small, at(0)).is_err());
        assert!(bucket.take(small, at(6 * SECOND)).is_ok());
    }

    #[test]
    fn a_clock_set_back_does_not_lock_anyone_out() {
        let rate = limit(10, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        drain(&bucket, rate, at(3_600 * SECOND));
        assert!(bucket.take(rate, at(0)).is_err());
        assert!(bucket.take(rate, at(6 * SECOND)).is_ok());
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let rate = limit(1_000, Duration::from_secs(60), 0).rate();
        let bucket = Gcra::default();
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| drain(&bucket, rate, at(0))))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 1_000);
    }

    proptest! {
        /// Whatever the arrivals and refunds: in every interval between two
        /// arrivals at most the capacity and what was regained is kept.
        #[test]
        fn never_admits_more_than_capacity_and_regained(
            requests in 1..50_u32, burst in 0..50_u32, window_ms in 1..5_000_u64,
            instances in 1..4_u32,
            arrivals in prop::collection::vec((0..200_000_000_u64, prop::bool::weighted(0.3)), 1..200),
        ) {
            let rate = limit(requests, Duration::from_millis(window_ms), burst).rate()
                .share(NonZeroU32::new(instances).unwrap());
            let bucket = Gcra::default();
            let (mut time, mut kept) = (0, Vec::new());
            for (gap, refunded) in arrivals {
                time += gap;
                match bucket.take(rate, at(time)) {
                    Ok((token, _)) if refunded => bucket.give_back(token),
                    Ok(_) => kept.push(time),
                    Err(_) => {}
                }
            }
            for (first, from) in kept.iter().enumerate() {
                for (last, to) in kept.iter().enumerate().skip(first) {
                    let regained = (to - from) / rate.interval;
                    prop_assert!((last - first + 1) as u64 <= rate.capacity() + regained);
                }
            }
        }

        /// The promise of `Retry-After`: not a nanosecond earlier, and not later.
        #[test]
        fn a_refusal_names_the_first_moment_that_would_do(
            requests in 1..50_u32, burst in 0..50_u32, window_ms in 1..5_000_u64, wait in 0..10_000_000_u64,
        ) {
            let rate = limit(requests, Duration::from_millis(window_ms), burst).rate();
            let bucket = Gcra::default();
            drain(&bucket, rate, at(0));
            if let Err(empty) = bucket.take(rate, at(wait)) {
                let due = wait + empty.retry_after.as_nanos() as u64;
                prop_assert!(bucket.peek(rate, at(due - 1)).is_err());
                prop_assert!(bucket.peek(rate, at(due)).is_ok());
            }
        }
    }
}
