//! Is an address inside of any of 10 to 10,000 blocks?

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::blocks;
use knoxcall_filters::cidr::{CidrMap, CidrSet};

/// Spread over the blocks and the gaps between them.
fn address(turn: &mut u32, count: u32) -> IpAddr {
    *turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    IpAddr::V4(Ipv4Addr::from_bits(
        (11 << 24) + (*turn >> 8) % (count << 9),
    ))
}

fn cidr(c: &mut Criterion) {
    for count in [10, 100, 1_000, 10_000] {
        let set = CidrSet::new(blocks(count));
        let map = CidrMap::new(blocks(count).zip(0..count));
        let mut turn = 1;
        c.benchmark_group("cidr/set")
            .bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| set.contains(black_box(address(&mut turn, count))));
            });
        c.benchmark_group("cidr/map")
            .bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| map.get(black_box(address(&mut turn, count))).copied());
            });
    }
}

criterion_group!(benches, cidr);
