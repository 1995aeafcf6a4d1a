//! The value of one injected header: known since the bundle, put together from
//! segments, or rendered as Liquid.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use http::HeaderName;
use knoxcall_benches::{FACTS, REQUEST_ID, template};
use knoxcall_filters::inject::{Injector, RequestValues};
use knoxcall_filters::sample;

const NAME: HeaderName = HeaderName::from_static("x-upstream-auth");

fn injector(text: &str) -> Injector {
    let (tenant, route) = (sample::tenant(), sample::route(0));
    let environment = sample::name("production");
    Injector::compile(
        &tenant,
        &route,
        &environment,
        &[(NAME, template(text))],
        None,
        &[],
    )
}

fn inject(c: &mut Criterion) {
    let request = RequestValues {
        client: None,
        now: FACTS.now,
        request_id: REQUEST_ID,
    };
    for (name, text) in [
        ("fixed", "Bearer {{secret:token}}"),
        ("segments", "{{secret:token}}:{{timestamp}}:{{request_id}}"),
        ("liquid", "{{secret:token}}:{{ timestamp | plus: 60 }}"),
    ] {
        let injector = injector(text);
        assert!(
            injector.headers(&request).all(|header| header.is_ok()),
            "{name}"
        );
        c.bench_function(&format!("inject/{name}"), |b| {
            b.iter(|| injector.headers(black_box(&request)).last());
        });
    }
}

criterion_group!(benches, inject);
