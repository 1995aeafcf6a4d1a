//! Bodies without a secret through the leak guard, beside a plain copy of
//! them: what every answer of a guarded route pays.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot set up has nothing to measure"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use knoxcall_benches::json_body;
use knoxcall_filters::leak_guard::{LeakGuard, Masker};

/// As providers make them.
fn secret(number: usize) -> String {
    format!("sk_live_{number:02}Jx7Tq9vRb2KzYw4Lm8NfHc3PdGs6Aq")
}

fn guard(secrets: usize) -> LeakGuard {
    let secrets: Vec<String> = (0..secrets).map(secret).collect();
    LeakGuard::new(secrets.iter().map(String::as_str)).expect("the secrets are long")
}

fn clean_bodies(c: &mut Criterion) {
    let guards = [1, 10].map(|secrets| (secrets, guard(secrets)));
    for length in [1024, 1024 * 1024] {
        let body = Bytes::from(json_body(length));
        let mut group = c.benchmark_group(format!("leak_guard/{length}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("copy", |b| {
            b.iter(|| Bytes::copy_from_slice(black_box(&body)));
        });
        for (secrets, guard) in &guards {
            group.bench_function(BenchmarkId::new("secrets", secrets), |b| {
                b.iter(|| Masker::default().feed(guard, black_box(body.clone()), true));
            });
            group.bench_function(BenchmarkId::new("secrets, more to come", secrets), |b| {
                b.iter(|| Masker::default().feed(guard, black_box(body.clone()), false));
            });
        }
    }
}

fn new_guard(c: &mut Criterion) {
    let mut group = c.benchmark_group("leak_guard/new");
    for secrets in [1, 10] {
        group.bench_function(BenchmarkId::from_parameter(secrets), |b| {
            b.iter(|| guard(black_box(secrets)));
        });
    }
}

criterion_group!(benches, clean_bodies, new_guard);
