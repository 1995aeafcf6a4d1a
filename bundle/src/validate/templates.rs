//! Templates, and whether what they name exists where they are used.

use std::collections::HashMap;

use crate::ids::{EnvironmentName, SecretId};
use crate::problem::{At, Noun, Problems};
use crate::template::{SecretRef, Segment, Template, TemplateError};

use super::context::{DeclaredSecret, Names};

/// Templates by their text: thousands of routes share a few.
#[derive(Default)]
pub(super) struct Templates {
    parsed: HashMap<String, Result<Template, TemplateError>>,
}

impl Templates {
    pub(super) fn parse(
        &mut self,
        text: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Template> {
        let parsed = match self.parsed.get(text) {
            Some(parsed) => parsed.clone(),
            None => {
                let parsed = Template::parse(text);
                self.parsed.insert(text.to_owned(), parsed.clone());
                parsed
            }
        };
        match parsed {
            Ok(template) => Some(template),
            Err(error) => {
                problems.add(at, format!("does not compile: {error}"), error.remedy());
                None
            }
        }
    }
}

/// Tells what a template names and `environment` does not have.
pub(super) fn check_references(
    template: &Template,
    environment: &EnvironmentName,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    for reference in template.references() {
        match reference {
            Segment::Secret(secret) => check_secret(secret, environment, names, at, problems),
            Segment::Variable(key) => match names.variable(key.as_str()) {
                None => names.tell_unknown(Noun::Variable, key.as_str(), at, problems),
                Some(variable) if !variable.values.contains_key(environment) => problems.add_about(
                    Noun::Variable,
                    at,
                    format!("the variable `{key}` has no value in `{environment}`"),
                    "give it a value for every environment, or for this one",
                ),
                Some(_) => {}
            },
            Segment::Builtin(_) | Segment::Text(_) => {}
        }
    }
}

fn check_secret(
    reference: &SecretRef,
    environment: &EnvironmentName,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let (secret, shown) = match reference {
        SecretRef::Name(name) => (names.secret(name.as_str()), name.to_string()),
        SecretRef::Id(id) => (names.secret_by_id(*id), id.to_string()),
    };
    match secret {
        None => names.tell_unknown(Noun::Secret, &shown, at, problems),
        Some(secret) if !secret.has_value_in(environment) && !secret.optional => problems
            .add_about(
                Noun::Secret,
                at,
                format!("the secret `{shown}` has no value in `{environment}`"),
                "give it one, or declare it optional: true (such requests then get 503)",
            ),
        Some(_) => {}
    }
}

/// Names of secrets, as `body_secrets` has them.
pub(super) fn secret_ids(
    texts: &[String],
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<SecretId> {
    let secrets = texts.iter().enumerate().filter_map(|(index, text)| {
        named_secret(text, names, &at.index(index), problems).map(|secret| secret.id)
    });
    secrets.collect()
}

/// A secret by its name outside of a template. The name is not quoted: it may
/// be the secret itself, in the wrong field.
pub(super) fn named_secret<'n>(
    text: &str,
    names: &'n Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<&'n DeclaredSecret> {
    let name = crate::template::secret_name(text).ok();
    let secret = name.and_then(|name| names.secret(name.as_str()));
    if secret.is_none() {
        let remedy = names.nearest_secret(text);
        problems.add_about(Noun::Secret, at, "names no declared secret", remedy);
    }
    secret
}
