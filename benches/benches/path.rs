//! Could a path climb out of its target? And the target's and the client's
//! path as one.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use knoxcall_filters::Refusal;
use knoxcall_filters::path::{check, join};

fn paths() -> [(&'static str, String, Option<Refusal>); 5] {
    [
        ("short", "/v1/orders/4711".to_owned(), None),
        ("long", "/segment".repeat(500), None),
        ("all escaped", "/%C3%A9%20%2D".repeat(300), None),
        (
            "refused at its end",
            format!("{}/..", "/segment".repeat(500)),
            Some(Refusal::InvalidPath),
        ),
        (
            "refused, escaped twice",
            "/a/%252e%252e/b".to_owned(),
            Some(Refusal::InvalidPath),
        ),
    ]
}

fn path(c: &mut Criterion) {
    let mut group = c.benchmark_group("path/check");
    for (name, path, refused) in paths() {
        assert_eq!(check(path.as_bytes()).err(), refused, "{name}");
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(name, |b| b.iter(|| check(black_box(path.as_bytes()))));
    }
    group.finish();
    c.bench_function("path/join", |b| {
        b.iter(|| {
            join(
                black_box("/v1"),
                black_box(b"/orders/4711"),
                black_box(b"?q=1"),
            )
        });
    });
}

criterion_group!(benches, path);
