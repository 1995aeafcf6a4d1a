//! Which route a request means, among 10 to 10,000: by slug, name or id, or by
//! rules on its host and path. The routes are open and ask for nothing else.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::Arrived;
use knoxcall_bundle::{Route, RouteEnvironment};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{Refusal, RouteTable};

/// Each found by a prefix of its own, below two more on one host.
fn table(routes: usize) -> RouteTable {
    let mut tenant = sample::tenant();
    tenant.routes.extend((0..routes).map(|number| Route {
        match_rules: vec![
            sample::rule(None, &format!("/any/{number}"), true),
            sample::rule(Some(sample::HOST), &format!("/one/{number}/deep"), false),
        ],
        environments: vec![RouteEnvironment {
            open: true,
            ..sample::environment("production")
        }],
        ..sample::route(number)
    }));
    sample::table(tenant)
}

fn select(c: &mut Criterion) {
    for routes in [10, 1_000, 10_000] {
        let table = table(routes);
        let last = routes - 1;
        let named = |name: &str| Request::get("/v1/orders").route(name);
        let nowhere = Some(Refusal::Unauthorized);
        for (name, request, refused) in [
            ("slug", named(&format!("route-{last}")), None),
            ("name", named(&format!("Route {last}")), None),
            ("id", named(&sample::route_id(last).0.to_string()), None),
            ("unknown name", named("route-of-nobody"), nowhere.clone()),
            ("path", Request::get(&format!("/any/{last}/orders")), None),
            (
                "host and path",
                Request::get(&format!("/one/{last}/deep/orders/4711")),
                None,
            ),
            ("unknown path", Request::get("/of/nobody"), nowhere),
        ] {
            let arrived = Arrived::at(&table, &request, sample::stranger());
            assert_eq!(arrived.admit(), refused, "{name}");
            c.benchmark_group(format!("route/{name}"))
                .bench_function(BenchmarkId::from_parameter(routes), |b| {
                    b.iter(|| black_box(&arrived).admit())
                });
        }
    }
}

criterion_group!(benches, select);
