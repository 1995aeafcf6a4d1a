//! A route's JSON merged into a client's.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use knoxcall_benches::{FACTS, admitted, json_body, post, table_of, template};
use knoxcall_bundle::{Injection, JsonTemplate, RouteEnvironment};
use knoxcall_filters::plan::plan_body;
use knoxcall_filters::sample;

/// One member of a nested object, and one beside it.
fn injection() -> Injection {
    let text = |text| JsonTemplate::String(template(text));
    let auth = JsonTemplate::Object(vec![("token".to_owned(), text("{{secret:token}}"))]);
    let members = vec![
        ("auth".to_owned(), auth),
        ("trace".to_owned(), text("{{request_id}}")),
    ];
    Injection {
        headers: Vec::new(),
        body: Some(JsonTemplate::Object(members)),
    }
}

fn json_merge(c: &mut Criterion) {
    let environment = sample::environment("production");
    let table = table_of(RouteEnvironment {
        injection: injection(),
        ..environment
    });
    let request = post();
    let admitted = admitted(&table, &request);
    let head = request.head();
    let mut group = c.benchmark_group("json_merge");
    for length in [1024, 64 * 1024] {
        let body = json_body(length);
        let merged = plan_body(&admitted, &head, &body, &FACTS);
        assert!(matches!(merged, Ok(Some(_))));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |b| {
            b.iter(|| plan_body(&admitted, &head, black_box(&body), &FACTS));
        });
    }
}

criterion_group!(benches, json_merge);
