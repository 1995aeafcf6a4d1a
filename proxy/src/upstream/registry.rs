//! State that outlives a snapshot, by what it is the state of. Kept for as long
//! as anybody holds it; a new snapshot takes hold before the old one lets go.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Never swept for fewer.
const LEAST_SWEPT: usize = 64;

pub struct Registry<K, V> {
    kept: Mutex<Kept<K, V>>,
}

struct Kept<K, V> {
    entries: HashMap<K, Weak<V>>,
    /// With so many, those that nobody holds are forgotten: now and then, so
    /// that many additions cost no more than each one does.
    sweep_at: usize,
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
        if let Some(known) = kept.entries.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if kept.entries.len() >= kept.sweep_at {
            kept.entries.retain(|_, held| held.strong_count() > 0);
            kept.sweep_at = LEAST_SWEPT.max(2 * kept.entries.len());
        }
        let fresh = Arc::new(make());
        kept.entries.insert(key, Arc::downgrade(&fresh));
        fresh
    }

    /// Whatever is held.
    pub fn all(&self) -> Vec<Arc<V>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_for_as_long_as_it_is_held() {
        let registry = Registry::default();
        let held = registry.get("a", || 1);
        assert!(Arc::ptr_eq(&held, &registry.get("a", || 2)));
        drop(held);
        assert_eq!(*registry.get("a", || 3), 3);
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let registry = Registry::default();
        let held = registry.get(0, || 0);
        for key in 1..10_000 {
            registry.get(key, || key);
        }
        assert!(registry.kept.lock().unwrap().entries.len() <= LEAST_SWEPT);
        assert!(Arc::ptr_eq(&held, &registry.get(0, || 1)));
    }
}
