//! One address as one tenant's environment reaches it: how busy it is, and
//! whether requests have lately failed there. It outlives every snapshot.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use knoxcall_bundle::Ejection;
use tokio::sync::Notify;

/// An ejection lasts so many times its base time at most.
const LONGEST: u32 = 10;

#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    started: Instant,
    in_flight: AtomicU32,
    pending: AtomicU32,
    /// In a row.
    failures: AtomicU32,
    /// Without a success in between.
    ejections: AtomicU32,
    /// Milliseconds after `started`.
    out_until: AtomicU64,
    /// Asked for only while somebody waits.
    lines: Mutex<Vec<Line>>,
}

/// Those that wait with the same number of places in mind: other routes, or
/// the same one before a reload, may see fewer where these see one free.
#[derive(Debug)]
struct Line {
    places: NonZeroU32,
    length: u32,
    freed: Arc<Notify>,
}

impl Endpoint {
    pub fn new(address: SocketAddr, started: Instant) -> Self {
        Self {
            address,
            started,
            in_flight: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            lines: Mutex::default(),
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub fn pending(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Takes a place, if there is one.
    pub fn enter(&self, places: Option<NonZeroU32>) -> bool {
        let Some(places) = places else {
            self.in_flight.fetch_add(1, Relaxed);
            return true;
        };
        let enter = |taken: u32| (taken < places.get()).then_some(taken + 1);
        self.in_flight.fetch_update(SeqCst, SeqCst, enter).is_ok()
    }

    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
        // Whoever waits has said so before it looked for a place.
        if self.pending.load(SeqCst) > 0 {
            // To the first of one line alone the place may be none.
            for line in self.lines().iter() {
                line.freed.notify_one();
            }
        }
    }

    /// Waits for a place with at most so many others. Cancel-safe: who gives
    /// up holds neither a place nor a turn.
    pub async fn enter_later(&self, places: NonZeroU32, most: u32, patience: Duration) -> bool {
        let Some(waiting) = Waiting::begin(self, places, most) else {
            return false;
        };
        let entered = async {
            loop {
                let mut freed = pin!(waiting.freed.notified());
                // In line before it looks: what is freed from here on is told.
                freed.as_mut().enable();
                if self.enter(Some(places)) {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(patience, entered).await.is_ok()
    }

    /// A request has been answered well enough.
    pub fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.ejections.load(Relaxed) != 0 {
            self.ejections.store(0, Relaxed);
        }
    }

    /// A request has failed: is it time to leave this endpoint out?
    pub fn failed(&self, rules: &Ejection) -> bool {
        let in_a_row = self.failures.fetch_add(1, Relaxed) + 1;
        in_a_row >= rules.consecutive_failures.get()
    }

    /// Says whether it was in before.
    pub fn eject(&self, rules: &Ejection, now: Instant) -> bool {
        let before = self.out_until.load(Relaxed);
        if self.millis(now) < before {
            return false;
        }
        let times = self.ejections.load(Relaxed).saturating_add(1).min(LONGEST);
        let until = self.millis(now + rules.base_time * times);
        let ejected = self
            .out_until
            .compare_exchange(before, until, Relaxed, Relaxed)
            .is_ok();
        if ejected {
            self.failures.store(0, Relaxed);
            self.ejections.store(times, Relaxed);
        }
        ejected
    }

    pub fn is_out(&self, now: Instant) -> bool {
        let until = self.out_until.load(Relaxed);
        until != 0 && self.millis(now) < until
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// One that waits for a place.
struct Waiting<'e> {
    endpoint: &'e Endpoint,
    places: NonZeroU32,
    freed: Arc<Notify>,
}

impl<'e> Waiting<'e> {
    fn begin(endpoint: &'e Endpoint, places: NonZeroU32, most: u32) -> Option<Self> {
        let wait = |waiting: u32| (waiting < most).then_some(waiting + 1);
        let began = endpoint.pending.fetch_update(SeqCst, SeqCst, wait);
        began.ok()?;
        Some(Self {
            endpoint,
            places,
            freed: Line::join(&mut endpoint.lines(), places),
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        Line::leave(&mut self.endpoint.lines(), self.places);
        self.endpoint.pending.fetch_sub(1, SeqCst);
    }
}

impl Line {
    fn join(lines: &mut Vec<Self>, places: NonZeroU32) -> Arc<Notify> {
        if let Some(line) = lines.iter_mut().find(|line| line.places == places) {
            line.length += 1;
            return line.freed.clone();
        }
        let freed = Arc::new(Notify::new());
        lines.push(Self {
            places,
            length: 1,
            freed: freed.clone(),
        });
        freed
    }

    fn leave(lines: &mut Vec<Self>, places: NonZeroU32) {
        if let Some(line) = lines.iter_mut().find(|line| line.places == places) {
            line.length -= 1;
        }
        lines.retain(|line| line.length > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: fn() -> Ejection = || Ejection {
        consecutive_failures: NonZeroU32::new(2).unwrap(),
        base_time: Duration::from_secs(10),
        max_percent: 100,
        statuses: Arc::default(),
    };

    fn endpoint() -> Endpoint {
        Endpoint::new("192.0.2.1:80".parse().unwrap(), Instant::now())
    }

    #[test]
    fn failures_count_in_a_row_only() {
        let endpoint = endpoint();
        assert!(!endpoint.failed(&RULES()));
        endpoint.succeeded();
        assert!(!endpoint.failed(&RULES()));
        assert!(endpoint.failed(&RULES()));
    }

    #[test]
    fn each_ejection_without_a_success_lasts_longer() {
        let endpoint = endpoint();
        let mut now = Instant::now();
        for times in [1, 2, 3] {
            assert!(endpoint.eject(&RULES(), now));
            assert!(!endpoint.eject(&RULES(), now), "it is out already");
            now += Duration::from_secs(10 * times) - Duration::from_millis(5);
            assert!(endpoint.is_out(now));
            now += Duration::from_millis(10);
            assert!(!endpoint.is_out(now));
        }
        endpoint.succeeded();
        assert!(endpoint.eject(&RULES(), now));
        assert!(!endpoint.is_out(now + Duration::from_secs(11)));
    }

    #[test]
    fn no_more_enter_than_there_are_places() {
        let endpoint = endpoint();
        let two = NonZeroU32::new(2);
        assert!(endpoint.enter(two) && endpoint.enter(two));
        assert!(!endpoint.enter(two));
        endpoint.leave();
        assert!(endpoint.enter(two));
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place_and_one_too_many_does_not_wait() {
        let endpoint = Arc::new(endpoint());
        let places = NonZeroU32::MIN;
        assert!(endpoint.enter(Some(places)));
        let long = Duration::from_secs(20);
        let waiting = {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.enter_later(places, 1, long).await })
        };
        while endpoint.pending() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!endpoint.enter_later(places, 1, long).await);
        endpoint.leave();
        assert!(waiting.await.unwrap());
        assert_eq!((endpoint.in_flight(), endpoint.pending()), (1, 0));
    }

    #[tokio::test]
    async fn a_place_that_one_may_not_take_goes_to_another_who_may() {
        let endpoint = Arc::new(endpoint());
        let [one, two] = [1, 2].map(|places| NonZeroU32::new(places).unwrap());
        assert!(endpoint.enter(Some(two)) && endpoint.enter(Some(two)));
        let long = Duration::from_secs(20);
        let mut waiting = Vec::new();
        for places in [one, two] {
            let waits = endpoint.clone();
            waiting.push(tokio::spawn(async move {
                waits.enter_later(places, 2, long).await
            }));
            while endpoint.pending() < waiting.len() as u32 {
                tokio::task::yield_now().await;
            }
        }
        endpoint.leave();
        assert!(waiting.pop().unwrap().await.unwrap(), "of two places");
        endpoint.leave();
        endpoint.leave();
        assert!(waiting.pop().unwrap().await.unwrap(), "of one");
        assert!(endpoint.lines().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let endpoint = endpoint();
        assert!(endpoint.enter(Some(NonZeroU32::MIN)));
        let short = Duration::from_millis(1);
        assert!(!endpoint.enter_later(NonZeroU32::MIN, 5, short).await);
        assert_eq!((endpoint.in_flight(), endpoint.pending()), (1, 0));
    }
}
