//! Numbers as people write them. Every number of the configuration is a whole
//! one, so `5.0` and `1e2` mean 5 and 100. What is put into bodies is
//! another's business: a number that JSON would spell differently (`007`,
//! `1.10`, twenty digits) is refused there, because it might be meant as text.

use serde_json::Value;

use crate::problem::{DocPath, PathStep, Problem};
use crate::yaml::Node;

const INJECTED: &str = "inject_body";

/// A rule with this field puts what is in that one into bodies.
const REPLACING: &str = "replace";
const REPLACEMENT: &str = "with";

fn is_sent(field: &str, replaces: bool) -> bool {
    field == INJECTED || (replaces && field == REPLACEMENT)
}

/// The largest number that a float counts up to one by one.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Makes whole numbers of floats that are whole, but for injected ones.
pub(super) fn make_whole(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let replaces = fields.contains_key(REPLACING);
            let fields = fields.iter_mut();
            fields
                .filter(|(name, _)| !is_sent(name, replaces))
                .for_each(|(_, field)| make_whole(field));
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(whole) = float.and_then(whole) {
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn whole(float: f64) -> Option<i64> {
    if float.fract() != 0.0 || float.abs() > MAX_EXACT {
        return None;
    }
    format!("{float:.0}").parse().ok()
}

/// Every number put into bodies that would be sent in another spelling.
pub(super) fn respelled(root: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(routes) = root.get("routes") {
        let path = DocPath(vec![PathStep::Key("routes".to_owned())]);
        search(routes, path, false, &mut found);
    }
    found
}

fn search(node: &Node, path: DocPath, sent: bool, found: &mut Vec<Problem>) {
    if sent && node.is_respelled() {
        found.push(Problem {
            path,
            line: None,
            message: "is a number that would be sent in another spelling".to_owned(),
            remedy: Some("put it in quotes to send text, or write it as JSON does".to_owned()),
            other: None,
            follows_from: None,
        });
        return;
    }
    let replaces = node.get(REPLACING).is_some();
    for (step, child) in node.children() {
        let sent = sent || matches!(&step, PathStep::Key(key) if is_sent(key, replaces));
        search(child, path.clone().then(step), sent, found);
    }
}
