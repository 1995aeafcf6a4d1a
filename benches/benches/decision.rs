//! All that is decided about a request in one go, as the proxy does it: head,
//! tenant, caller, route, limits, signature, body and plan. Without sockets.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group};
use http::Method;
use knoxcall_benches::{FACTS, Limits, json_body, post, request, signed, table, table_of};
use knoxcall_bundle::SignatureVersion;
use knoxcall_counters::Taken;
use knoxcall_filters::hygiene::{HeadBudget, check_raw};
use knoxcall_filters::plan::{BodyNeed, BodyState, Plan, body_need, plan, plan_body};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{Refusal, RouteTable, signature};

/// A request in both forms: as bytes, and as the proxy's parser leaves it.
struct Case {
    raw: Vec<u8>,
    request: Request,
    body: Bytes,
}

impl Case {
    fn new(request: Request, body: Vec<u8>) -> Self {
        Self {
            raw: written(&request, body.len()),
            request,
            body: body.into(),
        }
    }
}

fn written(request: &Request, length: usize) -> Vec<u8> {
    let Request {
        method,
        target,
        host,
        headers,
    } = request;
    let mut raw = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
    for (name, value) in headers {
        raw.extend_from_slice(
            &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat(),
        );
    }
    if *method != Method::GET {
        raw.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

fn decide(table: &RouteTable, limits: &Limits, case: &Case) -> Result<Plan, Refusal> {
    check_raw(&case.raw, &HeadBudget::default())?;
    let head = case.request.head();
    let admitted = sample::decide(table, &case.request, sample::client_address()).0?;
    if let Taken::Refused { .. } = limits.take(&admitted) {
        return Err(Refusal::Overloaded);
    }
    if body_need(&admitted, head.method) == BodyNeed::Stream {
        return plan(&admitted, &head, BodyState::Streamed, &FACTS);
    }
    signature::verify(&admitted, &head, &case.body, FACTS.now)?;
    let rewritten = plan_body(&admitted, &head, &case.body, &FACTS)?;
    plan(
        &admitted,
        &head,
        BodyState::of(&case.body, rewritten.as_ref()),
        &FACTS,
    )
}

fn decision(c: &mut Criterion) {
    let open = table_of(knoxcall_bundle::RouteEnvironment {
        open: true,
        ..sample::environment("production")
    });
    let whole = table(1_000);
    let v1 = |request, body: &[u8]| signed(request, SignatureVersion::V1, body);
    let body = json_body(1024);
    for (name, table, case) in [
        ("nothing on, GET", &open, Case::new(request(0), Vec::new())),
        (
            "whole chain, GET",
            &whole,
            Case::new(v1(request(0).key(sample::LIVE_KEY), b""), Vec::new()),
        ),
        (
            "whole chain, POST of 1 KiB",
            &whole,
            Case::new(v1(post(), &body), body.clone()),
        ),
    ] {
        let limits = Limits::of(table);
        assert_eq!(decide(table, &limits, &case).err(), None, "{name}");
        c.bench_function(&format!("decision/{name}"), |b| {
            b.iter(|| decide(table, &limits, black_box(&case)));
        });
    }
}

criterion_group!(benches, decision);
