//! Rules on answers. The input is lines of rules and headers, an empty line,
//! and the upstream's body: `remove PATH`, `mask KEEP PATH`, `replace JSON PATH`,
//! `name: value`. What the client gets is JSON, not larger than the limit, the
//! same if each rule stands twice, and without what was removed from every
//! depth.

#![no_main]

use http::{HeaderMap, Method, StatusCode};
use knoxcall_bundle::json_path::{JsonPath, JsonStep};
use knoxcall_bundle::{BodyEdit, BodyRule, ResponseDecoding, RouteEnvironment};
use knoxcall_filters::response_rules::{Answer, BodyAction, TransformError};
use knoxcall_filters::sample;
use knoxcall_fuzz::{admitted, cut, gateway, headers, request};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

const LIMIT: usize = 32 * 1024;

struct Input<'d> {
    rules: Vec<BodyRule>,
    headers: HeaderMap,
    body: &'d [u8],
}

impl<'d> Input<'d> {
    fn read(text: &'d [u8]) -> Option<Self> {
        let end = memchr::memmem::find(text, b"\n\n")?;
        let (lines, body) = text.split_at(end);
        let (mut rules, mut fields) = (Vec::new(), Vec::new());
        for line in lines.split(|byte| *byte == b'\n') {
            match rule(std::str::from_utf8(line).ok()?) {
                Some(rule) => rules.push(rule),
                None => fields.push(line),
            }
        }
        Some(Self {
            rules,
            headers: headers(&fields.join(&b'\n'))?,
            body: body.strip_prefix(b"\n\n")?,
        })
    }
}

fn rule(line: &str) -> Option<BodyRule> {
    let (kind, rest) = cut(line.as_bytes(), b' ');
    let (value, path) = cut(rest, b' ');
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (edit, path) = match kind {
        b"remove" => (BodyEdit::Remove, rest),
        b"mask" => {
            let keep_last = text(value)?.parse().ok()?;
            (BodyEdit::Mask { keep_last }, path)
        }
        b"replace" => {
            let with = serde_json::from_str::<&RawValue>(text(value)?).ok()?;
            (BodyEdit::Replace(with.get().into()), path)
        }
        _ => return None,
    };
    let path = JsonPath::parse(text(path)?).ok()?;
    Some(BodyRule { path, edit })
}

/// What a client gets, where anything was collected.
fn answered(rules: &[BodyRule], input: &Input<'_>) -> Option<Result<Vec<u8>, TransformError>> {
    let mut environment = RouteEnvironment {
        ..sample::environment("production")
    };
    environment.response.body = rules.to_vec();
    environment.response.decoding = ResponseDecoding::Decode;
    let table = gateway(environment);
    let request = request(&Method::GET);
    let admitted = admitted(&table, &request);
    let rules = admitted.service.response_rules.as_deref()?;
    let mut headers = input.headers.clone();
    let answer = Answer {
        method: &Method::GET,
        status: StatusCode::OK,
    };
    match rules.head(answer, &mut headers, LIMIT) {
        Ok(BodyAction::Collect(collect)) => {
            let body = input.body.to_vec().into();
            let new = rules.body(collect, &body, LIMIT, &mut headers);
            Some(new.map(|new| new.to_vec()))
        }
        Ok(BodyAction::Stream) => None,
        Err(error) => Some(Err(error)),
    }
}

fn has_name(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(members) => {
            members.contains_key(name) || members.values().any(|member| has_name(member, name))
        }
        Value::Array(items) => items.iter().any(|item| has_name(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fuzz_target!(|text: &[u8]| {
    let Some(input) = Input::read(text) else {
        return;
    };
    let Some(new) = answered(&input.rules, &input) else {
        return;
    };
    let doubled: Vec<BodyRule> = input
        .rules
        .iter()
        .flat_map(|rule| [rule.clone(), rule.clone()])
        .collect();
    assert_eq!(answered(&doubled, &input), Some(new.clone()));
    let Ok(new) = new else {
        return;
    };
    assert!(new.len() <= LIMIT);
    if input.rules.is_empty() || new.is_empty() {
        return;
    }
    serde_json::from_slice::<&RawValue>(&new).expect("what was JSON is JSON still");
    let [BodyRule { path, edit }] = input.rules.as_slice() else {
        return;
    };
    if let ([JsonStep::Below(name)], BodyEdit::Remove) = (path.steps(), edit)
        && let Ok(value) = serde_json::from_slice::<Value>(&new)
    {
        assert!(!has_name(&value, name));
    }
});
