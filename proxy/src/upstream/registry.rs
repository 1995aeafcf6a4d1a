//! State that outlives a snapshot, by what it is the state of. Kept for as long
//! as anybody holds it, and for a while after: an address that a name server
//! leaves out of one answer comes back with what was known of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Never swept for fewer.
const LEAST_SWEPT: usize = 64;
/// After nobody holds it any more: the longest ejection by default, and some.
const KEPT: Duration = Duration::from_secs(600);
/// With more than so many, nothing is kept that nobody holds.
const MOST: usize = 10_000;

pub struct Registry<K, V> {
    kept: Mutex<Kept<K, V>>,
}

struct Kept<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// With so many, those that nobody needs are forgotten: now and then, so
    /// that many additions cost no more than each one does.
    sweep_at: usize,
}

struct Entry<V> {
    state: Arc<V>,
    /// Since when nobody holds it, as far as a sweep has seen it.
    left_at: Option<Instant>,
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(Kept {
                entries: HashMap::new(),
                sweep_at: LEAST_SWEPT,
            }),
        }
    }
}

impl<K: Eq + Hash, V> Registry<K, V> {
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.entries.get_mut(&key) {
            known.left_at = None;
            return known.state.clone();
        }
        if kept.entries.len() >= kept.sweep_at {
            kept.sweep(Instant::now());
        }
        let state = Arc::new(make());
        let entry = Entry {
            state: state.clone(),
            left_at: None,
        };
        kept.entries.insert(key, entry);
        state
    }

    /// Whatever is held.
    pub fn all(&self) -> Vec<Arc<V>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let held = kept.entries.values().filter(|entry| entry.is_held());
        held.map(|entry| entry.state.clone()).collect()
    }
}

impl<K: Eq + Hash, V> Kept<K, V> {
    fn sweep(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.is_needed(now));
        if self.entries.len() > MOST {
            self.entries.retain(|_, entry| entry.is_held());
        }
        self.sweep_at = LEAST_SWEPT.max(2 * self.entries.len());
    }
}

impl<V> Entry<V> {
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.state) > 1
    }

    fn is_needed(&mut self, now: Instant) -> bool {
        if self.is_held() {
            self.left_at = None;
            return true;
        }
        let left_at = *self.left_at.get_or_insert(now);
        now.saturating_duration_since(left_at) < KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(registry: &Registry<usize, usize>, after: Duration) -> usize {
        let mut kept = registry.kept.lock().unwrap();
        kept.sweep(Instant::now() + after);
        kept.entries.len()
    }

    #[test]
    fn what_comes_back_soon_is_known_still() {
        let registry = Registry::default();
        drop(registry.get("a", || 1));
        assert_eq!(*registry.get("a", || 2), 1);
    }

    #[test]
    fn what_nobody_holds_is_forgotten_after_a_while() {
        let registry = Registry::default();
        let held = registry.get(0, || 0);
        for key in 1..50 {
            registry.get(key, || key);
        }
        assert_eq!(registry.all().len(), 1);
        assert_eq!(sweep(&registry, Duration::ZERO), 50);
        registry.get(7, || 0);
        assert_eq!(sweep(&registry, KEPT), 2, "the one held, the one asked for");
        assert!(Arc::ptr_eq(&held, &registry.get(0, || 1)));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let registry = Registry::default();
        let held = registry.get(0, || 0);
        for key in 1..10 * MOST {
            registry.get(key, || key);
        }
        assert!(registry.kept.lock().unwrap().entries.len() <= 2 * MOST);
        assert!(Arc::ptr_eq(&held, &registry.get(0, || 1)));
    }
}
