//! What goes to the upstream: path, headers to drop and to set.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use knoxcall_benches::{FACTS, admitted, request, signed, table_of};
use knoxcall_bundle::{RouteEnvironment, SignatureVersion};
use knoxcall_filters::plan::{BodyState, plan};
use knoxcall_filters::sample;

fn planned(c: &mut Criterion) {
    let open = RouteEnvironment {
        open: true,
        ..sample::environment("production")
    };
    let whole = sample::whole_chain();
    let keyed = signed(request(0).key(sample::LIVE_KEY), SignatureVersion::V1, b"");
    for (name, environment, request, body) in [
        ("open route", open, request(0), BodyState::Streamed),
        (
            "whole chain",
            whole,
            keyed,
            BodyState::Whole {
                length: 0,
                changed: false,
            },
        ),
    ] {
        let table = table_of(environment);
        let admitted = admitted(&table, &request);
        let head = request.head();
        assert!(plan(&admitted, &head, body, &FACTS).is_ok(), "{name}");
        c.bench_function(&format!("plan/{name}"), |b| {
            b.iter(|| plan(&admitted, black_box(&head), body, &FACTS));
        });
    }
}

criterion_group!(benches, planned);
