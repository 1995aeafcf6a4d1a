//! Which of a route's environments serves: its own, the one that is named, or
//! the sandbox that the host stands for; among 3 and 100.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::Arrived;
use knoxcall_bundle::{Environment, Route, RouteEnvironment};
use knoxcall_filters::sample::{self, Request, SANDBOX_HOST};
use knoxcall_filters::{Refusal, RouteTable};

/// `production`, `sandbox` and others that are numbered.
fn table(environments: usize) -> RouteTable {
    let mut tenant = sample::tenant();
    let numbered = (2..environments).map(|number| format!("number-{number}"));
    let numbered: Vec<String> = numbered.collect();
    tenant
        .environments
        .extend(numbered.iter().map(|name| Environment {
            name: sample::name(name),
            sandbox: false,
        }));
    let names = ["production", "sandbox"]
        .into_iter()
        .chain(numbered.iter().map(String::as_str));
    let serving = names.map(|name| RouteEnvironment {
        open: true,
        ..sample::environment(name)
    });
    tenant.routes.push(Route {
        environments: serving.collect(),
        ..sample::route(0)
    });
    sample::table(tenant)
}

fn choose(c: &mut Criterion) {
    for environments in [3, 100] {
        let table = table(environments);
        let request = || Request::get("/v1/orders").route("route-0");
        let last = format!("number-{}", environments - 1);
        for (name, request, refused) in [
            ("the route's own", request(), None),
            ("named", request().environment(&last), None),
            ("sandbox host", request().to_host(SANDBOX_HOST), None),
            (
                "not served",
                request().environment("staging"),
                Some(Refusal::Unauthorized),
            ),
        ] {
            let arrived = Arrived::at(&table, &request, sample::stranger());
            assert_eq!(arrived.admit(), refused, "{name}");
            c.benchmark_group(format!("environment/{name}"))
                .bench_function(BenchmarkId::from_parameter(environments), |b| {
                    b.iter(|| black_box(&arrived).admit());
                });
        }
    }
}

criterion_group!(benches, choose);
