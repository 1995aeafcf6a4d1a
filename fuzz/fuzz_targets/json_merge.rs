//! A route's JSON merged into a client's. The result is what merging the two
//! as values gives, and what the route does not name is there byte for byte.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;
use knoxcall_bundle::template::Template;
use knoxcall_bundle::{Injection, JsonTemplate, RouteEnvironment};
use knoxcall_filters::plan::plan_body;
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::{Refusal, RouteTable};
use knoxcall_fuzz::{FACTS, admitted, gateway, request};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let injection = Injection {
        headers: Vec::new(),
        body: Some(template(&ours("{{timestamp}}"))),
    };
    gateway(RouteEnvironment {
        injection,
        ..sample::environment("production")
    })
});

static ADMITTED: LazyLock<Request> =
    LazyLock::new(|| request(&Method::POST).header("content-type", "application/json"));

/// What the route adds.
fn ours(at: &str) -> Value {
    json!({ "a": { "b": { "c": 1, "d": [true, { "e": "x" }] }, "f": null }, "at": at })
}

fn template(value: &Value) -> JsonTemplate {
    match value {
        Value::Null => JsonTemplate::Null,
        Value::Bool(value) => JsonTemplate::Bool(*value),
        Value::Number(number) => JsonTemplate::Number(number.clone()),
        Value::String(text) => JsonTemplate::String(Template::parse(text).unwrap()),
        Value::Array(items) => JsonTemplate::Array(items.iter().map(template).collect()),
        Value::Object(members) => JsonTemplate::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), template(value)))
                .collect(),
        ),
    }
}

fuzz_target!(|body: &[u8]| {
    let admitted = admitted(&TABLE, &ADMITTED);
    let new = match plan_body(&admitted, &ADMITTED.head(), body, &FACTS) {
        Ok(new) => {
            new.expect("a route with an injected body changes it")
                .content
        }
        Err(refusal) => {
            assert_eq!(refusal, Refusal::BodyNotJson);
            return;
        }
    };
    let ours = ours(&FACTS.now.0.to_string());
    if body.is_empty() {
        assert_eq!(serde_json::from_slice::<Value>(&new).ok(), Some(ours));
        return;
    }
    let before: BTreeMap<String, &RawValue> = serde_json::from_slice(body).expect("an object");
    let after: BTreeMap<String, &RawValue> = serde_json::from_slice(&new).expect("an object");
    for (name, value) in &before {
        if ours.get(name).is_none() {
            assert_eq!(after[name].get(), value.get());
        }
    }
    // Numbers and nesting beyond what a value can hold are the upstream's.
    if let Ok(mut expected) = serde_json::from_slice::<Value>(body) {
        merge(&mut expected, ours);
        assert_eq!(serde_json::from_slice::<Value>(&new).ok(), Some(expected));
    }
});

fn merge(into: &mut Value, ours: Value) {
    match (into, ours) {
        (Value::Object(into), Value::Object(ours)) => merge_members(into, ours),
        (into, ours) => *into = ours,
    }
}

fn merge_members(into: &mut Map<String, Value>, ours: Map<String, Value>) {
    for (name, value) in ours {
        merge(into.entry(name).or_insert(Value::Null), value);
    }
}
