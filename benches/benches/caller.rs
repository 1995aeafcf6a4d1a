//! Who asks: by key or by address, among 10 to 10,000 of each, with up to 100
//! scopes; and nobody known, who must cost as much as somebody.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::{Arrived, blocks, last_inside};
use knoxcall_bundle::ids::{ClientId, RouteId};
use knoxcall_bundle::{ApiKey, Client, KeyKind, Scopes};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{Refusal, RouteTable};

const SCOPED: &str = "AKEscoped_Zm9yIHRlc3RzIGFuZCBiZW5jaG1hcmtzIG9ubHk";

fn numbered_key(number: u32) -> ApiKey {
    sample::key(&format!("tk_live_k{number}_of-somebody"), KeyKind::Live)
}

/// For 99 routes that do not exist, and for this one.
fn scoped_key(route: RouteId) -> ApiKey {
    let others = (1..100).map(|number| sample::assignment(Some(sample::route_id(number))));
    let scopes = others.chain([sample::assignment(Some(route))]);
    ApiKey {
        scopes: Scopes::Only(scopes.collect()),
        ..sample::key(SCOPED, KeyKind::AccessKey)
    }
}

/// So many keys, and so many clients with an address each.
fn table(count: u32) -> RouteTable {
    let mut tenant = sample::tenant();
    let route = sample::route(0);
    tenant.api_keys.extend((0..count).map(numbered_key));
    tenant.api_keys.push(scoped_key(route.id));
    let clients = blocks(count).enumerate().map(|(number, block)| Client {
        id: ClientId(sample::id(2, number + 2)),
        name: sample::name(&format!("client-{number}")),
        addresses: vec![block],
        assignments: vec![sample::assignment(Some(route.id))],
        ..sample::client()
    });
    tenant.clients.extend(clients);
    tenant.routes.push(route);
    sample::table(tenant)
}

fn identify(c: &mut Criterion) {
    for count in [10, 10_000] {
        let table = table(count);
        let request = || Request::get("/v1/orders").route("route-0");
        let last = format!("tk_live_k{}_of-somebody", count - 1);
        let (stranger, refused) = (sample::stranger(), Some(Refusal::Unauthorized));
        let cases: [(&str, Request, IpAddr, Option<Refusal>); 5] = [
            ("key", request().key(&last), stranger, None),
            ("key of 100 scopes", request().key(SCOPED), stranger, None),
            ("address", request(), last_inside(count), None),
            (
                "unknown key",
                request().key("tk_live_of_nobody"),
                stranger,
                refused.clone(),
            ),
            ("unknown address", request(), stranger, refused),
        ];
        for (name, request, peer, refused) in cases {
            let arrived = Arrived::at(&table, &request, peer);
            assert_eq!(arrived.admit(), refused, "{name}");
            c.benchmark_group(format!("caller/{name}"))
                .bench_function(BenchmarkId::from_parameter(count), |b| {
                    b.iter(|| black_box(&arrived).admit())
                });
        }
    }
}

criterion_group!(benches, identify);
