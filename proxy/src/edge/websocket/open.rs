//! How many WebSockets are open, and how they learn that the grace is over: in
//! time to tell their ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cutoff::Cutoff;

#[derive(Default)]
pub struct WebSockets {
    open: AtomicUsize,
    dismissal: Cutoff,
}

/// Counted until it is dropped.
pub struct Open<'s>(&'s WebSockets);

impl WebSockets {
    pub fn enter(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self)
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// For good: each says goodbye and ends.
    pub fn dismiss(&self) {
        self.dismissal.cut();
    }

    /// `None`: dismissed.
    pub async fn unless_dismissed<F: Future>(&self, work: Pin<&mut F>) -> Option<F::Output> {
        self.dismissal.unless_cut(work).await
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
