//! Tokens that Redis has granted to this instance ahead of the requests that
//! will use them. A lease never holds more than 1 % of its limit and dies a
//! second, at most, after it was last added to. Taking from it is one
//! compare-and-swap. Once half of it is used more is asked for, so that a busy
//! bucket keeps nobody waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::time::Now;

/// A refusal by Redis is believed for so long; then it is asked again, as the
/// limit may have been raised or a token given back.
const REFUSAL_BELIEVED: Duration = Duration::from_secs(1);

/// What an instance knows of a bucket that lives in Redis.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The bucket's, in Redis.
    key: String,
    /// Milliseconds since the epoch of the lease's end, and in the low 16 bits
    /// its tokens.
    word: AtomicU64,
    /// What Redis had left after the last lease.
    left_there: AtomicU64,
    refused_until: AtomicU64,
    free_at: AtomicU64,
    /// With so many tokens left it is time to ask for more; 0: it has been done.
    low_at: AtomicU32,
    /// Tokens to ask for next: grows while leases run out, shrinks while they
    /// expire.
    ambition: AtomicU32,
    /// Requests that want a token and have none.
    waiting: AtomicU32,
    under_way: AtomicBool,
    landed: Notify,
}

/// What Redis has answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub tokens: u64,
    /// In the bucket there.
    pub left_there: u64,
    /// Of the tokens here.
    pub lifetime: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// A token was taken; so many are left, here and there.
    Took {
        left: u64,
    },
    Refused {
        retry_after: Duration,
    },
    /// Only Redis can tell.
    Dry,
}

impl Lease {
    pub(crate) fn new(key: String) -> Lease {
        Lease {
            key,
            word: AtomicU64::new(0),
            left_there: AtomicU64::new(0),
            refused_until: AtomicU64::new(0),
            free_at: AtomicU64::new(0),
            low_at: AtomicU32::new(0),
            ambition: AtomicU32::new(1),
            waiting: AtomicU32::new(0),
            under_way: AtomicBool::new(false),
            landed: Notify::new(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn take(&self, now: Now) -> Stand {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tokens, ends) = unpack(seen);
            if tokens == 0 || ends <= now.as_millis() {
                return self.stand(now);
            }
            match self.swap(seen, seen - 1) {
                Ok(_) => {
                    let left = self.left_there.load(Ordering::Relaxed) + tokens - 1;
                    return Stand::Took { left };
                }
                Err(changed) => seen = changed,
            }
        }
    }

    /// How a bucket without a lease stands.
    pub(crate) fn stand(&self, now: Now) -> Stand {
        if now.as_nanos() < self.refused_until.load(Ordering::Acquire) {
            let free_at = self.free_at.load(Ordering::Relaxed);
            let retry_after = now.until(free_at).max(Duration::from_nanos(1));
            return Stand::Refused { retry_after };
        }
        Stand::Dry
    }

    pub(crate) fn holds_token(&self, now: Now) -> bool {
        let (tokens, ends) = unpack(self.word.load(Ordering::Acquire));
        tokens > 0 && ends > now.as_millis()
    }

    /// Is it time to ask for more, and has nobody done so?
    pub(crate) fn is_low(&self, now: Now) -> bool {
        let low_at = u64::from(self.low_at.load(Ordering::Relaxed));
        let (tokens, ends) = unpack(self.word.load(Ordering::Relaxed));
        low_at > 0 && tokens <= low_at && ends > now.as_millis()
    }

    /// Nobody else need ask, until something has been added.
    pub(crate) fn settle(&self) {
        self.low_at.store(0, Ordering::Relaxed);
    }

    /// A token of a lease that has ended, or that has `most` of them, is lost;
    /// the bucket regains it.
    pub(crate) fn give_back(&self, most: u32, now: Now) {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tokens, ends) = unpack(seen);
            if ends <= now.as_millis() || tokens >= u64::from(most) {
                return;
            }
            match self.swap(seen, seen + 1) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// `most`: what has been given back meanwhile must not make it more.
    pub(crate) fn deposit(&self, grant: Grant, most: u32, now: Now) {
        let lifetime = u64::try_from(grant.lifetime.as_millis()).unwrap_or(1);
        let ends = now.as_millis() + lifetime;
        self.left_there.store(grant.left_there, Ordering::Relaxed);
        self.refused_until.store(0, Ordering::Release);
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tokens, ended) = unpack(seen);
            let kept = if ended > now.as_millis() { tokens } else { 0 };
            let tokens = (kept + grant.tokens).min(most.into());
            match self.swap(seen, pack(tokens, ends.max(ended))) {
                Ok(_) => {
                    let low_at = u32::try_from(tokens / 2).unwrap_or(0);
                    return self.low_at.store(low_at, Ordering::Relaxed);
                }
                Err(changed) => seen = changed,
            }
        }
    }

    pub(crate) fn refuse(&self, retry_after: Duration, now: Now) {
        let retry_after = retry_after.max(Duration::from_millis(1));
        self.free_at
            .store(now.after(retry_after), Ordering::Relaxed);
        let until = now.after(retry_after.min(REFUSAL_BELIEVED));
        self.refused_until.store(until, Ordering::Release);
    }

    /// How many tokens to ask for, for whoever is about to. Twice as many as
    /// last time if those are used in time, fewer by what has expired if some
    /// have; and no more than there is room for.
    pub(crate) fn next_size(&self, most: u32, now: Now) -> u32 {
        let (tokens, ends) = unpack(self.word.load(Ordering::Acquire));
        let last = self.ambition.load(Ordering::Relaxed);
        let left = u32::try_from(tokens).unwrap_or(u32::MAX);
        let is_alive = ends > now.as_millis();
        let next = match (is_alive, left) {
            (true, _) => last.saturating_mul(2),
            (false, 0) => last,
            (false, unused) => last.saturating_sub(unused),
        };
        let next = next.clamp(1, most);
        self.ambition.store(next, Ordering::Relaxed);
        self.settle();
        let room = most.saturating_sub(if is_alive { left } else { 0 });
        next.min(room)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the lease that is under way has landed. Safe to cancel.
    pub(crate) async fn landed(&self, deadline: Instant) {
        let landed = self.landed.notified();
        tokio::pin!(landed);
        landed.as_mut().enable();
        if self.under_way.load(Ordering::Acquire) {
            // Whoever is late finds the deadline passed by itself.
            let _ = timeout_at(deadline, landed).await;
        }
    }

    fn swap(&self, seen: u64, next: u64) -> Result<u64, u64> {
        self.word
            .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
    }
}

