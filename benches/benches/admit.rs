//! Who asks for what, from 10 to 100,000 routes: it must not matter how many
//! there are.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BenchmarkId, Criterion, criterion_group};
use knoxcall_benches::{requests, table};
use knoxcall_filters::Refusal;
use knoxcall_filters::sample::{self, Request};

type Case = (&'static str, IpAddr, fn(Request) -> Request, bool);

fn cases() -> [Case; 4] {
    let (known, stranger) = (sample::client_address(), sample::stranger());
    [
        ("key", known, |request| request.key(sample::LIVE_KEY), true),
        ("client address", known, |request| request, true),
        ("path rule", known, by_path, true),
        (
            "unknown caller",
            stranger,
            |request| request.key("tk_live_of_nobody"),
            false,
        ),
    ]
}

/// The route by its path, `/r/{number}`, in place of the header.
fn by_path(request: Request) -> Request {
    let named = request.headers.get("x-knoxcall-route");
    let name = named
        .and_then(|name| name.to_str().ok())
        .unwrap_or_default();
    Request::get(&format!(
        "/r/{}/orders/4711",
        name.trim_start_matches("route-")
    ))
}

fn admit(c: &mut Criterion) {
    for routes in [10, 1_000, 100_000] {
        let table = table(routes);
        for (name, peer, make, served) in cases() {
            let requests = requests(routes, make);
            for request in &requests {
                let outcome = sample::decide(&table, request, peer).0;
                assert_eq!(outcome.err(), (!served).then_some(Refusal::Unauthorized));
            }
            let mut turn = requests.iter().cycle();
            c.benchmark_group(format!("admit/{name}")).bench_function(
                BenchmarkId::from_parameter(routes),
                |b| {
                    b.iter(|| {
                        let decided = turn
                            .next()
                            .map(|request| sample::decide(&table, request, peer));
                        black_box(decided).is_some()
                    });
                },
            );
        }
    }
}

criterion_group!(benches, admit);
