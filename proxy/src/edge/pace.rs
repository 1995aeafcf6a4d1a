//! How fast a body must come, so that a thousand clients that drip cannot keep
//! connections from those that do not.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A body that is over by then may have come as slowly as it likes.
const GRACE: Duration = Duration::from_secs(5);

pub struct Pace {
    began: Instant,
    bytes: u64,
    /// In which others were waited for.
    pardoned: Duration,
    /// Bytes a second; `None`: however slow.
    least: Option<NonZeroU32>,
}

impl Pace {
    pub fn new(least: Option<NonZeroU32>) -> Self {
        Self {
            began: Instant::now(),
            bytes: 0,
            pardoned: Duration::ZERO,
            least,
        }
    }

    pub fn count(&mut self, more: usize) {
        self.bytes += more as u64;
    }

    /// So many bytes have come: do they come too slowly?
    pub fn is_too_slow(&mut self, more: usize) -> bool {
        self.count(more);
        let Some(least) = self.least else {
            return false;
        };
        let elapsed = self.began.elapsed().saturating_sub(self.pardoned);
        is_below(self.bytes, elapsed, least)
    }

    /// So long it was not the client that was waited for.
    pub fn pardon(&mut self, waited: Duration) {
        self.pardoned += waited;
    }
}

fn is_below(bytes: u64, elapsed: Duration, least: NonZeroU32) -> bool {
    let counted = elapsed.saturating_sub(GRACE);
    !counted.is_zero() && bytes < counted.as_secs() * u64::from(least.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_fifth_second_on() {
        let least = NonZeroU32::new(100).unwrap();
        let after = Duration::from_secs;
        assert!(!is_below(0, after(5), least));
        assert!(is_below(99, after(6), least));
        assert!(!is_below(100, after(6), least));
        assert!(is_below(5_000, after(60), least));
    }

    #[test]
    fn an_upstream_that_takes_its_time_does_not_count_against_the_client() {
        let mut pace = Pace::new(NonZeroU32::new(100));
        pace.began = Instant::now() - Duration::from_secs(60);
        assert!(pace.is_too_slow(1));
        pace.pardon(Duration::from_secs(58));
        assert!(!pace.is_too_slow(1));
    }

    #[test]
    fn without_a_least_rate_nothing_is_too_slow() {
        assert!(!Pace::new(None).is_too_slow(0));
    }
}
