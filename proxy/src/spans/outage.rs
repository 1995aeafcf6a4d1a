//! Says once that the collector is away, and once that it is back.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Default)]
pub struct Outage(AtomicBool);

impl Outage {
    pub fn begun(&self, reason: &dyn Display) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(%reason, "the collector takes no spans; they are lost and counted");
        }
    }

    pub fn over(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::info!("the collector takes spans again");
        }
    }
}
