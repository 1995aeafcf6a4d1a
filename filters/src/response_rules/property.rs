//! What must hold of every body and every set of rules: the walk over the text
//! does what the rules would do to the parsed value, and nothing panics.

use http::{HeaderMap, HeaderName, HeaderValue};
use knoxcall_bundle::json_path::{JsonPath, JsonStep};
use knoxcall_bundle::{BodyEdit, BodyRule, ResponseHeaders};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

use super::headers::HeaderRules;
use super::mask::mask;
use super::tests::{at, remove};
use super::transform::BodyRules;

const LIMIT: usize = 1 << 20;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c\"\\\\é\n]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let name = select(vec!["a", "b", "c", "d\"\\"]);
        let member = (name.prop_map(str::to_owned), inner.clone());
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            vec(member, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let step = select(vec![
        ".a", ".b", ".c", "[0]", "[1]", "[2]", "[*]", ".*", "..a", "..b",
    ]);
    vec(step, 1..4).prop_map(|steps| format!("${}", steps.concat()))
}

fn rules() -> impl Strategy<Value = Vec<BodyRule>> {
    let edit = prop_oneof![
        Just(BodyEdit::Remove),
        Just(BodyEdit::Replace("[\"new\"]".into())),
        (0_u8..3).prop_map(|keep_last| BodyEdit::Mask { keep_last }),
    ];
    let rule = (path(), edit).prop_map(|(path, edit)| at(&path, edit));
    vec(rule, 1..5)
}

fn transformed(rules: &[BodyRule], text: &str) -> String {
    let compiled = BodyRules::compile(rules).unwrap();
    let changed = compiled.transform(text.as_bytes(), LIMIT).unwrap();
    changed.map_or_else(|| text.to_owned(), |new| String::from_utf8(new).unwrap())
}

/// The same, done to a value: places are found first, then changed.
fn expected(rules: &[BodyRule], value: &Value) -> Option<Value> {
    changed(value, &mut Vec::new(), rules)
}

fn changed<'v>(value: &'v Value, here: &mut Vec<Step<'v>>, rules: &[BodyRule]) -> Option<Value> {
    if let Some(rule) = rules.iter().find(|rule| matches(rule.path.steps(), here)) {
        return match &rule.edit {
            BodyEdit::Remove => None,
            BodyEdit::Replace(with) => serde_json::from_str(with).ok(),
            BodyEdit::Mask { keep_last } => {
                serde_json::from_str(&mask(&value.to_string(), usize::from(*keep_last))).ok()
            }
        };
    }
    let mut child = |step, child| {
        here.push(step);
        let new = changed(child, here, rules);
        here.pop();
        new
    };
    Some(match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| child(Step::Element(index), item))
            .collect(),
        Value::Object(members) => {
            let members = members.iter();
            let kept: Map<String, Value> = members
                .filter_map(|(name, member)| {
                    Some((name.clone(), child(Step::Member(name), member)?))
                })
                .collect();
            Value::Object(kept)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

#[derive(Clone, Copy)]
enum Step<'v> {
    Member(&'v str),
    Element(usize),
}

fn matches(path: &[JsonStep], here: &[Step<'_>]) -> bool {
    let (Some((step, path)), Some((own, here))) = (path.split_first(), here.split_first()) else {
        return path.is_empty() && here.is_empty();
    };
    match (step, own) {
        (JsonStep::Every, _) => matches(path, here),
        (JsonStep::Member(name), Step::Member(own)) => name == own && matches(path, here),
        (JsonStep::Element(index), Step::Element(own)) => index == own && matches(path, here),
        (JsonStep::Member(_), Step::Element(_)) | (JsonStep::Element(_), Step::Member(_)) => false,
        (JsonStep::Below(name), own) => {
            let is_it = matches!(own, Step::Member(own) if own == name);
            let below = [std::slice::from_ref(step), path].concat();
            (is_it && matches(path, here)) || matches(&below, here)
        }
    }
}

fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    let headers = headers.iter();
    headers
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect()
}

proptest! {
    #[test]
    fn the_text_becomes_what_the_value_would(value in json(), rules in rules()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let new: Value = serde_json::from_str(&transformed(&rules, &text)).unwrap();
            prop_assert_eq!(Some(new), expected(&rules, &value));
        }
    }

    #[test]
    fn removing_a_path_twice_is_removing_it_once(value in json(), path in path()) {
        let text = value.to_string();
        let (once, twice) = (vec![remove(&path)], vec![remove(&path), remove(&path)]);
        prop_assert_eq!(transformed(&once, &text), transformed(&twice, &text));
    }

    #[test]
    fn masking_a_masked_body_changes_nothing(
        value in json(), path in path(), keep_last in 0_u8..3
    ) {
        let rules = [at(&path, BodyEdit::Mask { keep_last })];
        let once = transformed(&rules, &value.to_string());
        prop_assert_eq!(transformed(&rules, &once), once);
    }

    #[test]
    fn masked_text_never_holds_the_original(text in "[^*]{1,300}", keep_last in 0_usize..=16) {
        let raw = Value::from(text.clone()).to_string();
        let masked: String = serde_json::from_str(&mask(&raw, keep_last)).unwrap();
        prop_assert!(!masked.contains(&text));
        let shown = masked.trim_start_matches('*');
        prop_assert!(shown.chars().count() <= keep_last && text.ends_with(shown));
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}",:\\a0-9 é]{0,40}"#, rules in rules()) {
        let compiled = BodyRules::compile(&rules).unwrap();
        let changed = compiled.transform(text.as_bytes(), LIMIT);
        let is_json = serde_json::from_str::<Value>(&text).is_ok();
        prop_assert!(changed.is_ok() || !is_json);
    }

    #[test]
    fn header_rules_twice_are_header_rules_once(
        headers in vec((select(vec!["x-a", "x-b", "x-c", "x-d"]), "[a-z]{0,3}"), 0..8)
    ) {
        let name = HeaderName::from_static;
        let rules = HeaderRules::compile(&ResponseHeaders {
            remove: vec![name("x-a")],
            rename: vec![(name("x-b"), name("x-c"))],
            set: vec![(name("x-d"), HeaderValue::from_static("set"))],
        });
        let mut once = header_map(&headers);
        rules.apply(&mut once);
        let mut twice = once.clone();
        rules.apply(&mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_path_makes_it_panic(text in r#"\$[.\[\]*'"a0]{0,12}"#) {
        if let Ok(path) = JsonPath::parse(&text) {
            let rule = BodyRule { path, edit: BodyEdit::Remove };
            transformed(&[rule], r#"{"a":[{"a":0}],"0":{"a":[]}}"#);
        }
    }
}
