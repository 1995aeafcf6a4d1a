//! Secrets and variables: their names, and a value for each environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{SecretDocument, SecretSource, VariableDocument};
use crate::ids::{EnvironmentName, SecretId, TenantId, VariableKey};
use crate::model::Variable;
use crate::problem::{At, Noun, Problems};
use crate::secret::SecretValue;
use crate::template::secret_name;

use super::context::{DeclaredSecret, Names, Unique, id_or_derived, named};
use super::{Origin, Sources};

pub(super) fn secrets(
    documents: &[SecretDocument],
    tenant: TenantId,
    names: &Names<'_>,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Vec<DeclaredSecret> {
    let section = At::ROOT.key("secrets");
    let (mut seen, mut seen_ids) = (Unique::default(), Unique::default());
    let mut secrets = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let at = section.index(index);
        let declared = secret(document, index, tenant, names, &at, sources, problems);
        let Some(declared) = declared else { continue };
        seen.check(
            declared.name.as_str(),
            index,
            "secrets",
            &at.key("name"),
            problems,
        );
        seen_ids.check_id(
            declared.id.0,
            index,
            ("secrets", document.id.as_deref()),
            &at,
            problems,
        );
        secrets.push(declared);
    }
    secrets
}

fn secret(
    document: &SecretDocument,
    index: usize,
    tenant: TenantId,
    names: &Names<'_>,
    at: &At<'_>,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<DeclaredSecret> {
    let name = match secret_name(&document.name) {
        Ok(name) => Some(name),
        Err(error) => {
            let remedy = "spaces count as underscores";
            problems.add(&at.key("name"), error.to_string(), remedy);
            None
        }
    };
    let known_name = name.as_ref().map_or("", |name| name.as_str());
    let of = (tenant, "secret", known_name);
    let id = id_or_derived(document.id.as_deref(), of, at, problems);
    check_environments(document, names, &at.key("environments"), problems);
    let placed = placed_sources(document, names);
    if placed.is_empty() && document.environments.is_empty() && !document.optional {
        let remedy = "add from_env, from_file or environments";
        problems.add_missing(at, "has no value", remedy);
    }
    let mut values = BTreeMap::new();
    for placed in &placed {
        let read = placed.read(at, sources, problems);
        values.extend(read.map(|value| (placed.environment.clone(), value)));
    }
    let sourced = placed.into_iter().map(|placed| placed.environment);
    Some(DeclaredSecret {
        id: SecretId(id),
        name: name?,
        optional: document.optional,
        values,
        sourced: sourced.collect(),
        index,
    })
}

fn check_environments(
    document: &SecretDocument,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let known: Vec<_> = names
        .environments
        .iter()
        .map(EnvironmentName::as_str)
        .collect();
    for text in document.environments.keys() {
        if !known.contains(&text.as_str()) {
            // The key is not quoted: it may be a value in the wrong place.
            problems.add_about(
                Noun::Environment,
                &at.key(text),
                "is not a declared environment",
                format!("one of {}", known.join(", ")),
            );
        }
    }
}

/// Where the value for one environment is.
struct PlacedSource {
    environment: EnvironmentName,
    source: SecretSource,
    /// Told under `environments`, not of the secret as a whole.
    is_own: bool,
}

/// A source for each environment that has one: its own, else the common one.
fn placed_sources(document: &SecretDocument, names: &Names<'_>) -> Vec<PlacedSource> {
    let common = SecretSource {
        from_env: document.from_env.clone(),
        from_file: document.from_file.clone(),
        value: document.value.clone(),
    };
    let has_common =
        common.from_env.is_some() || common.from_file.is_some() || common.value.is_some();
    let environments = names.environments.iter();
    environments
        .filter_map(|environment| {
            let own = document.environments.get(environment.as_str());
            let source = own.or(has_common.then_some(&common))?;
            Some(PlacedSource {
                environment: environment.clone(),
                source: source.clone(),
                is_own: own.is_some(),
            })
        })
        .collect()
}

impl PlacedSource {
    fn read(
        &self,
        at: &At<'_>,
        sources: &mut dyn Sources,
        problems: &mut Problems,
    ) -> Option<SecretValue> {
        let environments = at.key("environments");
        let own = environments.key(self.environment.as_str());
        value(
            &self.source,
            if self.is_own { &own } else { at },
            sources,
            problems,
        )
    }
}

fn value(
    source: &SecretSource,
    at: &At<'_>,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<SecretValue> {
    let env = source
        .from_env
        .as_deref()
        .map(|name| ("from_env", Origin::Environment(name)));
    let file = source
        .from_file
        .as_deref()
        .map(|path| ("from_file", Origin::File(path)));
    let inline = source
        .value
        .as_deref()
        .map(|value| ("value", Origin::Inline(value)));
    let mut given = env.into_iter().chain(file).chain(inline);
    let (Some((field, origin)), None) = (given.next(), given.next()) else {
        let message = "needs exactly one of from_env, from_file and value";
        problems.add_missing(at, message, "");
        return None;
    };
    match sources.secret(origin) {
        Ok(value) => Some(value),
        Err(unavailable) => {
            problems.add(&at.key(field), unavailable.message, unavailable.remedy);
            None
        }
    }
}

pub(super) fn variables(
    documents: &[VariableDocument],
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<Variable> {
    let section = At::ROOT.key("variables");
    let mut seen = Unique::default();
    let mut variables = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let at = section.index(index);
        let Some(key) = named::<VariableKey>(&document.key, &at.key("key"), problems) else {
            continue;
        };
        seen.check(key.as_str(), index, "variables", &at.key("key"), problems);
        variables.push(Variable {
            key,
            values: variable_values(document, names, &at, problems),
        });
    }
    variables
}

fn variable_values(
    document: &VariableDocument,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> BTreeMap<EnvironmentName, Arc<str>> {
    let mut values = BTreeMap::new();
    if let Some(common) = &document.value {
        let common: Arc<str> = common.as_str().into();
        values.extend(
            names
                .environments
                .iter()
                .map(|name| (name.clone(), common.clone())),
        );
    }
    let by_environment = at.key("environments");
    for (text, value) in &document.environments {
        let environment = names.environment(text, &by_environment.key(text), problems);
        values.extend(environment.map(|name| (name, Arc::from(value.as_str()))));
    }
    if values.is_empty() {
        problems.add_missing(at, "has no value", "add value or environments");
    }
    values
}
