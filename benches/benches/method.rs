//! Is the method allowed, and does it have rules of its own? On an open route
//! that allows nine methods and configures eight of them one by one.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use http::Method;
use knoxcall_benches::{Arrived, request, table_of};
use knoxcall_bundle::{MethodConfig, RouteEnvironment};
use knoxcall_filters::{Refusal, sample};

const CONFIGURED: [Method; 8] = [
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

fn config(method: Method) -> MethodConfig {
    MethodConfig {
        method,
        target: None,
        headers: None,
        body: None,
        rate_limit: Some(sample::rate_limit(60)),
    }
}

fn method(c: &mut Criterion) {
    let open = || RouteEnvironment {
        open: true,
        ..sample::environment("production")
    };
    let allowed: Vec<Method> = CONFIGURED.into_iter().chain([Method::GET]).collect();
    let any = table_of(open());
    let restricted = table_of(RouteEnvironment {
        allowed_methods: Some(allowed.clone()),
        method_configs: CONFIGURED.map(config).into(),
        ..open()
    });
    let refused = Some(Refusal::MethodNotAllowed { allowed });
    let custom = Method::from_bytes(b"PURGE").ok();
    for (name, table, method, refused) in [
        ("unrestricted", &any, Some(Method::GET), None),
        ("allowed", &restricted, Some(Method::GET), None),
        (
            "the last configured",
            &restricted,
            Some(Method::CONNECT),
            None,
        ),
        ("refused", &restricted, custom, refused),
    ] {
        let request = request(0).by(method.unwrap_or_default());
        let arrived = Arrived::at(table, &request, sample::stranger());
        assert_eq!(arrived.admit(), refused, "{name}");
        c.bench_function(&format!("method/{name}"), |b| {
            b.iter(|| black_box(&arrived).admit());
        });
    }
}

criterion_group!(benches, method);
