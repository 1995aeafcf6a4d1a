//! A record, masked and written as a line: done for every request, on the
//! ledger's thread.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group};
use knoxcall_ledger::{Body, BodyKind, Encoder, Obfuscator, RequestRecord, Rules};
use uuid::Uuid;

/// As many as a tenant of some size has.
const SECRETS: usize = 50;

fn obfuscator() -> Arc<Obfuscator> {
    let secrets: Vec<String> = (0..SECRETS)
        .map(|number| format!("sk_live_{number:04}_Zm9yIGJlbmNobWFya3M"))
        .collect();
    let rules = Rules {
        json_paths: vec!["$..card".to_owned()],
        ..Rules::default()
    };
    let compiled = Obfuscator::new(&rules, secrets.iter().map(String::as_str));
    Arc::new(compiled.unwrap_or_default())
}

fn record() -> RequestRecord {
    RequestRecord {
        tenant_id: Some(Uuid::from_u128(1)),
        route_id: Some(Uuid::from_u128(2)),
        route: Some("orders".into()),
        environment: Some("production".into()),
        method: "POST".into(),
        host: "a1b2c3d4.acme.example.test".into(),
        path: "/v1/orders/4711?expand=lines&token=abc".into(),
        protocol: "HTTP/1.1",
        status: Some(200),
        upstream_status: Some(200),
        upstream_host: Some("upstream.test".into()),
        attempts: 1,
        total: Duration::from_micros(1_234),
        connect: Some(Duration::from_micros(80)),
        first_byte: Some(Duration::from_micros(900)),
        user_agent: Some("warehouse/2.4".into()),
        key_id: Some("tk_live_sample".into()),
        identification_method: Some("api_key"),
        authorized: true,
        signature_valid: Some(true),
        secrets_used: ["token".into()].into(),
        ..RequestRecord::new(Uuid::from_u128(3), SystemTime::now(), obfuscator())
    }
}

/// Capturing on: headers and the body.
fn captured() -> RequestRecord {
    let body = knoxcall_benches::json_body(1024);
    RequestRecord {
        headers: vec![
            ("accept".into(), "application/json".into()),
            ("authorization".into(), "Bearer of-the-client".into()),
            ("content-type".into(), "application/json".into()),
        ],
        body: Some(Body {
            bytes: body.into(),
            kind: BodyKind::Json,
            truncated: false,
        }),
        ..record()
    }
}

/// The slow way: a client has sent one of the secrets.
fn with_a_secret() -> RequestRecord {
    let path = "/v1/orders?q=sk_live_0042_Zm9yIGJlbmNobWFya3M";
    RequestRecord {
        path: path.into(),
        ..record()
    }
}

fn encode(c: &mut Criterion) {
    let mut encoder = Encoder::default();
    let mut line = Vec::with_capacity(8 * 1024);
    for (name, record) in [
        ("plain", record()),
        ("headers and body", captured()),
        ("with a secret", with_a_secret()),
    ] {
        c.bench_function(&format!("record/{name}"), |b| {
            b.iter(|| {
                line.clear();
                encoder.encode(black_box(&record), &mut line);
                line.len()
            });
        });
    }
}

criterion_group!(benches, encode);
