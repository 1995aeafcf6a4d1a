//! Checks the shape of a document against its JSON Schema, all mistakes at
//! once and in our own words (the validator's quote values), and cuts out what
//! is wrong, so that the rest can be judged as well.

mod prune;
mod wording;

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

use crate::problem::{DocPath, PathStep, Problem};

pub(crate) use prune::{Pruned, Sound};

static SCHEMA: LazyLock<Value> = LazyLock::new(crate::document::schema);
static VALIDATOR: LazyLock<Option<Validator>> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).ok());

/// A mistake in the shape, and how to make the rest sound.
struct Misfit {
    problem: Problem,
    /// What has to go. An unknown field is cut alone, anything else with all
    /// that is below it.
    cut: DocPath,
}

/// The problems of shape, and the document without them.
pub(crate) fn check(document: Value) -> (Vec<Problem>, Pruned) {
    let mut pruned = Pruned::new(document);
    let first = misfits(&pruned);
    let mut cuts: Vec<DocPath> = first.iter().map(|misfit| misfit.cut.clone()).collect();
    let problems: Vec<Problem> = first.into_iter().map(|misfit| misfit.problem).collect();
    // Cutting a field that is needed makes its owner unfit: a few rounds.
    while !cuts.is_empty() {
        if !pruned.cut(&cuts) {
            break;
        }
        cuts = misfits(&pruned)
            .into_iter()
            .map(|misfit| misfit.cut)
            .collect();
    }
    pruned.forget(problems.iter());
    (problems, pruned)
}

fn misfits(pruned: &Pruned) -> Vec<Misfit> {
    let Some(validator) = VALIDATOR.as_ref() else {
        return Vec::new();
    };
    if validator.is_valid(pruned.value()) {
        return Vec::new();
    }
    let judged = wording::Judged {
        document: pruned.value(),
        schema: &SCHEMA,
    };
    validator
        .iter_errors(pruned.value())
        .flat_map(|error| wording::misfits(&error, judged))
        .filter(|misfit| !pruned.is_cut(&misfit.cut))
        .collect()
}

/// A JSON pointer as a path. Whether a number is an index is told by what it
/// points into.
fn path_of(pointer: &str, document: &Value) -> DocPath {
    let mut here = Some(document);
    let mut path = DocPath::default();
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        let index = key.parse::<usize>().ok();
        match (here, index) {
            (Some(Value::Array(items)), Some(index)) => {
                path.0.push(PathStep::Index(index));
                here = items.get(index);
            }
            _ => {
                here = here.and_then(|value| value.get(key.as_str()));
                path.0.push(PathStep::Key(key));
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(document: Value) -> Vec<String> {
        let (problems, _) = check(document);
        problems
            .into_iter()
            .map(|problem| {
                let remedy = problem.remedy.unwrap_or_default();
                format!("{}: {} ({remedy})", problem.path, problem.message)
            })
            .collect()
    }

    #[test]
    fn a_sound_document_has_no_problems() {
        assert_eq!(
            told(json!({"tenant": {"slug": "acme"}, "routes": []})),
            [""; 0]
        );
    }

    #[test]
    fn an_unknown_field_comes_with_the_nearest_known_one() {
        let mut told =
            told(json!({"routes": [{"slug": "a", "target_url": "http://x"}], "Routes": []}));
        told.sort();
        assert_eq!(
            told,
            [
                "Routes: is not a known field (did you mean `routes`?)",
                "routes[0].target_url: is not a known field (did you mean `target_base_url`?)",
            ]
        );
    }

    #[test]
    fn a_wrong_type_is_named_and_never_quoted() {
        let mut told = told(json!({
            "workers": "many",
            "routes": [{"slug": 7, "open": "yes", "inject_headers": [1]}],
            "clients": [{"name": "a", "ip_address": 5}],
        }));
        told.sort();
        assert_eq!(
            told,
            [
                "clients[0].ip_address: must be text or a list (put it in quotes)",
                "routes[0].inject_headers: must be a mapping ()",
                "routes[0].open: must be true or false (without quotes)",
                "routes[0].slug: must be text (put it in quotes)",
                "workers: must be a whole number (without quotes)",
            ]
        );
    }

    #[test]
    fn a_missing_field_an_unknown_word_and_a_number_out_of_range() {
        let mut told = told(json!({
            "tenant": {},
            "logging": {"level": "loud"},
            "routes": [{"signature_version": "v3", "rate_limit_requests": 0}],
        }));
        told.sort();
        assert_eq!(
            told,
            [
                "logging.level: is not one of the known words (one of error, warn, info, debug, trace)",
                "routes[0].rate_limit_requests: is too small (at least 1)",
                "routes[0].signature_version: is not one of the known words (one of v1, v2)",
                "tenant: `slug` is missing ()",
            ]
        );
    }

    #[test]
    fn no_value_is_quoted_anywhere() {
        let document = json!({
            "secrets": [
                "hunter2",
                {"name": "a", "hunter2": null},
                {"name": "b", "value": {"hunter2": 1}},
                {"name": "c", "environments": {"production": "hunter2"}},
                {"name": ["hunter2"]},
                {"name": "d", "optional": "hunter2"},
            ],
            "api_keys": "hunter2",
        });
        let (problems, _) = check(document);
        assert_eq!(problems.len(), 7);
        for problem in problems {
            assert!(!problem.message.contains("hunter2"), "{problem:?}");
            assert!(!problem.remedy.unwrap_or_default().contains("hunter2"));
        }
    }

    #[test]
    fn what_is_wrong_is_cut_out_and_the_rest_keeps_its_place() {
        let (problems, pruned) = check(json!({
            "routes": [{"slug": 1}, 7, {"slug": "b", "nonsense": 1}],
        }));
        assert_eq!(problems.len(), 3);
        let pruned = pruned.finish();
        assert_eq!(pruned.value, json!({"routes": [{}, {"slug": "b"}]}));
        let second = DocPath(vec![PathStep::Key("routes".into()), PathStep::Index(1)]);
        assert_eq!(pruned.places.original(&second).to_string(), "routes[2]");
    }
}
