//! A client's body, searched for placeholders of the secrets it may name.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use knoxcall_benches::{FACTS, admitted, json_body, post, table_of};
use knoxcall_bundle::RouteEnvironment;
use knoxcall_filters::plan::plan_body;
use knoxcall_filters::sample;

/// A JSON body with `count` placeholders after its other members.
fn body(length: usize, count: usize) -> Vec<u8> {
    let mut body = json_body(length);
    body.pop();
    for number in 0..count {
        body.extend_from_slice(format!(r#","t{number}":"{{{{secret:token}}}}""#).as_bytes());
    }
    body.push(b'}');
    body
}

fn placeholders(c: &mut Criterion) {
    let mut environment: RouteEnvironment = sample::environment("production");
    environment.body_secrets = sample::tenant()
        .secrets
        .iter()
        .map(|secret| secret.id)
        .collect();
    let table = table_of(environment);
    let request = post();
    let admitted = admitted(&table, &request);
    let head = request.head();
    let mut group = c.benchmark_group("placeholders");
    for (name, length, count) in [
        ("1 KiB, none", 1024, 0),
        ("1 KiB, one", 1024, 1),
        ("64 KiB, ten", 64 * 1024, 10),
    ] {
        let body = body(length, count);
        let filled = plan_body(&admitted, &head, &body, &FACTS);
        assert!(
            filled.is_ok_and(|filled| filled.is_some() == (count > 0)),
            "{name}"
        );
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| plan_body(&admitted, &head, black_box(&body), &FACTS));
        });
    }
}

criterion_group!(benches, placeholders);
