//! What a request can cause to be logged, told at most once a second: whoever
//! sends requests must not decide how fast the log grows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Of one upstream.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told_at: Option<Instant>,
    untold: u64,
}

impl Complaints {
    /// How many there are to tell, this one included; `None`: not yet.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        let since = state.told_at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < TOLD_EVERY) {
            return None;
        }
        state.told_at = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_first_at_once_and_the_others_with_their_count() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(complaints.due(start), Some(1));
        assert_eq!(complaints.due(after(1)), None);
        assert_eq!(complaints.due(after(999)), None);
        assert_eq!(complaints.due(after(1000)), Some(3));
        assert_eq!(complaints.due(after(1500)), None);
        assert_eq!(complaints.due(after(9000)), Some(2));
    }
}
