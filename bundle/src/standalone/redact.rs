//! Which injected text may be shown. Where a header's or member's name speaks
//! of a credential, only placeholders and the word that names an
//! authentication scheme are: what else stands there may be the credential.

use serde_json::Value;

use crate::document::{MethodConfigDocument, RouteDocument};
use crate::template::{Segment, Template};

pub(super) const REDACTED: &str = "[redacted]";

/// Anywhere in a name.
const PARTS: [&str; 11] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "pass",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
    "bearer",
];

/// As one word of a name.
const WORDS: [&str; 7] = ["jwt", "mac", "otp", "pin", "pw", "sid", "sig"];

/// What stands before credentials (RFC 9110, 11.1) and is none.
const SCHEMES: [&str; 8] = [
    "apikey", "api-key", "basic", "bearer", "dpop", "key", "splunk", "token",
];

pub(super) fn redact(route: &mut RouteDocument) {
    let overrides = route.environments.values_mut().flatten();
    for settings in std::iter::once(&mut route.settings).chain(overrides) {
        settings.inject_headers.iter_mut().for_each(headers);
        settings.inject_body.iter_mut().for_each(body);
        if let Some(of_answers) = &mut settings.response_headers {
            headers(&mut of_answers.set);
        }
        for config in settings.method_configs.iter_mut().flatten() {
            method(config);
        }
    }
}

fn method(config: &mut MethodConfigDocument) {
    config.inject_headers.iter_mut().for_each(headers);
    config.inject_body.iter_mut().for_each(body);
}

fn headers(headers: &mut std::collections::BTreeMap<String, String>) {
    for (name, value) in headers {
        if names_a_credential(name) && !is_harmless(value) {
            *value = REDACTED.to_owned();
        }
    }
}

fn body(fields: &mut serde_json::Map<String, Value>) {
    for (name, value) in fields {
        member(value, names_a_credential(name));
    }
}

/// `credential`: the name of a member around it speaks of one.
fn member(value: &mut Value, credential: bool) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                member(value, credential || names_a_credential(name));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| member(item, credential)),
        Value::String(text) if credential && !is_harmless(text) => *text = REDACTED.to_owned(),
        Value::Number(_) if credential => *value = Value::from(REDACTED),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn names_a_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
        || name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| WORDS.contains(&word))
}

/// Empty, or placeholders with nothing of their own around them.
fn is_harmless(text: &str) -> bool {
    match Template::parse(text) {
        Ok(Template::Segments(segments)) => segments.iter().all(|segment| match segment {
            Segment::Text(text) => {
                let word = text.trim().to_ascii_lowercase();
                word.is_empty() || (segments.len() > 1 && SCHEMES.contains(&word.as_str()))
            }
            Segment::Secret(_) | Segment::Variable(_) | Segment::Builtin(_) => true,
        }),
        Ok(Template::Liquid(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_after_a_scheme_are_harmless() {
        for text in [
            "",
            "{{secret:a}}",
            "Bearer {{secret:a}}",
            "Basic {{var:user}}",
            "{{client.id}} {{secret:a}}",
        ] {
            assert!(is_harmless(text), "{text}");
        }
    }

    #[test]
    fn text_of_its_own_is_not() {
        for text in [
            "hunter2",
            "Bearer hunter2",
            "Bearer hunter2-{{environment}}",
            "{{secret:a}}hunter2",
            "{% if environment == 'production' %}hunter2{% endif %}",
            "{{ 'hunter2' | upcase }}",
            "token",
        ] {
            assert!(!is_harmless(text), "{text}");
        }
    }

    #[test]
    fn names_are_known_by_parts_and_words() {
        for name in [
            "Authorization",
            "X-Api-Key",
            "accessToken",
            "pin",
            "user_pw",
        ] {
            assert!(names_a_credential(name), "{name}");
        }
        for name in ["X-Region", "shopping", "pinned", "client"] {
            assert!(!names_a_credential(name), "{name}");
        }
    }
}
