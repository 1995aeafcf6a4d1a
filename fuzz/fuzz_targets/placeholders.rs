//! Placeholders in a client's own body. Only the allowed secret comes out of
//! it, whatever its value looks like; a value never breaks out of the place
//! where it was put; a body without placeholders is left alone.

#![no_main]

use std::sync::LazyLock;

use http::Method;
use knoxcall_bundle::{RouteEnvironment, Variable};
use knoxcall_filters::plan::plan_body;
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{Refusal, RouteTable};
use knoxcall_fuzz::{FACTS, Sent, admitted, contains, gateway_with, request, secret};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// Of a secret that the route does not allow.
const FORBIDDEN: &str = "forbidden-8f3a61c2e9";

/// Everything that could end a text, a parameter or an element, and more
/// placeholders.
const ALLOWED: &str =
    "a\"b\\c&d=e<f>g'h%7B{{secret:forbidden}}{{var:region}}{{secret_id:x}}\u{e9}\u{2028}";

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let (allowed, forbidden) = (
        secret(8, "allowed", ALLOWED),
        secret(9, "forbidden", FORBIDDEN),
    );
    let region = Variable {
        key: sample::name("region"),
        values: [(
            sample::name("production"),
            "{{secret:forbidden}}\"&<".into(),
        )]
        .into(),
    };
    let environment = RouteEnvironment {
        body_secrets: vec![allowed.id],
        ..sample::environment("production")
    };
    gateway_with(vec![allowed, forbidden], vec![region], environment)
});

static ADMITTED: LazyLock<Request> = LazyLock::new(|| request(&Method::POST));

fuzz_target!(|data: &[u8]| {
    let Some(sent) = Sent::read(data) else { return };
    let body = sent.body;
    if contains(body, FORBIDDEN) {
        return;
    }
    let admitted = admitted(&TABLE, &ADMITTED);
    match plan_body(&admitted, &sent.head(), body, &FACTS) {
        Ok(Some(new)) => {
            assert!(may_hold_placeholders(body));
            assert!(!contains(&new.content, FORBIDDEN));
            assert!(new.content.len() <= body.len() + body.len().max(1024 * 1024));
            assert!(new.secrets.iter().all(|name| **name == *"allowed"));
            check_structure(&sent, &new.content);
        }
        Ok(None) => {}
        Err(refusal) => assert!(matches!(
            refusal,
            Refusal::SecretNotAllowed | Refusal::BodyTooLarge | Refusal::Malformed(_)
        )),
    }
});

fn may_hold_placeholders(body: &[u8]) -> bool {
    contains(body, "{{") || contains(&body.to_ascii_lowercase(), "%7b")
}

/// What a value may not change, by the type of the body.
fn check_structure(sent: &Sent<'_>, new: &[u8]) {
    let count = |text: &[u8], byte| memchr::memchr_iter(byte, text).count();
    let same = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|byte| count(sent.body, *byte) == count(new, *byte))
    };
    match sent.value("content-type") {
        b"application/json" if is_json(sent.body) => {
            assert!(is_json(new));
            assert_eq!(skeleton(sent.body), skeleton(new));
        }
        b"application/x-www-form-urlencoded" => assert!(same(b"&=;")),
        b"application/xml" => assert!(same(b"<>\"'")),
        _other => {}
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// JSON without what stands in its strings.
fn skeleton(json: &[u8]) -> Vec<u8> {
    let (mut quoted, mut escaped) = (false, false);
    let mut skeleton = Vec::new();
    for byte in json {
        if *byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && *byte == b'\\' && !escaped;
        if !quoted {
            skeleton.push(*byte);
        }
    }
    skeleton
}