const fn unpack(word: u64) -> (u64, u64) {
    (word & 0xffff, word >> 16)
}

fn pack(tokens: u64, ends: u64) -> u64 {
    (ends << 16) | tokens.min(u64::from(u16::MAX))
}

/// The one round trip under way for a bucket. Ends when dropped, also by a
/// cancelled or a panicking task, and lets the others go on.
pub(crate) struct Lead(Arc<Lease>);

impl Lead {
    pub(crate) fn try_take(lease: &Arc<Lease>) -> Option<Lead> {
        let was = lease.under_way.swap(true, Ordering::AcqRel);
        (!was).then(|| Lead(Arc::clone(lease)))
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.0.under_way.store(false, Ordering::Release);
        self.0.landed.notify_waiters();
    }
}

/// Counts a request as waiting for as long as it lives.
pub(crate) struct Waiting<'a>(&'a Lease);

impl<'a> Waiting<'a> {
    pub(crate) fn on(lease: &'a Lease) -> Waiting<'a> {
        lease.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(lease)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: u32 = 100;

    fn at(millis: u64) -> Now {
        Now::from_nanos((1_800_000_000_000 + millis) * 1_000_000)
    }

    fn deposit(lease: &Lease, tokens: u64, left_there: u64, now: Now) {
        let grant = Grant {
            tokens,
            left_there,
            lifetime: Duration::from_secs(1),
        };
        lease.deposit(grant, MOST, now);
    }

    fn took(lease: &Lease, now: Now) -> bool {
        matches!(lease.take(now), Stand::Took { .. })
    }

    #[test]
    fn grants_what_was_leased_and_then_runs_dry() {
        let lease = Lease::new(String::new());
        assert_eq!(lease.take(at(0)), Stand::Dry);
        deposit(&lease, 2, 10, at(0));
        assert_eq!(lease.take(at(0)), Stand::Took { left: 11 });
        assert_eq!(lease.take(at(999)), Stand::Took { left: 10 });
        assert_eq!(lease.take(at(999)), Stand::Dry);
    }

    #[test]
    fn refuses_tokens_of_a_lease_that_has_ended() {
        let lease = Lease::new(String::new());
        deposit(&lease, 2, 10, at(0));
        assert_eq!(lease.take(at(1_000)), Stand::Dry);
        deposit(&lease, 1, 10, at(1_000));
        assert!(matches!(lease.take(at(1_000)), Stand::Took { .. }));
        assert_eq!(lease.take(at(1_000)), Stand::Dry);
    }

    #[test]
    fn a_token_given_back_too_late_is_lost() {
        let lease = Lease::new(String::new());
        deposit(&lease, 1, 0, at(0));
        lease.take(at(0));
        lease.give_back(10, at(1_000));
        assert_eq!(lease.take(at(0)), Stand::Dry);
        lease.give_back(10, at(999));
        assert!(matches!(lease.take(at(999)), Stand::Took { .. }));
    }

    #[test]
    fn a_refusal_is_believed_for_a_second_and_tells_the_whole_wait() {
        let lease = Lease::new(String::new());
        lease.refuse(Duration::from_secs(30), at(0));
        let Stand::Refused { retry_after } = lease.take(at(500)) else {
            panic!("refused for a second");
        };
        assert_eq!(retry_after, Duration::from_millis(29_500));
        assert_eq!(lease.take(at(1_000)), Stand::Dry);
    }

    #[test]
    fn asks_for_more_while_leases_run_out_and_for_less_while_they_expire() {
        let lease = Lease::new(String::new());
        assert_eq!(lease.next_size(100, at(0)), 1);
        deposit(&lease, 1, 0, at(0));
        lease.take(at(0));
        assert_eq!(lease.next_size(100, at(1)), 2);
        deposit(&lease, 2, 0, at(1));
        lease.take(at(1));
        lease.take(at(1));
        assert_eq!(lease.next_size(3, at(2)), 3);
        deposit(&lease, 3, 0, at(2));
        lease.take(at(2));
        assert_eq!(lease.next_size(100, at(5_000)), 1);
    }

    #[test]
    fn is_low_once_at_half_and_asks_for_what_there_is_room_for() {
        let lease = Lease::new(String::new());
        deposit(&lease, 80, 0, at(0));
        let until_low = std::iter::repeat_with(|| lease.take(at(0)))
            .take_while(|_| !lease.is_low(at(0)))
            .count();
        assert_eq!(until_low, 39);
        assert!(!lease.is_low(at(1_000)), "it has ended");
        for size in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(lease.next_size(100, at(0)), size);
            assert!(!lease.is_low(at(0)), "it has been asked");
        }
    }

    #[test]
    fn never_holds_more_than_it_may() {
        let lease = Lease::new(String::new());
        deposit(&lease, 60, 0, at(0));
        deposit(&lease, 60, 0, at(1));
        lease.give_back(100, at(1));
        let held = std::iter::repeat_with(|| lease.take(at(1)))
            .take_while(|stand| matches!(stand, Stand::Took { .. }))
            .count();
        assert_eq!(held, 100);
    }

    #[test]
    fn threads_share_what_was_leased_and_no_more() {
        let lease = Lease::new(String::new());
        let takes = || (0..2_000).filter(|_| took(&lease, at(0))).count() as u64;
        let leased = 50 * u64::from(MOST);
        let admitted: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(takes)).collect();
            for _ in 0..50 {
                deposit(&lease, MOST.into(), 0, at(0));
            }
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert!(admitted <= leased, "{admitted} of {leased}");
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Take,
        /// By a request that another limit has refused.
        GiveBack,
        Deposit(u64),
        Refuse,
        Order,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Take),
            2 => Just(Event::GiveBack),
            2 => (1..=u64::from(MOST)).prop_map(Event::Deposit),
            1 => Just(Event::Refuse),
            1 => Just(Event::Order),
        ]
    }

    proptest! {
        /// Each request has read a clock of its own: a late one may come before
        /// an early one.
        #[test]
        fn admits_no_more_than_was_leased_whatever_the_order(
            events in prop::collection::vec((0_u64..3_000, event(), 1_usize..40), 0..200),
        ) {
            let lease = Lease::new(String::new());
            let (mut leased, mut admitted) = (0, 0);
            for (millis, event, times) in events {
                let now = at(millis);
                match event {
                    Event::Take => {
                        let takes = (0..times).filter(|_| took(&lease, now));
                        admitted += takes.count() as u64;
                    }
                    Event::GiveBack if admitted > 0 => {
                        lease.give_back(MOST, now);
                        admitted -= 1;
                    }
                    Event::GiveBack => {}
                    Event::Deposit(tokens) => {
                        deposit(&lease, tokens, 0, now);
                        leased += tokens;
                    }
                    Event::Refuse => lease.refuse(Duration::from_secs(1), now),
                    Event::Order => prop_assert!(lease.next_size(MOST, now) <= MOST),
                }
                let (held, _) = unpack(lease.word.load(Ordering::Acquire));
                prop_assert!(held <= MOST.into(), "{held} are held");
                prop_assert!(admitted + held <= leased, "{admitted} and {held} of {leased}");
            }
        }
    }
}
