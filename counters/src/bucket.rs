//! Buckets by name. A name's state outlives the bundle that named it: a reload
//! that changes a limit gets a new [`Bucket`] that counts in the first of its
//! name. Whoever serves requests keeps the bucket and never looks one up.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::gcra::{Empty, Gcra, Token};
use crate::lease::{Lease, Stand};
use crate::limit::{Limit, Quota, Rate};
use crate::time::Now;

/// One limit, ready to be taken from. Of many limits none is in the
/// processor's caches: rate and count lie together, and one line is fetched.
#[derive(Debug)]
#[repr(align(64))]
pub struct Bucket {
    limit: Limit,
    rate: Rate,
    place: Place,
}
const _: () = assert!(size_of::<Bucket>() <= 64);

/// Where a bucket counts.
#[derive(Debug)]
enum Place {
    Here(State),
    /// In the first bucket of the name, which counts in itself.
    First(Arc<Bucket>),
}

/// What all buckets of one name share.
#[derive(Debug)]
struct State {
    gcra: Gcra,
    /// With Redis only.
    lease: Option<Arc<Lease>>,
}

/// Who decides at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Judge {
    /// This instance alone.
    Here,
    /// Redis, through leases.
    Redis,
    /// Redis is away: this instance, for its share.
    Share(NonZeroU32),
}

#[derive(Debug)]
pub(crate) enum Step {
    Took(Receipt, Quota),
    Refused(Empty),
    /// Ask Redis.
    Dry,
}

/// How a token that was taken is given back.
#[derive(Debug)]
pub(crate) enum Receipt {
    Local(Token),
    Leased,
    /// Asked of Redis for this very request, which gives it back itself.
    InHand,
}

impl AsRef<Bucket> for Bucket {
    fn as_ref(&self) -> &Bucket {
        self
    }
}

impl Bucket {
    fn new(limit: Limit, place: Place) -> Bucket {
        Bucket {
            limit,
            rate: limit.rate(),
            place,
        }
    }

    pub fn limit(&self) -> Limit {
        self.limit
    }

    fn state(&self) -> &State {
        match &self.place {
            Place::Here(state) => state,
            Place::First(first) => first.state(),
        }
    }

