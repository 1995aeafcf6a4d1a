//! The validator's errors in our words: what was expected, never what was
//! found, because that may be a secret.

use jsonschema::JsonType;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::{Misfit, path_of};
use crate::names::nearest;
use crate::problem::{DocPath, PathStep, Problem};

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) document: &'a Value,
    pub(super) schema: &'a Value,
}

pub(super) fn misfits(error: &ValidationError<'_>, judged: Judged<'_>) -> Vec<Misfit> {
    let path = path_of(error.instance_path().as_str(), judged.document);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_fields(error, judged.schema);
            let unknown = unexpected.iter();
            unknown
                .map(|field| unknown_field(&path, field, &known))
                .collect()
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            alternatives(error, context, judged)
        }
        kind => {
            let (message, remedy) = words(kind, error.instance());
            vec![misfit(path, message, remedy)]
        }
    }
}

fn misfit(path: DocPath, message: String, remedy: String) -> Misfit {
    Misfit {
        cut: path.clone(),
        problem: Problem {
            path,
            line: None,
            message,
            remedy: Some(remedy).filter(|text| !text.is_empty()),
            other: None,
            follows_from: None,
        },
    }
}

fn unknown_field(path: &DocPath, field: &str, known: &[&str]) -> Misfit {
    let near = nearest(field, known.iter().copied());
    let remedy = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    let path = path.clone().then(PathStep::Key(field.to_owned()));
    misfit(path, "is not a known field".to_owned(), remedy)
}

/// The fields of the schema whose `additionalProperties` refused.
fn known_fields<'a>(error: &ValidationError<'_>, schema: &'a Value) -> Vec<&'a str> {
    let pointer = error.schema_path().as_str();
    let owner = pointer.rsplit_once('/').map_or("", |(owner, _)| owner);
    let properties = schema
        .pointer(owner)
        .and_then(|owner| owner.get("properties"));
    let fields = properties.and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, _)| name.as_str()).collect()
}

/// Of several forms, the one that was meant: not one whose very type differs.
fn alternatives(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    judged: Judged<'_>,
) -> Vec<Misfit> {
    let path = path_of(error.instance_path().as_str(), judged.document);
    let here = error.instance_path().as_str();
    let wrong_type = |errors: &[ValidationError<'static>]| {
        errors.iter().any(|nested| {
            nested.instance_path().as_str() == here
                && matches!(nested.kind(), ValidationErrorKind::Type { .. })
        })
    };
    let words = known_words(context);
    if !words.is_empty() {
        let (message, remedy) = one_of(&words);
        return vec![misfit(path, message, remedy)];
    }
    if let Some(meant) = context.iter().find(|errors| !wrong_type(errors)) {
        return meant
            .iter()
            .flat_map(|nested| misfits(nested, judged))
            .collect();
    }
    let mut expected: Vec<&'static str> = Vec::new();
    for nested in context.iter().flatten() {
        if let ValidationErrorKind::Type { kind } = nested.kind() {
            expected.extend(type_names(kind));
        }
    }
    let (message, remedy) = wrong_type_words(&expected, error.instance());
    vec![misfit(path, message, remedy)]
}

/// The words of an enumeration whose members are documented one by one.
fn known_words(context: &[Vec<ValidationError<'static>>]) -> Vec<String> {
    let mut words = Vec::new();
    for nested in context.iter().flatten() {
        match nested.kind() {
            ValidationErrorKind::Constant { expected_value } => words.push(expected_value.as_ref()),
            ValidationErrorKind::Enum { options } => {
                words.extend(options.as_array().into_iter().flatten());
            }
            _ => {}
        }
    }
    texts(words.into_iter())
}

fn texts<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<String> {
    values
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn one_of(words: &[String]) -> (String, String) {
    (
        "is not one of the known words".to_owned(),
        format!("one of {}", words.join(", ")),
    )
}

fn words(kind: &ValidationErrorKind, found: &Value) -> (String, String) {
    match kind {
        ValidationErrorKind::Type { kind } => wrong_type_words(&type_names(kind), found),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (format!("`{name}` is missing"), String::new())
        }
        ValidationErrorKind::Enum { options } => {
            one_of(&texts(options.as_array().into_iter().flatten()))
        }
        ValidationErrorKind::Constant { expected_value } => {
            one_of(&texts(std::iter::once(expected_value.as_ref())))
        }
        ValidationErrorKind::Minimum { limit } => {
            ("is too small".to_owned(), format!("at least {limit}"))
        }
        ValidationErrorKind::Maximum { limit } => {
            ("is too large".to_owned(), format!("at most {limit}"))
        }
        other => (
            format!("does not fit the schema ({})", other.keyword()),
            "see `knoxcall config schema`".to_owned(),
        ),
    }
}

fn wrong_type_words(expected: &[&'static str], found: &Value) -> (String, String) {
    let remedy = match (expected.first().copied(), found) {
        (Some(TEXT), Value::Bool(_) | Value::Number(_)) => "put it in quotes",
        (Some(BOOLEAN | INTEGER | NUMBER), Value::String(_)) => "without quotes",
        _ => "",
    };
    (
        format!("must be {}", expected.join(" or ")),
        remedy.to_owned(),
    )
}

const TEXT: &str = "text";
const BOOLEAN: &str = "true or false";
const INTEGER: &str = "a whole number";
const NUMBER: &str = "a number";

/// `null` is not named: it means the same as leaving the field out.
fn type_names(kind: &TypeKind) -> Vec<&'static str> {
    let types: Vec<JsonType> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(set) => set.iter().collect(),
    };
    types.into_iter().filter_map(type_name).collect()
}

fn type_name(json_type: JsonType) -> Option<&'static str> {
    match json_type {
        JsonType::Array => Some("a list"),
        JsonType::Boolean => Some(BOOLEAN),
        JsonType::Integer => Some(INTEGER),
        JsonType::Null => None,
        JsonType::Number => Some(NUMBER),
        JsonType::Object => Some("a mapping"),
        JsonType::String => Some(TEXT),
    }
}
