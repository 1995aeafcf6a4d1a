//! How fast a body must come, so that a thousand clients that drip cannot keep
//! connections from those that do not.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A body that is over by then may have come as slowly as it likes.
const GRACE: Duration = Duration::from_secs(5);

pub struct Pace {
    began: Instant,
    bytes: u64,
    /// Bytes a second; `None`: however slow.
    least: Option<NonZeroU32>,
}

impl Pace {
    pub fn new(least: Option<NonZeroU32>) -> Self {
        Self {
            began: Instant::now(),
            bytes: 0,
            least,
        }
    }

    /// So many bytes have come: do they come too slowly?
    pub fn is_too_slow(&mut self, more: usize) -> bool {
        self.bytes += more as u64;
        let Some(least) = self.least else {
            return false;
        };
        is_below(self.bytes, self.began.elapsed(), least)
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
    fn without_a_least_rate_nothing_is_too_slow() {
        assert!(!Pace::new(None).is_too_slow(0));
    }
}
