//! Is the client's address inside of an open route's allowlist of 1 to 10,000
//! blocks? `cidr` has the set alone.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::{Arrived, blocks, last_inside, request, table_of};
use knoxcall_bundle::RouteEnvironment;
use knoxcall_filters::{Refusal, sample};

fn check(c: &mut Criterion) {
    let table = |allowlist| {
        table_of(RouteEnvironment {
            open: true,
            ip_allowlist: allowlist,
            ..sample::environment("production")
        })
    };
    let request = request(0);
    for count in [0, 1, 100, 10_000] {
        // Without a list everyone may.
        let (table, inside, outside) = match count {
            0 => (table(None), sample::stranger(), None),
            _ => (
                table(Some(blocks(count).collect())),
                last_inside(count),
                Some(Refusal::IpNotAllowed),
            ),
        };
        for (name, peer, refused) in [
            ("inside", inside, None),
            ("outside", sample::stranger(), outside),
        ] {
            let arrived = Arrived::at(&table, &request, peer);
            assert_eq!(arrived.admit(), refused, "{name} of {count}");
            c.benchmark_group(format!("ip_allowlist/{name}"))
                .bench_function(BenchmarkId::from_parameter(count), |b| {
                    b.iter(|| black_box(&arrived).admit());
                });
        }
    }
}

criterion_group!(benches, check);
