//! JSON bodies of answers, changed by rules: found by a short path, found at any
//! depth, and not found at all; and headers.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use knoxcall_benches::{admitted, json_body, request, table_of};
use knoxcall_bundle::json_path::JsonPath;
use knoxcall_bundle::{BodyEdit, BodyRule, ResponseHeaders, ResponseSettings, RouteEnvironment};
use knoxcall_filters::RouteTable;
use knoxcall_filters::response_rules::{Answer, BodyAction, ResponseRules};
use knoxcall_filters::sample;

const LIMIT: usize = 2 * 1024 * 1024;

const GET: Answer<'static> = Answer {
    method: &Method::GET,
    status: StatusCode::OK,
};

fn rule(path: &str, edit: BodyEdit) -> Option<BodyRule> {
    let path = JsonPath::parse(path).ok()?;
    Some(BodyRule { path, edit })
}

fn on_bodies(rules: [Option<BodyRule>; 2]) -> ResponseSettings {
    ResponseSettings {
        body: rules.into_iter().flatten().collect(),
        ..ResponseSettings::default()
    }
}

fn serving(response: ResponseSettings) -> RouteTable {
    table_of(RouteEnvironment {
        open: true,
        response,
        ..sample::environment("production")
    })
}

fn with_rules(response: ResponseSettings, run: impl FnOnce(&ResponseRules)) {
    let table = serving(response);
    let request = request(0);
    let admitted = admitted(&table, &request);
    let rules = admitted.service.response_rules.as_deref();
    assert!(rules.is_some());
    rules.map(run);
}

fn answer_head() -> HeaderMap {
    let lines = [
        ("content-type", "application/json; charset=utf-8"),
        ("date", "Mon, 02 Jan 2006 15:04:05 GMT"),
        ("server", "upstream/1.0"),
        ("etag", "\"33a64df5\""),
        ("cache-control", "max-age=0"),
        ("x-upstream-trace", "4711"),
    ];
    let lines = lines.into_iter();
    lines
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

fn bodies(c: &mut Criterion) {
    let mask = || BodyEdit::Mask { keep_last: 4 };
    let cases = [
        ("nothing", [rule("$.absent", mask()), None]),
        ("elements", [rule("$.items[*].id", mask()), None]),
        (
            "every_depth",
            [rule("$..id", mask()), rule("$..absent", BodyEdit::Remove)],
        ),
    ];
    for (name, rules) in cases {
        with_rules(on_bodies(rules), |rules| measure(c, name, rules));
    }
}

fn measure(c: &mut Criterion, name: &str, rules: &ResponseRules) {
    let mut group = c.benchmark_group(format!("response_rules/{name}"));
    for length in [1024, 64 * 1024, 1024 * 1024] {
        let body = Bytes::from(json_body(length));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |b| {
            b.iter(|| {
                let mut headers = answer_head();
                match rules.head(GET, &mut headers, LIMIT) {
                    Ok(BodyAction::Collect(collect)) => {
                        rules.body(collect, black_box(&body), LIMIT, &mut headers)
                    }
                    Ok(BodyAction::Stream) => Ok(Bytes::new()),
                    Err(error) => Err(error),
                }
            });
        });
    }
}

fn headers(c: &mut Criterion) {
    let name = HeaderName::from_static;
    let settings = ResponseSettings {
        headers: ResponseHeaders {
            remove: vec![name("server")],
            rename: vec![(name("x-upstream-trace"), name("x-trace"))],
            set: vec![(name("cache-control"), HeaderValue::from_static("no-store"))],
        },
        ..ResponseSettings::default()
    };
    with_rules(settings, |rules| {
        c.bench_function("response_rules/headers", |b| {
            b.iter(|| {
                let mut headers = black_box(answer_head());
                rules.headers(&mut headers);
                headers
            });
        });
    });
}

criterion_group!(benches, bodies, headers);
