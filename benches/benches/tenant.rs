//! The tenant of a host, among 1 to 10,000 tenants with four hosts each, and
//! however the host is written.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_bundle::ids::TenantId;
use knoxcall_bundle::{Bundle, Tenant, TenantHosts};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{EdgeRules, Refusal, RouteTable, locate};

fn tenant(number: usize) -> Tenant {
    let slug = format!("tenant-{number}");
    let tenant = sample::tenant();
    Tenant {
        id: TenantId(sample::id(0, number)),
        hosts: TenantHosts {
            extra: vec![sample::name(&format!("api.{slug}.test"))],
            ..tenant.hosts
        },
        slug: sample::name(&slug),
        ..tenant
    }
}

fn hosts(last: usize) -> [(&'static str, String, Option<Refusal>); 5] {
    [
        ("base", format!("tenant-{last}.example.test"), None),
        ("hash", format!("a1b2c3d4.tenant-{last}.example.test"), None),
        (
            "extra, with port",
            format!("api.tenant-{last}.test:8443"),
            None,
        ),
        ("in capitals", format!("API.Tenant-{last}.TEST"), None),
        (
            "unknown",
            "nobody.example.test".to_owned(),
            Some(Refusal::UnknownHost),
        ),
    ]
}

fn find(c: &mut Criterion) {
    for count in [1, 100, 10_000] {
        let bundle = Bundle {
            tenants: (0..count).map(tenant).collect(),
        };
        let table = RouteTable::compile(&bundle, &EdgeRules::default());
        for (name, host, refused) in hosts(count - 1) {
            let request = Request::get("/").to_host(&host);
            let find = || locate(&table, &request.head(), sample::stranger(), sample::NOW).err();
            assert_eq!(find(), refused, "{host}");
            c.benchmark_group(format!("tenant/{name}")).bench_function(
                BenchmarkId::from_parameter(count),
                |b| {
                    b.iter(|| black_box(find()));
                },
            );
        }
    }
}

criterion_group!(benches, find);
