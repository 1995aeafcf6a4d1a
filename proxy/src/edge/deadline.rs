//! One timer for a whole connection. A timer set anew for every read costs a
//! tenth of a request, so this one is moved only when it fires or when a
//! deadline comes nearer; one that moves away just waits to be looked at.

use std::pin::Pin;

use tokio::time::{Duration, Instant, Sleep};

pub struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub fn after(wait: Duration) -> Self {
        let at = Instant::now() + wait;
        Self {
            at,
            timer: Box::pin(tokio::time::sleep_until(at)),
        }
    }

    pub fn set(&mut self, wait: Duration) {
        self.at = Instant::now() + wait;
        if self.at < self.timer.deadline() {
            self.timer.as_mut().reset(self.at);
        }
    }

    /// Ends when the deadline has passed. Cancel-safe.
    pub async fn passed(&mut self) {
        loop {
            self.timer.as_mut().await;
            if Instant::now() >= self.at {
                return;
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn passes_when_it_was_set_to() {
        let start = Instant::now();
        Deadline::after(SECOND).passed().await;
        assert_eq!(start.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn may_be_moved_away_and_nearer() {
        let start = Instant::now();
        let mut deadline = Deadline::after(SECOND);
        deadline.set(10 * SECOND);
        let early = tokio::time::timeout(5 * SECOND, deadline.passed()).await;
        assert!(early.is_err());
        deadline.set(SECOND);
        deadline.passed().await;
        assert_eq!(start.elapsed(), 6 * SECOND);
    }
}
