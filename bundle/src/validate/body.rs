//! `inject_body`: a JSON object whose texts are templates.

use serde_json::{Map, Value};

use crate::model::JsonTemplate;
use crate::problem::{At, Problems};
use crate::template::Template;

use super::templates::Templates;

pub(super) fn body(
    fields: &Map<String, Value>,
    templates: &mut Templates,
    at: &At<'_>,
    problems: &mut Problems,
) -> JsonTemplate {
    let fields = fields.iter().filter_map(|(key, value)| {
        let value = value_template(value, templates, &at.key(key), problems)?;
        Some((key.clone(), value))
    });
    JsonTemplate::Object(fields.collect())
}

fn value_template(
    value: &Value,
    templates: &mut Templates,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<JsonTemplate> {
    Some(match value {
        Value::Null => JsonTemplate::Null,
        Value::Bool(value) => JsonTemplate::Bool(*value),
        Value::Number(value) => JsonTemplate::Number(value.clone()),
        Value::String(text) => JsonTemplate::String(templates.parse(text, at, problems)?),
        Value::Object(fields) => body(fields, templates, at, problems),
        Value::Array(items) => JsonTemplate::Array(
            items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| {
                    value_template(item, templates, &at.index(index), problems)
                })
                .collect(),
        ),
    })
}

/// Calls `visit` with every template and its place.
pub(super) fn visit(
    template: &JsonTemplate,
    at: &At<'_>,
    visitor: &mut dyn FnMut(&Template, &At<'_>),
) {
    match template {
        JsonTemplate::Null | JsonTemplate::Bool(_) | JsonTemplate::Number(_) => {}
        JsonTemplate::String(text) => visitor(text, at),
        JsonTemplate::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &at.index(index), visitor);
            }
        }
        JsonTemplate::Object(fields) => {
            for (key, field) in fields {
                visit(field, &at.key(key), visitor);
            }
        }
    }
}
