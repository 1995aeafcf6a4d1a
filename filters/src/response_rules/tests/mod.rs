//! Heads and bodies of answers, as clients get them.

mod bodies;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use knoxcall_bundle::json_path::JsonPath;
use knoxcall_bundle::{BodyEdit, BodyRule, ResponseHeaders};

use super::*;
use crate::sample;

const LIMIT: usize = 64 * 1024;

pub(super) fn at(path: &str, edit: BodyEdit) -> BodyRule {
    let path = JsonPath::parse(path).unwrap();
    BodyRule { path, edit }
}

pub(super) fn remove(path: &str) -> BodyRule {
    at(path, BodyEdit::Remove)
}

pub(super) fn replace(path: &str, with: &str) -> BodyRule {
    at(path, BodyEdit::Replace(with.into()))
}

pub(super) fn mask(path: &str, keep_last: u8) -> BodyRule {
    at(path, BodyEdit::Mask { keep_last })
}

fn compiled(settings: ResponseSettings) -> ResponseRules {
    ResponseRules::compile(&settings).unwrap()
}

fn on_bodies(body: Vec<BodyRule>) -> ResponseRules {
    compiled(ResponseSettings {
        body,
        ..ResponseSettings::default()
    })
}

fn decoding(body: Vec<BodyRule>) -> ResponseRules {
    compiled(ResponseSettings {
        body,
        decoding: ResponseDecoding::Decode,
        ..ResponseSettings::default()
    })
}

