//! A claim in the store of a lone instance, while old ones expire.

use std::time::{SystemTime, UNIX_EPOCH};

use criterion::{Criterion, criterion_group};
use knoxcall_benches::{counters, ready};
use knoxcall_counters::Claim;

/// In seconds of the store's own time.
const LIFETIME: u64 = 10;
const CLAIMS_A_SECOND: u64 = 10_000;

/// The claim of that number: its key, and the second in which it comes.
fn claim(number: u64) -> ([u8; 32], u64) {
    let mut key = [0; 32];
    // Spread, as digests are.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    key[..8].copy_from_slice(&spread);
    (key, number / CLAIMS_A_SECOND)
}

fn nonce(c: &mut Criterion) {
    let counters = counters();
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut number = 0;
    c.bench_function("nonce/claim", |b| {
        b.iter(|| {
            number += 1;
            let (key, second) = claim(number);
            let now = start + 1 + second;
            let claimed = ready(counters.claim(&key, now, now + LIFETIME, now));
            assert_eq!(claimed, Claim::Fresh);
        });
    });
}

criterion_group!(benches, nonce);
