//! An HTTP/1 head as it came from the socket, and one that is parsed already.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use knoxcall_benches::request;
use knoxcall_filters::hygiene::{HeadBudget, check_parsed, check_raw};

const SMALL: &[u8] = b"GET /v1/orders/4711?expand=lines HTTP/1.1\r\n\
    Host: a1b2c3d4.acme.example.test\r\n\
    User-Agent: warehouse/2.4\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, br\r\n\
    X-Knoxcall-Route: route-1\r\n\
    X-Knoxcall-Key: tk_live_sample_Zm9yIHRlc3RzIGFuZCBiZW5jaG1hcmtzIG9ubHk\r\n\
    X-Request-Id: a7f3c2\r\n\r\n";

/// As many fields as the budget has room for.
fn large() -> Vec<u8> {
    let budget = HeadBudget::default();
    let mut head = b"POST /v1/orders HTTP/1.1\r\nHost: acme.example.test\r\n".to_vec();
    for field in 1..budget.fields {
        head.extend_from_slice(format!("X-Field-{field}: {:0120}\r\n", field).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn hygiene(c: &mut Criterion) {
    let budget = HeadBudget::default();
    let large = large();
    let mut group = c.benchmark_group("hygiene");
    for (name, head) in [("raw, 8 fields", SMALL), ("raw, 100 fields", &large)] {
        assert!(check_raw(head, &budget).is_ok());
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |b| b.iter(|| check_raw(black_box(head), &budget)));
    }
    drop(group);
    let request = request(1);
    assert_eq!(check_parsed(&request.head(), &budget), Ok(()));
    c.bench_function("hygiene/parsed", |b| {
        b.iter(|| check_parsed(black_box(&request.head()), &budget))
    });
}

criterion_group!(benches, hygiene);
