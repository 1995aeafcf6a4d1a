//! A signed request, verified: by the size of its body, and in both versions.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use http::Method;
use knoxcall_benches::{admitted, request, signed, table_of};
use knoxcall_bundle::{RouteEnvironment, SignatureVersion};
use knoxcall_filters::{sample, signature};

fn verify(c: &mut Criterion) {
    for (name, version, lengths) in [
        ("v1", SignatureVersion::V1, [0, 1024, 64 * 1024].as_slice()),
        ("v2", SignatureVersion::V2, &[1024]),
    ] {
        let table = table_of(RouteEnvironment {
            signature: Some(sample::signature(version)),
            ..sample::environment("production")
        });
        let mut group = c.benchmark_group(format!("signature/{name}"));
        for length in lengths {
            let body = vec![b'x'; *length];
            let request = signed(request(0).by(Method::POST), version, &body);
            let admitted = admitted(&table, &request);
            let verified = signature::verify(&admitted, &request.head(), &body, sample::NOW);
            assert!(matches!(verified, Ok(Some(_))));
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(length), |b| {
                let head = request.head();
                b.iter(|| signature::verify(&admitted, &head, black_box(&body), sample::NOW));
            });
        }
    }
}

criterion_group!(benches, verify);
