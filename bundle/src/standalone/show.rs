//! The effective configuration: what the file says, defaults filled in,
//! secrets redacted.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{LoadOptions, read};
use crate::document::{Document, RouteDocument, SecretDocument};
use crate::report::Report;
use crate::validate::fill_route_defaults;

const REDACTED: &str = "[redacted]";

/// The configuration that would hold, for people to read. Every secret's value
/// is `[redacted]`, and so is literal text where a credential is injected.
pub fn effective(path: &Path, options: &LoadOptions<'_>) -> Result<Value, Report> {
    let read = read(path, options)?;
    let settings = &read.loaded.settings;
    let mut document = Document {
        admin: read.process.admin,
        workers: u32::try_from(settings.workers.get()).ok(),
        trusted_proxies: read.process.trusted_proxies,
        limits: read.process.limits,
        counters: read.process.counters,
        upstream: read.process.upstream,
        logging: read.process.logging,
        listeners: Vec::new(),
        tenant: read.tenant.tenant,
        environments: read.tenant.environments,
        variables: read.tenant.variables,
        secrets: Vec::new(),
        api_keys: read.tenant.api_keys,
        clients: read.tenant.clients,
        routes: read.tenant.routes,
    };
    for route in &mut document.routes {
        redact_literals(route);
        fill_route_defaults(route);
    }
    let Ok(mut shown) = serde_json::to_value(&document) else {
        return Err(Report::of_file(
            &path.display().to_string(),
            "cannot be shown".to_owned(),
            "",
        ));
    };
    let listeners = settings.listeners.iter();
    let listeners: Value = listeners
        .map(|listener| json!({ "address": listener.address.to_string() }))
        .collect();
    let secrets: Value = read.tenant.secrets.iter().map(shown_secret).collect();
    let declared = read
        .loaded
        .bundle
        .tenants
        .iter()
        .flat_map(|tenant| &tenant.environments);
    let environments: Value = declared
        .map(|environment| json!({ "name": environment.name.as_str(), "sandbox": environment.sandbox }))
        .collect();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("listeners".to_owned(), listeners);
        fields.insert("environments".to_owned(), environments);
        fields.insert("secrets".to_owned(), secrets);
    }
    Ok(without_nulls(shown))
}

/// Where a value comes from may be told, the value never.
fn shown_secret(secret: &SecretDocument) -> Value {
    let source = |env: &Option<String>, file: &Option<String>| json!({ "from_env": env, "from_file": file, "value": REDACTED });
    let environments: Map<String, Value> = secret
        .environments
        .iter()
        .map(|(name, from)| (name.clone(), source(&from.from_env, &from.from_file)))
        .collect();
    let mut shown = json!({
        "name": secret.name,
        "id": secret.id,
        "optional": secret.optional,
        "description": secret.description,
        "environments": environments,
    });
    let has_common =
        secret.from_env.is_some() || secret.from_file.is_some() || secret.value.is_some();
    if let (Some(fields), Value::Object(common), true) = (
        shown.as_object_mut(),
        source(&secret.from_env, &secret.from_file),
        has_common,
    ) {
        fields.extend(common);
    }
    shown
}

/// A credential that was written into a template by hand is one all the same.
fn redact_literals(route: &mut RouteDocument) {
    let overrides = route.environments.values_mut().flatten();
    for settings in std::iter::once(&mut route.settings).chain(overrides) {
        let configs = settings.method_configs.iter_mut().flatten();
        let headers = configs.filter_map(|config| config.inject_headers.as_mut());
        for headers in settings.inject_headers.iter_mut().chain(headers) {
            for (name, value) in headers {
                if carries_a_credential(name) && !value.contains("{{") {
                    *value = REDACTED.to_owned();
                }
            }
        }
    }
}

fn carries_a_credential(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    [
        "auth",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
        "signature",
    ]
    .iter()
    .any(|word| header.contains(word))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, field)| !field.is_null())
                .map(|(name, field)| (name, without_nulls(field)))
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