fn lenient(body: Vec<BodyRule>) -> ResponseRules {
    compiled(ResponseSettings {
        body,
        not_json: NotJson::Pass,
        ..ResponseSettings::default()
    })
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn head(
    rules: &ResponseRules,
    (method, status): (&Method, u16),
    headers: &mut HeaderMap,
) -> Result<BodyAction, TransformError> {
    let status = StatusCode::from_u16(status).unwrap();
    rules.head(Answer { method, status }, headers, LIMIT)
}

fn judged(
    rules: &ResponseRules,
    status: u16,
    lines: &[(&'static str, &'static str)],
) -> Result<BodyAction, TransformError> {
    head(rules, (&Method::GET, status), &mut map(lines))
}

fn collects(judged: Result<BodyAction, TransformError>) -> Collect {
    match judged {
        Ok(BodyAction::Collect(collect)) => collect,
        Ok(BodyAction::Stream) | Err(_) => panic!("{judged:?}"),
    }
}

/// The body that a client gets, and its head.
fn answered(
    rules: &ResponseRules,
    lines: &[(&'static str, &'static str)],
    body: &[u8],
) -> Result<(Bytes, HeaderMap), TransformError> {
    let mut headers = map(lines);
    let collect = collects(head(rules, (&Method::GET, 200), &mut headers));
    let body = Bytes::copy_from_slice(body);
    let body = rules.body(collect, &body, LIMIT, &mut headers)?;
    Ok((body, headers))
}

// === headers ===

fn header_rules() -> ResponseRules {
    let name = HeaderName::from_static;
    compiled(ResponseSettings {
        headers: ResponseHeaders {
            remove: vec![name("server"), name("x-trace")],
            rename: vec![(name("x-old"), name("x-new"))],
            set: vec![(name("cache-control"), HeaderValue::from_static("no-store"))],
        },
        ..ResponseSettings::default()
    })
}

#[test]
fn headers_are_removed_renamed_and_set_on_a_streamed_answer() {
    let mut headers = map(&[
        ("server", "nginx"),
        ("x-trace", "1"),
        ("x-trace", "2"),
        ("x-old", "a"),
        ("x-old", "b"),
        ("x-new", "upstream's own"),
        ("cache-control", "public"),
        ("content-length", "5"),
    ]);
    let action = head(&header_rules(), (&Method::GET, 200), &mut headers);
    assert_eq!(action, Ok(BodyAction::Stream));
    let expected = map(&[
        ("x-new", "a"),
        ("x-new", "b"),
        ("cache-control", "no-store"),
        ("content-length", "5"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn a_name_that_is_not_there_is_not_renamed_over_another() {
    let mut headers = map(&[("x-new", "upstream's own")]);
    header_rules().headers(&mut headers);
    assert_eq!(headers["x-new"], "upstream's own");
}

#[test]
fn headers_of_a_collected_answer_are_changed_with_its_body() {
    let rules = compiled(ResponseSettings {
        headers: ResponseHeaders {
            rename: vec![(
                HeaderName::from_static("etag"),
                HeaderName::from_static("x-etag"),
            )],
            ..ResponseHeaders::default()
        },
        body: vec![remove("$.a")],
        ..ResponseSettings::default()
    });
    let lines = [JSON, ("etag", "\"1\"")];
    let (_, headers) = answered(&rules, &lines, br#"{"a":1}"#).unwrap();
    assert!(
        !headers.contains_key("x-etag"),
        "what vouches for the old body is dropped before it is renamed"
    );
    let (_, headers) = answered(&rules, &lines, br#"{"b":1}"#).unwrap();
    assert_eq!(headers["x-etag"], "\"1\"");
}

// === which bodies are collected ===

#[test]
fn only_json_is_collected_whatever_its_status() {
    let rules = on_bodies(vec![remove("$.a")]);
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "application/vnd.x+json;v=1",
    ] {
        for status in [200, 201, 301, 404, 422, 500, 503] {
            collects(judged(&rules, status, &[("content-type", kind)]));
        }
    }
}

#[test]
fn refuses_a_body_that_does_not_say_it_is_json() {
    let rules = on_bodies(vec![remove("$.a")]);
    for lines in [
        &[][..],
        &[("content-type", "text/html")],
        &[("content-type", "text/json")],
        &[("content-type", "text/event-stream")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/x-ndjson")],
        &[("content-type", "text/html"), ("content-length", "12")],
        &[
            ("content-type", "text/html"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
        ],
    ] {
        for status in [200, 302, 502] {
            let judged = judged(&rules, status, lines);
            assert_eq!(judged, Err(TransformError::NotJson), "{lines:?}");
        }
    }
}

#[test]
fn passes_what_is_not_json_where_the_route_says_so() {
    let rules = lenient(vec![remove("$.a")]);
    let stream = Ok(BodyAction::Stream);
    assert_eq!(
        judged(&rules, 200, &[("content-type", "text/html")]),
        stream
    );
    assert_eq!(judged(&rules, 200, &[]), stream);
    assert_eq!(judged(&rules, 101, &[]), stream);
    collects(judged(&rules, 200, &[JSON]));
}

#[test]
fn refuses_a_type_that_could_be_json_to_others_even_where_leniency_is_asked_for() {
    let rules = lenient(vec![remove("$.a")]);
    for (lines, error) in [
        (
            &[("content-type", "text/html"), JSON][..],
            TransformError::NotJson,
        ),
        (
            &[("content-type", "text/html, application/json")],
            TransformError::NotJson,
        ),
        (
            &[("content-type", "application/json; charset=utf-16")],
            TransformError::Encoded,
        ),
    ] {
        assert_eq!(judged(&rules, 200, lines), Err(error), "{lines:?}");
    }
}

#[test]
fn a_switch_of_protocols_is_not_json() {
    let rules = on_bodies(vec![remove("$.a")]);
    for lines in [&[][..], &[JSON], &[("content-length", "0")]] {
        let judged = judged(&rules, 101, lines);
        assert_eq!(judged, Err(TransformError::NotJson), "{lines:?}");
    }
}

#[test]
fn an_answer_without_a_body_needs_no_change() {
    let rules = on_bodies(vec![remove("$.a")]);
    let html = ("content-type", "text/html");
    let stream = Ok(BodyAction::Stream);
    assert_eq!(judged(&rules, 204, &[html]), stream);
    assert_eq!(judged(&rules, 304, &[html]), stream);
    assert_eq!(judged(&rules, 103, &[html]), stream);
    assert_eq!(
        judged(&rules, 200, &[html, ("content-length", "0")]),
        stream
    );
    let of_head = head(&rules, (&Method::HEAD, 200), &mut map(&[html]));
    assert_eq!(of_head, stream);
}

#[test]
fn an_answer_to_head_says_nothing_of_a_body_that_get_does_not_have() {
    let lines = [JSON, ("content-length", "100"), ("etag", "\"1\"")];
    let mut headers = map(&lines);
    let rules = on_bodies(vec![remove("$.a")]);
    head(&rules, (&Method::HEAD, 200), &mut headers).unwrap();
    assert_eq!(headers, map(&[JSON]));

    let html = ("content-type", "text/html");
    let coded = [html, ("content-encoding", "br"), ("content-length", "9")];
    let mut headers = map(&coded);
    head(&rules, (&Method::HEAD, 200), &mut headers).unwrap();
    assert_eq!(headers, map(&coded));
    head(&decoding(Vec::new()), (&Method::HEAD, 200), &mut headers).unwrap();
    assert_eq!(headers, map(&[html]));
}

#[test]
fn refuses_a_part_of_a_body() {
    let rules = on_bodies(vec![remove("$.a")]);
    let partial = Err(TransformError::Partial);
    assert_eq!(judged(&rules, 206, &[JSON]), partial);
    let range = ("content-range", "bytes 0-1/9");
    assert_eq!(judged(&rules, 200, &[JSON, range]), partial);
}

#[test]
fn refuses_to_decode_a_part_of_a_body() {
    let rules = decoding(Vec::new());
    let coded = ("content-encoding", "br");
    let range = ("content-range", "bytes 0-1/9");
    let partial = Err(TransformError::Partial);
    assert_eq!(judged(&rules, 206, &[coded, range]), partial);
    assert_eq!(judged(&rules, 206, &[coded]), partial);
    assert_eq!(judged(&rules, 200, &[coded, range]), partial);
    assert_eq!(judged(&rules, 206, &[range]), Ok(BodyAction::Stream));
}

#[test]
fn refuses_a_coding_that_it_was_not_asked_to_decode() {
    let rules = on_bodies(vec![remove("$.a")]);
    for coding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        let judged = judged(&rules, 200, &[JSON, ("content-encoding", coding)]);
        assert_eq!(judged, Err(TransformError::Encoded), "{coding}");
    }
    collects(judged(
        &rules,
        200,
        &[JSON, ("content-encoding", "identity")],
    ));
    let rules = decoding(vec![remove("$.a")]);
    for coding in ["deflate", "gzip, br", "compress"] {
        let judged = judged(&rules, 200, &[JSON, ("content-encoding", coding)]);
        assert_eq!(judged, Err(TransformError::Encoded), "{coding}");
    }
}

#[test]
fn without_rules_on_bodies_only_what_is_coded_is_collected_to_be_decoded() {
    let rules = decoding(Vec::new());
    let stream = Ok(BodyAction::Stream);
    assert_eq!(
        judged(&rules, 200, &[("content-type", "text/html")]),
        stream
    );
    assert_eq!(
        judged(&rules, 200, &[("content-encoding", "deflate")]),
        stream
    );
    let collect = collects(judged(&rules, 404, &[("content-encoding", "br")]));
    assert_eq!(collect.coding, Some(Coding::Brotli));
    let headers_alone = header_rules();
    let coded = [JSON, ("content-encoding", "gzip")];
    assert_eq!(judged(&headers_alone, 200, &coded), stream);
}

#[test]
fn refuses_a_body_that_says_it_is_too_large_before_it_is_read() {
    let rules = on_bodies(vec![remove("$.a")]);
    let judged = |length| judged(&rules, 200, &[JSON, ("content-length", length)]);
    collects(judged("65536"));
    assert_eq!(judged("65537"), Err(TransformError::TooLarge));
    assert_eq!(judged("99999999999999999"), Err(TransformError::TooLarge));
}

// === the head of a changed body ===

const VOUCHING: [(&str, &str); 7] = [
    ("last-modified", "Mon, 02 Jan 2006 15:04:05 GMT"),
    ("etag", "\"1\""),
    ("content-md5", "a"),
    ("digest", "b"),
    ("repr-digest", "c"),
    ("content-digest", "d"),
    ("accept-ranges", "bytes"),
];

#[test]
fn a_changed_body_has_its_length_and_no_validators_of_the_old_one() {
    let lines = [&VOUCHING[..], &[JSON, ("transfer-encoding", "chunked")]].concat();
    let rules = on_bodies(vec![remove("$.a")]);
    let (body, headers) = answered(&rules, &lines, br#"{"a":1,"b":2}"#).unwrap();
    assert_eq!(body, r#"{"b":2}"#);
    assert_eq!(headers, map(&[JSON, ("content-length", "7")]));
}

#[test]
fn an_unchanged_body_keeps_them() {
    let lines = [&VOUCHING[..], &[JSON, ("content-length", "7")]].concat();
    let rules = on_bodies(vec![remove("$.a")]);
    let (body, headers) = answered(&rules, &lines, br#"{"b":2}"#).unwrap();
    assert_eq!(body, r#"{"b":2}"#);
    assert_eq!(headers, map(&lines));
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_decoded_body_says_no_coding_and_keeps_no_validators() {
    let lines = [&VOUCHING[..], &[JSON, ("content-encoding", "gzip")]].concat();
    let coded = gzipped(br#"{"a":1,"b":2}"#);
    let rules = decoding(vec![remove("$.a")]);
    let (body, headers) = answered(&rules, &lines, &coded).unwrap();
    assert_eq!(body, r#"{"b":2}"#);
    assert_eq!(headers, map(&[JSON, ("content-length", "7")]));
    let (body, headers) = answered(&decoding(Vec::new()), &lines, &coded).unwrap();
    assert_eq!(body, r#"{"a":1,"b":2}"#);
    assert_eq!(headers, map(&[JSON, ("content-length", "13")]));
}

#[test]
fn refuses_a_body_that_is_not_encoded_as_it_says_or_too_large_once_decoded() {
    let lines = [JSON, ("content-encoding", "gzip")];
    let rules = decoding(vec![remove("$.a")]);
    let error = answered(&rules, &lines, br#"{"a":1}"#).unwrap_err();
    assert_eq!(error, TransformError::Undecodable);
    let bomb = gzipped(&vec![b' '; LIMIT + 1]);
    let error = answered(&rules, &lines, &bomb).unwrap_err();
    assert_eq!(error, TransformError::TooLarge);
}

// === compiled ===

#[test]
fn a_route_that_changes_nothing_has_no_rules_and_equal_rules_are_kept_once() {
    assert!(ResponseRules::compile(&ResponseSettings::default()).is_none());
    let settings = ResponseSettings {
        body: vec![remove("$.a")],
        ..ResponseSettings::default()
    };
    let mut tenant = sample::tenant();
    for number in 0..3 {
        let mut route = sample::route(number);
        for here in &mut route.environments {
            if number > 0 {
                here.response = settings.clone();
            }
        }
        tenant.routes.push(route);
    }
    let table = sample::table(tenant);
    let rules = |number| {
        let route = &table.tenants[0].routes_by_id[&sample::route_id(number)];
        route.services[0].response_rules.clone()
    };
    assert!(rules(0).is_none());
    assert!(Arc::ptr_eq(&rules(1).unwrap(), &rules(2).unwrap()));
}

#[test]
fn every_failure_is_one_refusal_to_the_caller() {
    for error in [
        TransformError::NotJson,
        TransformError::Malformed,
        TransformError::TooDeep,
        TransformError::TooLarge,
        TransformError::Encoded,
        TransformError::Undecodable,
        TransformError::Partial,
    ] {
        assert_eq!(error.refusal().code(), "transform_failed");
        assert_eq!(error.refusal().status(), 502);
    }
}
