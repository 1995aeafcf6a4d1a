use std::sync::Barrier;
use std::thread;

use super::*;

/// As spread as a digest (SplitMix64), for each number another.
pub(crate) fn key(number: u64) -> NonceKey {
    let mut key = [0; 32];
    let mut state = number;
    for part in key.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        part.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    key
}

fn one_set() -> Table {
    Table::new(1).unwrap()
}

/// What each of the threads got in each of the rounds, which they begin together.
fn race(threads: u64, rounds: u64, claim: impl Fn(u64, u64) -> Claim + Sync) -> Vec<Vec<Claim>> {
    let barrier = Barrier::new(usize::try_from(threads).unwrap());
    let run = |thread: u64| -> Vec<Claim> {
        let one = |round| {
            barrier.wait();
            claim(thread, round)
        };
        (0..rounds).map(one).collect()
    };
    let claims: Vec<Vec<Claim>> = thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let rounds = 0..usize::try_from(rounds).unwrap();
    rounds
        .map(|round| claims.iter().map(|claims| claims[round]).collect())
        .collect()
}

fn fresh(claims: &[Claim]) -> usize {
    claims
        .iter()
        .filter(|claim| **claim == Claim::Fresh)
        .count()
}

#[test]
fn holds_its_capacity() {
    const CAPACITY: u64 = 100_000;
    let table = Table::new(CAPACITY as usize).unwrap();
    for number in 0..CAPACITY {
        assert_eq!(table.claim(&key(number), 1, 300), Claim::Fresh);
    }
    for number in 0..CAPACITY {
        assert_eq!(table.claim(&key(number), 300, 600), Claim::Replayed);
    }
}

#[test]
fn holds_its_capacity_time_and_again() {
    const CAPACITY: u64 = 10_000;
    let table = Table::new(CAPACITY as usize).unwrap();
    for number in 0..20 * CAPACITY {
        let now = 1 + number * 100 / CAPACITY;
        assert_eq!(table.claim(&key(number), now, now + 99), Claim::Fresh);
    }
}

#[test]
fn has_four_to_eight_slots_for_each_nonce() {
    for (capacity, slots) in [(1, 64), (16, 64), (17, 128), (1_000_000, 4_194_304)] {
        assert_eq!(Table::new(capacity).unwrap().slots.len(), slots);
    }
}

#[test]
fn a_full_set_refuses_new_nonces_and_still_knows_the_old() {
    let table = one_set();
    for number in 0..WAYS as u64 {
        assert_eq!(table.claim(&key(number), 1, 300), Claim::Fresh);
    }
    assert_eq!(table.claim(&key(1_000), 1, 300), Claim::Unavailable);
    assert_eq!(table.claim(&key(63), 1, 300), Claim::Replayed);
}

#[test]
fn a_full_set_makes_room_from_what_has_expired() {
    let table = one_set();
    for number in 0..WAYS as u64 {
        table.claim(&key(number), 1, if number == 40 { 10 } else { 300 });
    }
    assert_eq!(table.claim(&key(1_000), 10, 310), Claim::Unavailable);
    assert_eq!(table.claim(&key(1_000), 11, 311), Claim::Fresh);
    assert_eq!(table.claim(&key(1_001), 11, 311), Claim::Unavailable);
    assert_eq!(table.claim(&key(1_000), 12, 312), Claim::Replayed);
}

#[test]
fn finds_a_nonce_behind_one_that_has_expired() {
    let table = one_set();
    table.claim(&key(1), 1, 10);
    table.claim(&key(2), 1, 300);
    assert_eq!(table.claim(&key(2), 11, 311), Claim::Replayed);
}

#[test]
fn takes_the_same_slot_again_so_that_the_rest_stays_untouched() {
    let table = one_set();
    for number in 1..1_000 {
        table.claim(&key(number), number * 10, number * 10 + 9);
    }
    let used = table.slots.iter().filter(|slot| slot.load(SeqCst) != EMPTY);
    assert_eq!(used.count(), 1);
}

#[test]
fn refuses_another_nonce_of_the_same_fingerprint() {
    let table = one_set();
    let mut twin = key(1);
    table.claim(&twin, 1, 300);
    twin[31] ^= 1;
    assert_eq!(table.claim(&twin, 1, 300), Claim::Replayed);
    twin[7] ^= 1;
    assert_eq!(table.claim(&twin, 1, 300), Claim::Fresh);
}

#[test]
fn knows_a_key_whose_fingerprint_is_zero() {
    let table = one_set();
    assert_eq!(table.claim(&[0; 32], 1, 300), Claim::Fresh);
    assert_eq!(table.claim(&[0; 32], 1, 300), Claim::Replayed);
}

#[test]
fn refuses_an_expiry_it_cannot_hold() {
    let table = one_set();
    let last = LAST_SECOND;
    assert_eq!(table.claim(&key(1), last, last), Claim::Fresh);
    assert_eq!(table.claim(&key(1), last, last), Claim::Replayed);
    assert_eq!(table.claim(&key(2), last, last + 1), Claim::Unavailable);
}

#[test]
fn refuses_a_late_claim_of_what_has_been_written_over() {
    let table = one_set();
    table.claim(&key(1), 1, 10);
    table.claim(&key(2), 11, 300);
    assert_eq!(table.claim(&key(1), 10, 10), Claim::BeforeStart);
    assert_eq!(table.claim(&key(3), 10, 11), Claim::Fresh);
}

#[test]
fn of_many_claims_at_once_exactly_one_is_fresh() {
    let table = Table::new(10_000).unwrap();
    for claims in race(4, 5_000, |_, round| table.claim(&key(round), 1, 300)) {
        assert_eq!(fresh(&claims), 1, "{claims:?}");
    }
}

#[test]
fn of_many_claims_for_expired_slots_exactly_one_is_fresh() {
    let table = one_set();
    let claim = |thread: u64, round: u64| {
        let now = round + 1;
        // Others want the same slots.
        for other in 0..4 {
            table.claim(
                &key(1 << 32 | round << 8 | thread << 4 | other),
                now,
                now + 1,
            );
        }
        table.claim(&key(round), now, now + 1)
    };
    for claims in race(4, 5_000, claim) {
        assert_eq!(fresh(&claims), 1, "{claims:?}");
    }
}

/// The threads disagree about what has expired.
#[test]
fn of_claims_by_differing_clocks_at_most_one_is_fresh() {
    let table = one_set();
    let claim = |thread: u64, round: u64| {
        let now = round * 2 + 1 + thread % 2;
        for other in 0..3 {
            table.claim(&key(1 << 32 | round << 8 | thread << 4 | other), now, now);
        }
        table.claim(&key(round), now, round * 2 + 20)
    };
    let rounds = race(4, 5_000, claim);
    let fresh: Vec<usize> = rounds.iter().map(|claims| fresh(claims)).collect();
    assert!(fresh.iter().all(|fresh| *fresh <= 1));
    assert!(fresh.contains(&1));
}
