//! One timer for a whole connection. A timer set anew for every read costs a
//! tenth of a request, so this one is moved only when it fires or when a
//! deadline comes nearer; one that moves away just waits to be looked at.
//!
//! It is one of Pingora's timers, which a thread fires, 10 ms exact. With one
//! of tokio's, every wait for events would have to program the kernel's clock.

use std::pin::Pin;
use std::time::{Duration, Instant};

use pingora_timeout::fast_timeout::fast_sleep;

pub struct Deadline {
    at: Instant,
    fires_at: Instant,
    /// `None` once it has fired.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Deadline {
    pub fn after(wait: Duration) -> Self {
        let at = Instant::now() + wait;
        Self {
            at,
            fires_at: at,
            timer: Some(Box::pin(fast_sleep(wait))),
        }
    }

    pub fn set(&mut self, wait: Duration) {
        self.at = Instant::now() + wait;
        if self.timer.is_none() || self.at < self.fires_at {
            self.rearm(wait);
        }
    }

    /// Ends when the deadline has passed. Cancel-safe.
    pub async fn passed(&mut self) {
        while let Some(timer) = &mut self.timer {
            timer.as_mut().await;
            self.timer = None;
            let left = self.at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.rearm(left);
            }
        }
    }

    fn rearm(&mut self, wait: Duration) {
        self.fires_at = Instant::now() + wait;
        self.timer = Some(Box::pin(fast_sleep(wait)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn never_passes_before_it_was_set_to() {
        let start = Instant::now();
        Deadline::after(TICK).passed().await;
        assert!(start.elapsed() >= TICK);
    }

    #[tokio::test]
    async fn may_be_moved_away() {
        let start = Instant::now();
        let mut deadline = Deadline::after(TICK);
        deadline.set(5 * TICK);
        deadline.passed().await;
        assert!(start.elapsed() >= 5 * TICK);
    }

    #[tokio::test]
    async fn may_be_set_again_when_it_has_passed() {
        let mut deadline = Deadline::after(TICK);
        deadline.passed().await;
        deadline.passed().await;
        let start = Instant::now();
        deadline.set(2 * TICK);
        deadline.passed().await;
        assert!(start.elapsed() >= 2 * TICK);
    }

    #[tokio::test]
    async fn may_be_moved_nearer() {
        let mut deadline = Deadline::after(Duration::from_secs(3600));
        deadline.set(TICK);
        deadline.passed().await;
    }
}
