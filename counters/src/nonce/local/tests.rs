use std::collections::HashMap;

use proptest::prelude::*;

use super::super::NonceKey;
use super::super::table::tests::key;
use super::*;

const START: u64 = 1_800_000_000;

fn store(capacity: usize) -> LocalNonces {
    LocalNonces::new(capacity, START - 1)
}

fn nonce(key: &NonceKey, now: u64, expires: u64) -> Nonce {
    Nonce {
        key: *key,
        now: START + now,
        expires: START + expires,
        signed_at: START,
    }
}

#[test]
fn claims_a_nonce_once() {
    let store = store(10);
    assert_eq!(store.claim(nonce(&[1; 32], 0, 300)), Claim::Fresh);
    assert_eq!(store.claim(nonce(&[1; 32], 0, 300)), Claim::Replayed);
    assert_eq!(store.claim(nonce(&[2; 32], 0, 300)), Claim::Fresh);
}

#[test]
fn refuses_a_replay_in_the_last_second_it_could_come() {
    let store = store(10);
    store.claim(nonce(&[1; 32], 0, 300));
    assert_eq!(store.claim(nonce(&[1; 32], 300, 600)), Claim::Replayed);
    assert_eq!(store.claim(nonce(&[1; 32], 301, 601)), Claim::Fresh);
    assert_eq!(store.claim(nonce(&[1; 32], 301, 601)), Claim::Replayed);
}

#[test]
fn refuses_what_was_signed_before_its_start_or_in_the_same_second() {
    let store = LocalNonces::new(10, START + 5);
    let mut early = nonce(&[1; 32], 6, 300);
    for signed_at in [START, START + 4, START + 5] {
        early.signed_at = signed_at;
        assert_eq!(store.claim(early), Claim::BeforeStart);
    }
    early.signed_at = START + 6;
    assert_eq!(store.claim(early), Claim::Fresh);
}

#[test]
fn refuses_what_has_expired_already() {
    assert_eq!(store(10).claim(nonce(&[1; 32], 8, 7)), Claim::BeforeStart);
    assert_eq!(store(10).claim(nonce(&[1; 32], 8, 8)), Claim::Fresh);
}

#[test]
fn allocates_nothing_before_the_first_claim() {
    let store = LocalNonces::new(10, START);
    assert_eq!(store.len(START), 0);
    store.claim(nonce(&[1; 32], 0, 300));
    assert!(store.memory.get().is_none(), "it was refused at sight");
    let mut later = nonce(&[1; 32], 0, 300);
    later.signed_at = START + 1;
    store.claim(later);
    assert!(store.memory.get().is_some());
}

#[test]
fn a_claim_is_refused_eight_and_a_half_years_after_the_first() {
    const YEAR: u64 = 365 * 86_400;
    let store = store(10);
    store.claim(nonce(&[1; 32], 0, 300));
    let late = |now| store.claim(nonce(&key(now), now, now + 300));
    assert_eq!(late(8 * YEAR), Claim::Fresh);
    assert_eq!(late(9 * YEAR), Claim::Unavailable);
}

#[test]
fn a_start_by_a_clock_that_was_years_behind_costs_nothing() {
    let store = LocalNonces::new(10, 0);
    assert_eq!(store.claim(nonce(&[1; 32], 0, 300)), Claim::Fresh);
    assert_eq!(store.claim(nonce(&[1; 32], 1, 300)), Claim::Replayed);
}

#[test]
fn a_clock_set_back_by_days_brings_nothing_back() {
    const DAY: u64 = 86_400;
    let store = store(10);
    let now = 10 * DAY;
    store.claim(nonce(&[1; 32], now, now + 300));
    let before = store.claim(nonce(&[1; 32], 1, 301));
    assert_eq!(before, Claim::Replayed);
    assert_eq!(
        store.claim(nonce(&[2; 32], 1, 301)),
        Claim::BeforeStart,
        "nobody can tell: that is before its memory"
    );
}

#[test]
fn counts_live_nonces_once() {
    let store = store(10);
    store.claim(nonce(&[1; 32], 0, 10));
    store.claim(nonce(&[1; 32], 0, 10));
    store.claim(nonce(&[2; 32], 0, 300));
    assert_eq!(store.len(START), 2);
    assert_eq!(store.len(START + 11), 1);
    assert_eq!(store.len(START + 301), 0);
}

#[derive(Clone, Copy, Debug)]
struct Step {
    later: u64,
    key: u64,
    lasts: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4_u64, 0..50_u64, 0..20_u64);
    prop::collection::vec(
        step.prop_map(|(later, key, lasts)| Step { later, key, lasts }),
        1..400,
    )
}

proptest! {
    #[test]
    fn does_what_an_exact_store_does(steps in steps(), capacity in 1..200_usize) {
        let store = store(capacity);
        let mut exact: HashMap<NonceKey, u64> = HashMap::new();
        let mut now = 0;
        for step in steps {
            now += step.later;
            let (key, expires) = (key(step.key), now + step.lasts);
            let live = exact.get(&key).is_some_and(|expires| *expires >= now);
            let expected = if live { Claim::Replayed } else { Claim::Fresh };
            prop_assert_eq!(store.claim(nonce(&key, now, expires)), expected);
            if !live {
                exact.insert(key, expires);
            }
            let held = exact.values().filter(|expires| **expires >= now).count();
            prop_assert_eq!(store.len(START + now), held);
        }
    }

    #[test]
    fn is_never_fresh_twice_until_the_same_second_whatever_the_clock_does(
        claims in prop::collection::vec((0..40_u64, 0..12_u64), 1..400),
    ) {
        let store = store(1);
        let mut fresh = HashMap::new();
        for (now, key_number) in claims {
            let claim = store.claim(nonce(&key(key_number), now, 20 + key_number));
            if claim == Claim::Fresh {
                prop_assert_eq!(fresh.insert(key_number, now), None);
            }
        }
    }
}
