//! A record as a line of the request log. It is one line of valid JSON without
//! control characters, and no secret value is in it: not as it is, not within
//! JSON's escapes, not percent-encoded once or twice.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use http::HeaderValue;
use knoxcall_fuzz::{Sent, contains};
use knoxcall_ledger::{Body, BodyKind, Encoder, Obfuscator, RequestRecord, Rules, Text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use uuid::Uuid;

const SECRETS: [&str; 3] = ["hunter22", "p/w \"d\\+\u{e9}&=", "hunter22-and-more"];

static MASKS: LazyLock<Arc<Obfuscator>> = LazyLock::new(|| {
    let rules = Rules {
        headers: vec!["x-pin".to_owned()],
        query: vec!["session".to_owned()],
        json_paths: vec!["$.card.number".to_owned(), "$..pin".to_owned()],
        patterns: vec![r"\b\d{4}-\d{4}\b".to_owned()],
    };
    Arc::new(Obfuscator::new(&rules, SECRETS.into_iter()).unwrap())
});

fuzz_target!(|data: &[u8]| {
    let Some(sent) = Sent::read(data) else { return };
    let mut line = Vec::new();
    Encoder::default().encode(&record(&sent), &mut line);

    assert_eq!(line.pop(), Some(b'\n'));
    let text = std::str::from_utf8(&line).expect("UTF-8");
    assert!(!text.chars().any(char::is_control));
    let value: Value = serde_json::from_str(text).expect("valid JSON");
    assert!(value.is_object());
    check_no_secret(&line);
    check_texts(&value);
});

fn record(sent: &Sent<'_>) -> RequestRecord {
    let headers = sent.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().into(), value.as_bytes().into()));
    let agent = sent.headers.get("user-agent").map(HeaderValue::as_bytes);
    RequestRecord {
        method: sent.method.as_str().into(),
        host: sent.host.into(),
        path: sent.target.into(),
        user_agent: agent.map(Text::from),
        error_detail: Some(sent.body.into()),
        headers: headers.collect(),
        body: Some(Body {
            bytes: sent.body.into(),
            kind: kind(sent),
            truncated: false,
        }),
        ..RequestRecord::new(Uuid::nil(), UNIX_EPOCH, MASKS.clone())
    }
}

fn kind(sent: &Sent<'_>) -> BodyKind {
    match sent.value("content-type") {
        b"application/json" => BodyKind::Json,
        b"application/x-www-form-urlencoded" => BodyKind::Form,
        _other => BodyKind::Other,
    }
}

/// Every text in the value, names included.
fn check_texts(value: &Value) {
    match value {
        Value::String(text) => check_no_secret(text.as_bytes()),
        Value::Array(items) => items.iter().for_each(check_texts),
        Value::Object(members) => {
            for (name, value) in members {
                check_no_secret(name.as_bytes());
                check_texts(value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_no_secret(text: &[u8]) {
    let once = percent_decoded(text);
    let twice = percent_decoded(&once);
    for secret in SECRETS {
        assert!(!contains(text, secret), "as it is");
        assert!(!contains(&once, secret), "percent-encoded");
        assert!(!contains(&twice, secret), "percent-encoded twice");
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(high).and(digit(low)).is_some() => {
                let byte = digit(high).unwrap_or(0) * 16 + digit(low).unwrap_or(0);
                out.push(byte as u8);
                after
            }
            _ => {
                out.push(*first);
                after
            }
        };
    }
    out
}
