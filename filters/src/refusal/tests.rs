//! The catalogue is complete, distinct and documented.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::*;

fn body(refusal: &Refusal, request_id: &str) -> serde_json::Value {
    let mut out = Vec::new();
    refusal.envelope(request_id, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn the_envelope_has_type_message_and_request_id() {
    let mut out = Vec::new();
    Refusal::Unauthorized.envelope("0199-abc", &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"error":{"type":"unauthorized","message":"unauthorized","request_id":"0199-abc"}}"#
    );
}

#[test]
fn a_request_id_cannot_break_out_of_the_envelope() {
    let envelope = body(&Refusal::Internal, "\"}\r\n");
    assert_eq!(envelope["error"]["request_id"], "\"}\r\n");
}

#[test]
fn codes_are_distinct_and_snake_case() {
    let all = Refusal::all_examples();
    let malformations = Malformation::ALL.len();
    let codes: HashSet<_> = all.iter().map(Refusal::code).collect();
    assert_eq!(codes.len(), all.len() - malformations + 1);
    for code in codes {
        assert!(
            code.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{code}"
        );
    }
}

#[test]
fn the_rate_limit_that_ran_out_is_named() {
    let scopes = [
        LimitScope::Tenant,
        LimitScope::Route,
        LimitScope::Client,
        LimitScope::Key,
        LimitScope::Method,
    ];
    let retry_after = Duration::from_secs(7);
    let messages: HashSet<_> = scopes
        .map(|limit| Refusal::RateLimited { limit, retry_after }.message())
        .into();
    assert_eq!(messages.len(), scopes.len());
}

#[test]
fn every_405_says_what_is_allowed_and_every_429_when_to_retry() {
    for refusal in Refusal::all_examples() {
        let status = refusal.status();
        assert_eq!(refusal.allow().is_some(), status == 405, "{refusal}");
        if status == 429 {
            assert!(refusal.retry_after().is_some(), "{refusal}");
        }
    }
    let allowed = vec![Method::GET, Method::PUT];
    assert_eq!(
        Refusal::MethodNotAllowed { allowed }.allow().unwrap(),
        "GET, PUT"
    );
}

#[test]
fn a_code_has_one_status() {
    let mut statuses = HashMap::new();
    for refusal in Refusal::all_examples() {
        let status = statuses.entry(refusal.code()).or_insert(refusal.status());
        assert_eq!(*status, refusal.status());
    }
}

#[test]
fn no_malformed_request_keeps_its_connection() {
    for what in Malformation::ALL {
        assert!(Refusal::Malformed(what).closes_connection());
    }
    assert!(!Refusal::Unauthorized.closes_connection());
}

/// `UPDATE_GOLDEN=1 cargo test -p knoxcall-filters` writes the page.
#[test]
fn the_documented_table_is_this_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, markdown_table()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(page).unwrap(), markdown_table());
}
