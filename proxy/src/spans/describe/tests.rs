use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use knoxcall_ledger::{Obfuscator, Rules};
use uuid::Uuid;

use super::*;

fn record() -> RequestRecord {
    let secrets = ["s3cr3t-token"].into_iter();
    let masks = Obfuscator::new(&Rules::default(), secrets).unwrap();
    let mut record = RequestRecord::new(Uuid::from_u128(7), SystemTime::now(), Arc::new(masks));
    record.method = "GET".into();
    record.path = "/v1/orders?page=2".into();
    record.protocol = "HTTP/1.1";
    record.status = Some(200);
    record.route = Some("orders".into());
    record.ended_by = EndedBy::Upstream;
    record.total = Duration::from_millis(5);
    record
}

fn described(record: &RequestRecord) -> SpanData {
    let span = OwnSpan {
        id: NonZeroU64::new(3).unwrap(),
        trace_id: 9,
        parent_id: None,
    };
    server_span(span, record, Proto::Https)
}

fn attribute(data: &SpanData, name: &str) -> Option<String> {
    let mut attributes = data.attributes.iter();
    attributes
        .find(|attribute| attribute.key.as_str() == name)
        .map(|attribute| attribute.value.to_string())
}

#[test]
fn is_named_by_method_and_route() {
    let mut record = record();
    let data = described(&record);
    assert_eq!(data.name, "GET orders");
    assert_eq!(data.end_time, record.started_at + record.total);
    assert_eq!(attribute(&data, "url.scheme").as_deref(), Some("https"));
    record.route = None;
    assert_eq!(described(&record).name, "GET");
}

#[test]
fn a_method_that_nobody_knows_is_not_repeated() {
    let mut record = record();
    record.method = "SECRETWORD".into();
    let data = described(&record);
    assert_eq!(data.name, "HTTP orders");
    let method = attribute(&data, "http.request.method");
    assert_eq!(method.as_deref(), Some("_OTHER"));
}

#[test]
fn a_path_loses_its_query_and_its_secrets() {
    let mut record = record();
    record.path = "/v1/s3cr3t-token/x?q=1".into();
    let path = attribute(&described(&record), "url.path").unwrap();
    assert!(path.starts_with("/v1/") && path.ends_with("/x"), "{path}");
    assert!(!path.contains("s3cr3t-token"), "{path}");
}

#[test]
fn a_long_path_is_cut_once_it_is_masked() {
    let mut record = record();
    let secret_over_the_end = "x".repeat(LONGEST_PATH - 4) + "s3cr3t-token";
    record.path = format!("{secret_over_the_end}{}", "y".repeat(10_000)).into();
    let path = attribute(&described(&record), "url.path").unwrap();
    assert_eq!(path.len(), LONGEST_PATH);
    assert!(!path.contains("s3c"), "{path}");
}

#[test]
fn only_what_is_the_servers_fault_is_an_error() {
    for (status, error, ended_by, kind) in [
        (Some(200), None, EndedBy::Upstream, None),
        (Some(404), None, EndedBy::Upstream, None),
        (Some(502), None, EndedBy::Upstream, Some("502")),
        (
            Some(504),
            Some("upstream_timeout"),
            EndedBy::Gateway,
            Some("upstream_timeout"),
        ),
        (None, None, EndedBy::Panic, Some("panic")),
        (None, None, EndedBy::Client, Some("unanswered")),
    ] {
        let mut record = record();
        (record.status, record.error, record.ended_by) = (status, error, ended_by);
        let data = described(&record);
        assert_eq!(attribute(&data, "error.type").as_deref(), kind);
        let is_error = matches!(data.status, Status::Error { .. });
        assert_eq!(is_error, kind.is_some(), "{status:?} {ended_by:?}");
    }
    let mut refused = record();
    (refused.status, refused.error) = (Some(401), Some("unauthorized"));
    let data = described(&refused);
    assert_eq!(data.status, Status::Unset);
    assert_eq!(
        attribute(&data, "error.type").as_deref(),
        Some("unauthorized")
    );
}
