//! The client's address: the socket's own, or what up to twenty trusted
//! proxies say of it. With the look-up of the host, which is one map's.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, criterion_group};
use knoxcall_benches::{blocks, last_inside};
use knoxcall_bundle::Bundle;
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{EdgeRules, RouteTable, locate};

const PROXIES: u32 = 100;

/// The client, and so many trusted proxies behind it.
fn forwarded(proxies: usize) -> Request {
    let proxy = last_inside(PROXIES).to_string();
    let mut hops = vec!["203.0.113.7"];
    hops.extend(std::iter::repeat_n(proxy.as_str(), proxies));
    Request::get("/").header("x-forwarded-for", &hops.join(", "))
}

fn resolve(c: &mut Criterion) {
    let bundle = Bundle {
        tenants: vec![sample::tenant()],
    };
    let table = |sets_cf_connecting_ip| {
        let proxies = blocks(PROXIES).map(|block| (block, sets_cf_connecting_ip));
        let edge = EdgeRules {
            trusted_proxies: proxies.collect(),
        };
        RouteTable::compile(&bundle, &edge)
    };
    let (forwards, cloudflare) = (table(false), table(true));
    let cf = Request::get("/").header("cf-connecting-ip", "203.0.113.7");
    let (proxy, client) = (last_inside(PROXIES), "203.0.113.7".parse().ok());
    let direct = sample::stranger();
    let cases: [(&str, &RouteTable, Request, IpAddr, Option<IpAddr>); 5] = [
        ("direct", &forwards, Request::get("/"), direct, Some(direct)),
        ("one proxy", &forwards, forwarded(0), proxy, client),
        ("twenty proxies", &forwards, forwarded(19), proxy, client),
        ("cf-connecting-ip", &cloudflare, cf, proxy, client),
        (
            "a proxy says nothing",
            &forwards,
            Request::get("/"),
            proxy,
            None,
        ),
    ];
    for (name, table, request, peer, expected) in cases {
        let resolve = || {
            let site = locate(table, &request.head(), peer, sample::NOW).ok();
            site.and_then(|site| site.address.client)
        };
        assert_eq!(resolve(), expected, "{name}");
        c.bench_function(&format!("client_address/{name}"), |b| {
            b.iter(|| black_box(resolve()));
        });
    }
}

criterion_group!(benches, resolve);
