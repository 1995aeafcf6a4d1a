//! One token from each of a request's limits, counted in process; and the
//! budget of 401s, which is asked for every request.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::{Limits, counters, table};
use knoxcall_counters::{Clock, Taken};
use knoxcall_filters::sample;

fn take(c: &mut Criterion) {
    let limits = Limits::of(&table(10));
    let mut group = c.benchmark_group("rate_limit/take");
    for buckets in [1, 4] {
        group.bench_function(BenchmarkId::from_parameter(buckets), |b| {
            b.iter(|| {
                let taken = limits.take_first(black_box(buckets));
                assert!(matches!(taken, Taken::Granted(Some(_))));
            });
        });
    }
}

fn unauthorized(c: &mut Criterion) {
    let (counters, clock) = (counters(), Clock::start());
    let (failing, other) = (sample::stranger(), sample::client_address());
    let budget = counters.unauthorized();
    budget.spend(failing, clock.now());
    let mut group = c.benchmark_group("rate_limit/unauthorized");
    for (name, address) in [
        ("address without failures", other),
        ("address with one", failing),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| budget.exhausted(black_box(address), clock.now()));
        });
    }
}

criterion_group!(benches, take, unauthorized);
