//! Whether an endpoint passes its health check, as far as it was asked.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Until it has failed often enough, an endpoint is taken for healthy: nothing
/// waits for the first checks.
#[derive(Debug, Default)]
pub struct Health {
    is_bad: AtomicBool,
    /// Results in a row that speak against what it is taken for.
    against: AtomicU32,
}

impl Health {
    pub fn is_good(&self) -> bool {
        !self.is_bad.load(Relaxed)
    }

    /// Takes the result of a check: says whether the endpoint is now taken for
    /// something else. One task asks, and tells.
    pub fn learn(&self, passed: bool, good_after: NonZeroU32, bad_after: NonZeroU32) -> bool {
        let is_good = self.is_good();
        if passed == is_good {
            self.against.store(0, Relaxed);
            return false;
        }
        let against = self.against.fetch_add(1, Relaxed) + 1;
        let enough = if is_good { bad_after } else { good_after };
        let turns = against >= enough.get();
        if turns {
            self.is_bad.store(is_good, Relaxed);
            self.against.store(0, Relaxed);
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_several_results_in_a_row_to_change_a_mind() {
        let health = Health::default();
        let learn = |passed| {
            let [good_after, bad_after] = [2, 3].map(|times| NonZeroU32::new(times).unwrap());
            health.learn(passed, good_after, bad_after)
        };
        let changes = [
            false, false, true, false, false, false, true, false, true, true,
        ]
        .map(|passed| (learn(passed), health.is_good()));
        let good = (false, true);
        let bad = (false, false);
        assert_eq!(
            changes,
            [
                good,
                good,
                good,
                good,
                good,
                (true, false),
                bad,
                bad,
                bad,
                (true, true)
            ]
        );
    }
}
