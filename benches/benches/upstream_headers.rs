//! Which of the client's headers go on: of a few, of as many as a head may
//! have, and of those that are dropped.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use knoxcall_benches::{admitted, request, table_of};
use knoxcall_bundle::RouteEnvironment;
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::upstream_headers::{BodyState, kept};

/// Each of a kind that is not passed on.
const DROPPED: [(&str, &str); 8] = [
    ("x-knoxcall-environment", "production"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-real-ip", "203.0.113.7"),
    ("forwarded", "for=203.0.113.7"),
    ("connection", "keep-alive, x-hop"),
    ("x-hop", "of this connection"),
    ("te", "trailers"),
    ("x_forwarded_host", "gateway.test"),
];

fn with_many() -> Request {
    (0..90).fold(request(0), |request, number| {
        request.header(&format!("x-header-{number}"), "some value of its own")
    })
}

fn with_dropped() -> Request {
    let dropped = DROPPED.into_iter();
    dropped.fold(request(0), |request, (name, value)| {
        request.header(name, value)
    })
}

fn headers(c: &mut Criterion) {
    let table = table_of(RouteEnvironment {
        open: true,
        ..sample::environment("production")
    });
    let few = request(0).headers.len();
    let mut group = c.benchmark_group("upstream_headers");
    for (name, request, expected) in [
        ("few", request(0), few - 2),
        ("many", with_many(), few - 2 + 90),
        ("dropped", with_dropped(), few - 2),
    ] {
        let admitted = admitted(&table, &request);
        let head = request.head();
        let kept = || {
            kept(
                black_box(&head),
                admitted.service,
                &admitted.rules.injector,
                BodyState::Streamed,
            )
        };
        assert_eq!(kept().len(), expected, "{name}");
        group.throughput(Throughput::Elements(request.headers.len() as u64));
        group.bench_function(name, |b| b.iter(kept));
    }
    group.finish();
}

criterion_group!(benches, headers);
