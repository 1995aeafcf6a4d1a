//! The budget of 401s of an address: who fails too often is refused before
//! more work is done. Per instance, as it guards this instance's work. IPv6
//! counts by /64, the least that a site is given (RFC 6177).

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use papaya::HashMap;

use crate::gcra::Gcra;
use crate::limit::{Limit, Rate};
use crate::time::Now;

const CAPACITY: usize = 100_000;

/// Failures that each address may have, as a bucket of a minute's worth.
#[derive(Debug)]
pub struct UnauthorizedBudget {
    /// 0: no budget.
    per_minute: AtomicU32,
    capacity: usize,
    spent: HashMap<Prefix, Gcra>,
    sweeping: Mutex<()>,
}

/// An IPv4 address, or the upper half of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prefix {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(address) => Prefix::V4(address.to_bits()),
            IpAddr::V6(address) => {
                Prefix::V6(u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX))
            }
        }
    }
}

impl UnauthorizedBudget {
    /// `per_minute` 0: no budget at all.
    pub(crate) fn new(per_minute: u32) -> UnauthorizedBudget {
        UnauthorizedBudget::with_capacity(per_minute, CAPACITY)
    }

    fn with_capacity(per_minute: u32, capacity: usize) -> UnauthorizedBudget {
        UnauthorizedBudget {
            per_minute: AtomicU32::new(per_minute),
            capacity,
            spent: HashMap::default(),
            sweeping: Mutex::new(()),
        }
    }

    /// From now on; 0: no budget at all. Whoever has nothing left is a minute
    /// away from a whole budget, whatever it comes to.
    pub fn set_per_minute(&self, per_minute: u32) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    fn rate(&self) -> Option<Rate> {
        let requests = NonZeroU32::new(self.per_minute.load(Ordering::Relaxed))?;
        let limit = Limit {
            requests,
            window: Duration::from_secs(60),
            burst: 0,
        };
        Some(limit.rate())
    }

    /// How long an address has to wait, if it has nothing left. Waits for
    /// nothing, and changes nothing.
    pub fn exhausted(&self, address: IpAddr, now: Now) -> Option<Duration> {
        let spent = self.spent.pin();
        let bucket = spent.get(&Prefix::from(address))?;
        let peeked = bucket.peek(self.rate()?, now);
        peeked.err().map(|empty| empty.retry_after)
    }

    /// Counts one failure.
    pub fn spend(&self, address: IpAddr, now: Now) {
        let Some(rate) = self.rate() else { return };
        let spent = self.spent.pin();
        let bucket = spent.get_or_insert_with(Prefix::from(address), Gcra::default);
        // Nothing left: it is refused already.
        let _ = bucket.take(rate, now);
        if self.spent.len() > self.capacity {
            self.sweep(now);
        }
    }

    /// Addresses that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.spent.len()
    }

    /// Forgets whose budget is whole again, then, down to three quarters, who
    /// has spent least. Failures from many addresses therefore never reset an
    /// address that has spent more.
    fn sweep(&self, now: Now) {
        let _sweeping = match self.sweeping.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let spent = self.spent.pin();
        spent.retain(|_, bucket| bucket.full_at() > now.as_nanos());
        let room = self.capacity - self.capacity / 4;
        if spent.len() <= room {
            return;
        }
        // Among equals chance decides, or one sweep would forget them all.
        let dice = RandomState::new();
        let rank = |prefix: &Prefix, bucket: &Gcra| (bucket.full_at(), dice.hash_one(prefix));
        let mut ranks: Vec<_> = spent
            .iter()
            .map(|(prefix, bucket)| rank(prefix, bucket))
            .collect();
        let excess = ranks.len().saturating_sub(room);
        if excess < ranks.len() {
            let (_, &mut least_kept, _) = ranks.select_nth_unstable(excess);
            spent.retain(|prefix, bucket| rank(prefix, bucket) >= least_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn at(seconds: u64) -> Now {
        Now::from_nanos((1_800_000_000 + seconds) * 1_000_000_000)
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    fn v6(text: &str) -> IpAddr {
        IpAddr::V6(text.parse::<Ipv6Addr>().unwrap())
    }

    fn exhaust(budget: &UnauthorizedBudget, address: IpAddr, now: Now) {
        while budget.exhausted(address, now).is_none() {
            budget.spend(address, now);
        }
    }

    #[test]
    fn refuses_after_as_many_failures_as_configured() {
        let budget = UnauthorizedBudget::new(120);
        for _ in 0..120 {
            assert_eq!(budget.exhausted(v4(1), at(0)), None);
            budget.spend(v4(1), at(0));
        }
        let wait = budget.exhausted(v4(1), at(0));
        assert_eq!(wait, Some(Duration::from_millis(500)));
        assert_eq!(budget.exhausted(v4(2), at(0)), None);
    }

    #[test]
    fn is_whole_again_after_a_minute() {
        let budget = UnauthorizedBudget::new(2);
        exhaust(&budget, v4(1), at(0));
        assert!(budget.exhausted(v4(1), at(29)).is_some());
        assert!(budget.exhausted(v4(1), at(30)).is_none());
        budget.spend(v4(1), at(60));
        assert!(budget.exhausted(v4(1), at(60)).is_none());
    }

    #[test]
    fn counts_ipv6_by_its_upper_half() {
        let budget = UnauthorizedBudget::new(2);
        exhaust(&budget, v6("2001:db8:0:1::1"), at(0));
        assert!(
            budget
                .exhausted(v6("2001:db8:0:1:ffff::2"), at(0))
                .is_some()
        );
        assert!(budget.exhausted(v6("2001:db8:0:2::1"), at(0)).is_none());
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let budget = UnauthorizedBudget::new(2);
        exhaust(&budget, v6("::ffff:192.0.2.1"), at(0));
        let plain = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(budget.exhausted(plain, at(0)).is_some());
        assert!(budget.exhausted(v6("::1"), at(0)).is_none());
    }

    #[test]
    fn zero_is_no_budget() {
        let budget = UnauthorizedBudget::new(0);
        budget.spend(v4(1), at(0));
        assert_eq!(budget.exhausted(v4(1), at(0)), None);
        assert_eq!(budget.len(), 0);
    }

    #[test]
    fn another_rate_holds_at_once() {
        let budget = UnauthorizedBudget::new(2);
        exhaust(&budget, v4(1), at(0));
        budget.set_per_minute(60);
        let wait = |now| budget.exhausted(v4(1), now);
        assert_eq!(wait(at(0)), Some(Duration::from_secs(1)));
        budget.set_per_minute(0);
        assert_eq!(wait(at(0)), None);
    }

    #[test]
    fn many_addresses_cannot_make_it_forget_one_that_is_exhausted() {
        let budget = UnauthorizedBudget::with_capacity(10, 100);
        exhaust(&budget, v4(1), at(0));
        for address in 1_000..3_000 {
            budget.spend(v4(address), at(0));
            assert!(budget.len() <= 101);
        }
        assert!(budget.exhausted(v4(1), at(0)).is_some());
    }

    #[test]
    fn a_sweep_leaves_three_quarters_even_among_equals() {
        let budget = UnauthorizedBudget::with_capacity(10, 100);
        for address in 0..=100 {
            budget.spend(v4(address), at(0));
        }
        assert_eq!(budget.len(), 75);
    }

    #[test]
    fn forgets_first_whose_budget_is_whole_again() {
        let budget = UnauthorizedBudget::with_capacity(10, 100);
        for address in 0..100 {
            budget.spend(v4(address), at(0));
        }
        budget.spend(v4(1_000), at(60));
        assert_eq!(budget.len(), 1);
    }
}
