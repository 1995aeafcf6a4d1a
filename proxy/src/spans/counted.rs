//! The exporter's books: how many spans wait, and what has become of the
//! others. The processor's own queue drops in silence, so that it is never
//! full is seen to here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

#[derive(Debug)]
pub struct Counts {
    most: usize,
    /// On their way: queued, or being exported.
    waiting: AtomicUsize,
    exported: AtomicU64,
    /// The queue was full.
    dropped: AtomicU64,
    /// The collector did not take them.
    failed: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanStats {
    pub exported: u64,
    pub dropped: u64,
    pub failed: u64,
}

/// An exporter that keeps count.
#[derive(Debug)]
pub struct Counted<E> {
    exporter: E,
    counts: Arc<Counts>,
}

impl Counts {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            waiting: AtomicUsize::new(0),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// False: there is no room for another.
    pub fn enter(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.most;
        if !has_room {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn leave(&self, count: usize, was_taken: bool) {
        let become_of = match was_taken {
            true => &self.exported,
            false => &self.failed,
        };
        become_of.fetch_add(count as u64, Ordering::Relaxed);
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    pub fn stats(&self) -> SpanStats {
        SpanStats {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl<E> Counted<E> {
    pub fn new(exporter: E, counts: Arc<Counts>) -> Self {
        Self { exporter, counts }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.counts.leave(count, result.is_ok());
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_takes_none() {
        let counts = Counts::new(2);
        let entered = [counts.enter(), counts.enter(), counts.enter()];
        assert_eq!(entered, [true, true, false]);
        counts.leave(1, true);
        assert!(counts.enter());
        counts.leave(2, false);
        let expected = SpanStats {
            exported: 1,
            dropped: 1,
            failed: 2,
        };
        assert_eq!(counts.stats(), expected);
        assert!(counts.enter() && counts.enter() && !counts.enter());
    }
}
