//! What all requests together hold of bodies in memory. Each body is bounded by
//! itself; without a bound on their sum, as many as there are connections could
//! be held at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use knoxcall_filters::Refusal;

#[derive(Debug, Default)]
pub struct Buffered {
    bytes: AtomicUsize,
}

/// One request's part of it, given back when the request is over.
pub struct Share {
    all: Arc<Buffered>,
    bytes: usize,
    /// Of all requests.
    most: usize,
}

impl Buffered {
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Share {
    pub fn new(all: &Arc<Buffered>, most: usize) -> Self {
        Self {
            all: all.clone(),
            bytes: 0,
            most,
        }
    }

    /// Takes what is missing to so many bytes.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let before = self.all.bytes.fetch_add(more, Ordering::Relaxed);
        if before + more > self.most {
            self.all.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(Refusal::Overloaded);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_sum_is_refused_and_costs_nothing() {
        let all = Arc::new(Buffered::default());
        let mut one = Share::new(&all, 100);
        let mut other = Share::new(&all, 100);
        one.grow_to(60).unwrap();
        assert_eq!(other.grow_to(41), Err(Refusal::Overloaded));
        other.grow_to(40).unwrap();
        assert_eq!(all.bytes(), 100);
        drop(one);
        other.grow_to(100).unwrap();
        drop(other);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn what_is_held_already_is_not_taken_twice() {
        let all = Arc::new(Buffered::default());
        let mut share = Share::new(&all, 10);
        share.grow_to(8).unwrap();
        share.grow_to(5).unwrap();
        share.grow_to(9).unwrap();
        assert_eq!(all.bytes(), 9);
    }
}
