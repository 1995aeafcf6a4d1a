//! Waiting for something to become true: a deadline, never a fixed pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine, shorter than patience.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < end,
            "waited {DEADLINE:?} in vain for {what}"
        );
        pause(Duration::from_millis(10));
    }
}

/// Says to other threads that it is over, also when a test fails: they would
/// go on for ever, and be waited for.
pub struct Over<'f>(pub &'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// For a client that is slow on purpose.
pub fn pause(duration: Duration) {
    let end = Instant::now() + duration;
    // A parked thread may wake early.
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
}