    fn first(self: &Arc<Self>) -> &Arc<Self> {
        match &self.place {
            Place::Here(_) => self,
            Place::First(first) => first,
        }
    }

    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.state().lease.as_ref()
    }

    pub(crate) fn take(&self, judge: Judge, now: Now) -> Step {
        match judge {
            Judge::Here => self.take_local(self.rate, now),
            Judge::Redis => self.take_leased(now),
            Judge::Share(instances) => match self.take_leased(now) {
                Step::Dry | Step::Refused(_) => self.take_local(self.rate.share(instances), now),
                took @ Step::Took(..) => took,
            },
        }
    }

    /// The refusal that stands, where Redis has refused lately.
    pub(crate) fn standing_refusal(&self, now: Now) -> Option<Empty> {
        match self.lease()?.stand(now) {
            Stand::Refused { retry_after } => Some(self.empty(retry_after)),
            Stand::Dry | Stand::Took { .. } => None,
        }
    }

    pub(crate) fn give_back(&self, receipt: Receipt, now: Now) {
        match (receipt, self.lease()) {
            (Receipt::Local(token), _) => self.state().gcra.give_back(token),
            (Receipt::Leased, Some(lease)) => lease.give_back(self.limit.lease_size(), now),
            (Receipt::Leased, None) | (Receipt::InHand, _) => {}
        }
    }

    pub(crate) fn quota(&self, left: u64) -> Quota {
        self.rate.quota(left)
    }

    fn take_local(&self, rate: Rate, now: Now) -> Step {
        match self.state().gcra.take(rate, now) {
            Ok((token, quota)) => Step::Took(Receipt::Local(token), quota),
            Err(empty) => Step::Refused(empty),
        }
    }

    fn take_leased(&self, now: Now) -> Step {
        match self.lease().map(|lease| lease.take(now)) {
            Some(Stand::Took { left }) => Step::Took(Receipt::Leased, self.quota(left)),
            Some(Stand::Refused { retry_after }) => Step::Refused(self.empty(retry_after)),
            Some(Stand::Dry) | None => Step::Dry,
        }
    }

    fn empty(&self, retry_after: Duration) -> Empty {
        Empty {
            retry_after,
            quota: self.quota(0),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    /// Where buckets live in Redis: how their keys begin.
    key_prefix: Option<String>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<Box<str>, Arc<Bucket>>,
    sweep_at: usize,
}

impl Registry {
    const SWEPT_FROM: usize = 1_024;

    pub(crate) fn new(key_prefix: Option<String>) -> Registry {
        Registry {
            key_prefix,
            entries: Mutex::default(),
        }
    }

    pub(crate) fn bucket(&self, name: &str, limit: Limit) -> Arc<Bucket> {
        let mut entries = self.lock();
        let place = match entries.by_name.get(name) {
            Some(bucket) if bucket.limit == limit => return Arc::clone(bucket),
            Some(bucket) => Place::First(Arc::clone(bucket.first())),
            None => Place::Here(self.state(name)),
        };
        let bucket = Arc::new(Bucket::new(limit, place));
        entries.by_name.insert(name.into(), Arc::clone(&bucket));
        entries.sweep();
        bucket
    }

    fn state(&self, name: &str) -> State {
        let lease = |prefix| Arc::new(Lease::new(format!("{prefix}limit:{name}")));
        State {
            gcra: Gcra::default(),
            lease: self.key_prefix.as_ref().map(lease),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Drops what nobody holds, each time the number has doubled.
    fn sweep(&mut self) {
        if self.by_name.len() < self.sweep_at.max(Registry::SWEPT_FROM) {
            return;
        }
        self.by_name.retain(|_, bucket| {
            Arc::strong_count(bucket) > 1 || Arc::strong_count(bucket.first()) > 1
        });
        self.sweep_at = self.by_name.len().saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::tests::limit;

    const MINUTE: Duration = Duration::from_secs(60);

    fn now() -> Now {
        Now::from_nanos(1_800_000_000_000_000_000)
    }

    fn drain(bucket: &Bucket) -> usize {
        std::iter::repeat_with(|| bucket.take(Judge::Here, now()))
            .take_while(|step| matches!(step, Step::Took(..)))
            .count()
    }

    #[test]
    fn the_same_name_is_the_same_bucket() {
        let registry = Registry::new(None);
        let first = registry.bucket("route/a", limit(5, MINUTE, 0));
        assert_eq!(drain(&first), 5);
        assert_eq!(drain(&registry.bucket("route/a", limit(5, MINUTE, 0))), 0);
        assert_eq!(drain(&registry.bucket("route/b", limit(5, MINUTE, 0))), 5);
    }

    #[test]
    fn a_changed_limit_applies_to_the_state_there_is() {
        let registry = Registry::new(None);
        let old = registry.bucket("route/a", limit(10, MINUTE, 0));
        assert_eq!(drain(&old), 10);
        let with_burst = registry.bucket("route/a", limit(10, MINUTE, 3));
        assert_eq!(drain(&with_burst), 3);
        assert_eq!(drain(&old), 0);
    }

    #[test]
    fn sweeps_what_nobody_holds_and_nothing_else() {
        let registry = Registry::new(None);
        let held = registry.bucket("held", limit(5, MINUTE, 0));
        let old = registry.bucket("changed", limit(5, MINUTE, 0));
        drop(registry.bucket("changed", limit(6, MINUTE, 0)));
        drain(&held);
        drain(&old);
        for each in 0..10_000 {
            drop(registry.bucket(&format!("passing/{each}"), limit(5, MINUTE, 0)));
        }
        assert!(registry.len() < 2_500, "{} left", registry.len());
        assert_eq!(drain(&registry.bucket("held", limit(5, MINUTE, 0))), 0);
        assert_eq!(drain(&registry.bucket("changed", limit(5, MINUTE, 0))), 0);
    }
}
