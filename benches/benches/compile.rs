//! A bundle to the table that requests are judged by. The target: 100,000
//! routes in less than 2 s.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use knoxcall_filters::{EdgeRules, RouteTable, sample};

fn compile(c: &mut Criterion) {
    let edge = EdgeRules::default();
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    for routes in [1_000, 100_000] {
        let bundle = sample::bundle(routes);
        group.throughput(Throughput::Elements(routes as u64));
        group.bench_function(BenchmarkId::from_parameter(routes), |b| {
            b.iter_with_large_drop(|| RouteTable::compile(black_box(&bundle), &edge));
        });
    }
}

criterion_group!(benches, compile);
