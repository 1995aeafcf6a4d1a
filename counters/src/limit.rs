//! A limit as configured, and what it comes to in nanoseconds. Everything
//! rounds towards fewer requests, never towards more.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::time::nanos;

/// No wait computed here is longer, whatever was configured.
const CENTURY: u64 = 100 * 365 * 86_400 * 1_000_000_000;

/// A lease is counted in 16 bits.
const LARGEST_LEASE: u32 = u16::MAX as u32;

/// A token bucket: `requests + burst` tokens at most, of which `requests` are
/// regained per `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    pub requests: NonZeroU32,
    pub window: Duration,
    pub burst: u32,
}

impl Limit {
    /// Tokens in a full bucket.
    pub fn capacity(&self) -> u64 {
        u64::from(self.requests.get()).saturating_add(u64::from(self.burst))
    }

    pub(crate) fn rate(&self) -> Rate {
        let window = u64::max(nanos(self.window), 1);
        let interval = window.div_ceil(u64::from(self.requests.get())).min(CENTURY);
        Rate::new(interval, self.capacity())
    }

    /// Tokens that one round trip to Redis may bring: 1 % of the limit.
    pub(crate) fn lease_size(&self) -> u32 {
        (self.requests.get() / 100).clamp(1, LARGEST_LEASE)
    }

    /// Is every token asked for one by one? So are limits of which 1 % is no
    /// more than a token, and those of at most 10 a minute.
    pub(crate) fn is_exact(&self) -> bool {
        let per_ten_windows = u128::from(self.requests.get()) * 60_000_000_000;
        self.lease_size() == 1 || per_ten_windows <= 10 * self.window.as_nanos()
    }

    /// How long leased tokens may be used, so that a quiet instance does not
    /// hoard them.
    pub(crate) fn lease_lifetime(&self) -> Duration {
        (self.window / 10).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }
}

/// A limit as GCRA wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds in which one token is regained; never 0.
    pub interval: u64,
    /// Nanoseconds in which an empty bucket fills up.
    pub tolerance: u64,
}

impl Rate {
    fn new(interval: u64, capacity: u64) -> Rate {
        Rate {
            interval,
            tolerance: interval.saturating_mul(capacity).min(CENTURY),
        }
    }

    /// What one of `instances` may do alone: its part of the rate and of the
    /// tokens, and at least one token.
    pub(crate) fn share(self, instances: NonZeroU32) -> Rate {
        let instances = u64::from(instances.get());
        let capacity = (self.capacity() / instances).max(1);
        let interval = self.interval.saturating_mul(instances).min(CENTURY);
        Rate::new(interval, capacity)
    }

    pub(crate) fn capacity(self) -> u64 {
        self.tolerance / self.interval
    }

    /// The state of a bucket with so many tokens left.
    pub(crate) fn quota(self, remaining: u64) -> Quota {
        let limit = self.capacity();
        let remaining = remaining.min(limit);
        let missing = (limit - remaining).saturating_mul(self.interval);
        Quota {
            limit,
            remaining,
            reset_after: Duration::from_nanos(missing.min(self.tolerance)),
        }
    }
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens in a full bucket: requests and burst.
    pub limit: u64,
    pub remaining: u64,
    /// Until the bucket is full again, if nothing more is taken.
    pub reset_after: Duration,
}

impl Quota {
    /// The one with fewer requests left.
    pub(crate) fn tighter(self, other: Option<Quota>) -> Quota {
        match other {
            Some(other) if other.remaining < self.remaining => other,
            Some(_) | None => self,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn limit(requests: u32, window: Duration, burst: u32) -> Limit {
        Limit {
            requests: NonZeroU32::new(requests).unwrap(),
            window,
            burst,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn leases_one_percent_and_at_least_one_token() {
        assert_eq!(limit(1_000, MINUTE, 0).lease_size(), 10);
        assert_eq!(limit(1_099, MINUTE, 5_000).lease_size(), 10);
        assert_eq!(limit(7, MINUTE, 0).lease_size(), 1);
        assert_eq!(limit(u32::MAX, MINUTE, 0).lease_size(), 65_535);
    }

    #[test]
    fn limits_of_ten_a_minute_are_exact_however_they_are_written() {
        assert!(limit(10, MINUTE, 0).is_exact());
        assert!(limit(14_400, Duration::from_secs(86_400), 0).is_exact());
        assert!(!limit(14_401, Duration::from_secs(86_400), 0).is_exact());
        assert!(!limit(1_000, MINUTE, 0).is_exact());
    }

    #[test]
    fn a_lease_lives_a_tenth_of_the_window_and_at_most_a_second() {
        assert_eq!(limit(1_000, MINUTE, 0).lease_lifetime().as_millis(), 1_000);
        let second = limit(1_000, Duration::from_secs(1), 0);
        assert_eq!(second.lease_lifetime().as_millis(), 100);
    }

    #[test]
    fn a_share_has_at_least_one_token() {
        let share = limit(2, MINUTE, 0)
            .rate()
            .share(NonZeroU32::new(5).unwrap());
        assert_eq!(share.capacity(), 1);
        assert_eq!(share.interval, 150_000_000_000);
    }

    #[test]
    fn the_tighter_quota_is_the_one_with_less_left() {
        let rate = limit(10, MINUTE, 0).rate();
        let tight = rate.quota(1);
        assert_eq!(rate.quota(5).tighter(Some(tight)), tight);
        assert_eq!(tight.tighter(Some(rate.quota(5))), tight);
        assert_eq!(tight.tighter(None), tight);
    }

    proptest! {
        #[test]
        fn no_limit_regains_faster_than_configured(
            requests in 1..=u32::MAX, burst: u32, millis in 1..10_000_000_000_u64, instances in 1..100_u32,
        ) {
            let limit = limit(requests, Duration::from_millis(millis), burst);
            let rate = limit.rate();
            prop_assert!(u128::from(rate.interval) * u128::from(requests) >= limit.window.as_nanos());
            prop_assert!(rate.capacity() >= 1);
            prop_assert!(rate.capacity() <= limit.capacity());
            let share = rate.share(NonZeroU32::new(instances).unwrap());
            prop_assert!(share.capacity() == 1 || share.capacity() * u64::from(instances) <= rate.capacity());
        }
    }
}
