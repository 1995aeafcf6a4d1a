//! Records for the tests of this crate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::{Body, BodyKind, EndedBy, Masked, Obfuscator, RequestRecord, Rules};

pub(crate) fn bare() -> RequestRecord {
    masked_by(Obfuscator::default())
}

pub(crate) fn masked_by(obfuscator: Obfuscator) -> RequestRecord {
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_042);
    RequestRecord::new(Uuid::from_u128(1), started_at, Arc::new(obfuscator))
}

pub(crate) fn with_secrets(values: &[&str]) -> RequestRecord {
    masked_by(Obfuscator::new(&Rules::default(), values.iter().copied()).unwrap())
}

/// A record that is told from others by its path.
pub(crate) fn numbered(number: usize) -> RequestRecord {
    let mut record = bare();
    record.path = format!("/{number}").into();
    record
}

/// Every field has a value.
pub(crate) fn full() -> RequestRecord {
    RequestRecord {
        tenant_id: Some(Uuid::from_u128(2)),
        route_id: Some(Uuid::from_u128(3)),
        route: Some("orders".into()),
        environment: Some("production".into()),
        sandbox: true,
        method: "POST".into(),
        host: "a1b2c3d4.acme.example.com".into(),
        path: "/v1/orders?page=2&token=abc".into(),
        protocol: "HTTP/1.1",
        status: Some(502),
        upstream_status: Some(500),
        upstream_host: Some("api.internal".into()),
        upstream_address: Some("[2001:db8::1]:8443".parse().unwrap()),
        attempts: 2,
        total: Duration::from_micros(12_345),
        connect: Some(Duration::from_micros(800)),
        first_byte: Some(Duration::from_millis(11)),
        request_bytes: 1024,
        response_bytes: 2048,
        source_ip: Some("203.0.113.7".parse().unwrap()),
        peer_ip: Some("2001:db8::7".parse().unwrap()),
        user_agent: Some("curl/8.5 \"quoted\"".into()),
        client_id: Some(Uuid::from_u128(4)),
        client_name: Some("Warehouse".into()),
        key_id: Some("key-7".into()),
        identification_method: Some("api_key"),
        authorized: true,
        error: Some("upstream_failed"),
        error_detail: Some("connection reset".into()),
        rate_limited: true,
        secrets_masked: Masked::default(),
        signature_valid: Some(true),
        secrets_used: ["STRIPE_KEY".into(), "CRM_TOKEN".into()].into(),
        client_request_id: Some("abc-1".into()),
        trace_id: None,
        client_origin: Some("sdk_intercept"),
        ended_by: EndedBy::Upstream,
        headers: vec![
            ("accept".into(), "*/*".into()),
            ("Authorization".into(), "Bearer abc".into()),
        ],
        body: Some(Body {
            bytes: "{\"a\":1}\n".into(),
            kind: BodyKind::Json,
            truncated: true,
        }),
        ..bare()
    }
}
