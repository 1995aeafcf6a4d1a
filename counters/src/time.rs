//! Time, passed in: every decision here is a function of the `Now` that its
//! caller read, so a test can hold it. Waiting for Redis is the exception.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, from a clock that does not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(u64);

impl Now {
    pub const fn from_nanos(nanos: u64) -> Now {
        Now(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long until `nanos`; zero if that is past.
    pub(crate) const fn until(self, nanos: u64) -> Duration {
        Duration::from_nanos(nanos.saturating_sub(self.0))
    }

    pub(crate) fn after(self, wait: Duration) -> u64 {
        self.0.saturating_add(nanos(wait))
    }
}

/// Reads wall time once and counts on monotonically from there.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    epoch: u64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            started: Instant::now(),
            epoch: nanos(since_epoch()),
        }
    }

    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// For who has asked for the time already.
    pub fn at(&self, instant: Instant) -> Now {
        let elapsed = instant.saturating_duration_since(self.started);
        Now(self.epoch.saturating_add(nanos(elapsed)))
    }
}

pub(crate) fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_starts_at_wall_time_and_does_not_go_back() {
        let before = nanos(since_epoch());
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(first.as_nanos() >= before);
        assert!(second >= first);
    }
}
