//! The effective configuration: what the file says, defaults filled in,
//! secrets redacted.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::redact::{REDACTED, redact};
use super::{LoadOptions, Loaded, Read, read};
use crate::document::{
    Document, ListenerDocument, ListenerTlsDocument, ProcessDocument, SecretDocument,
    TenantDocument, TlsVersionName,
};
use crate::model::Environment;
use crate::report::Report;
use crate::settings::Listener;
use crate::validate::fill_route_defaults;

/// The configuration that would hold, for people to read. Every secret's value
/// is `[redacted]`, and so is literal text where a credential is injected.
pub fn effective(path: &Path, options: &LoadOptions<'_>) -> Result<Value, Report> {
    let Read {
        loaded,
        process,
        tenant,
    } = read(path, options)?;
    let declared = loaded.bundle.tenants.iter();
    let environments = declared.flat_map(|tenant| &tenant.environments);
    let listeners = shown_listeners(&loaded.settings.listeners, &process.listeners);
    let parts = [
        ("listeners", listeners),
        (
            "environments",
            environments.map(shown_environment).collect(),
        ),
        ("secrets", tenant.secrets.iter().map(shown_secret).collect()),
    ];
    let document = document(&loaded, process, tenant);
    let shown = serde_json::to_value(document);
    let Ok(Value::Object(mut fields)) = shown else {
        let file = path.display().to_string();
        return Err(Report::of_file(&file, "cannot be shown".to_owned(), ""));
    };
    fields.extend(parts.map(|(name, part)| (name.to_owned(), part)));
    let shown = fields.into_iter().map(|(name, part)| match (&*name, part) {
        ("routes", Value::Array(routes)) => (name, routes.into_iter().map(shown_route).collect()),
        (_, part) => (name, without_nulls(part)),
    });
    Ok(Value::Object(shown.collect()))
}

/// All but what is shown in a form of its own.
fn document(loaded: &Loaded, process: ProcessDocument, tenant: TenantDocument) -> Document {
    let mut routes = tenant.routes;
    for route in &mut routes {
        redact(route);
        fill_route_defaults(route);
    }
    Document {
        listeners: Vec::new(),
        admin: process.admin,
        workers: u32::try_from(loaded.settings.workers.get()).ok(),
        trusted_proxies: process.trusted_proxies,
        limits: process.limits,
        counters: process.counters,
        upstream: process.upstream,
        logging: process.logging,
        tracing: process.tracing,
        tenant: tenant.tenant,
        environments: Vec::new(),
        variables: tenant.variables,
        secrets: Vec::new(),
        api_keys: tenant.api_keys,
        clients: tenant.clients,
        routes,
    }
}

/// As they are in effect; files are named, not shown.
fn shown_listeners(listeners: &[Listener], written: &[ListenerDocument]) -> Value {
    let written = written.iter().map(Some).chain(std::iter::repeat(None));
    let shown = listeners.iter().zip(written);
    shown
        .map(|(listener, written)| shown_listener(listener, written))
        .collect()
}

fn shown_listener(listener: &Listener, written: Option<&ListenerDocument>) -> Value {
    let tls = written
        .and_then(|written| written.tls.clone())
        .map(|tls| ListenerTlsDocument {
            min_version: Some(tls.min_version.unwrap_or(TlsVersionName::Tls12)),
            client_auth: Some(tls.client_auth_or_default()),
            ..tls
        });
    without_nulls(json!({
        "address": listener.address.to_string(),
        "http2": listener.http2,
        "proxy_protocol": written.and_then(|written| written.proxy_protocol.as_ref()),
        "tls": tls,
    }))
}

fn shown_environment(environment: &Environment) -> Value {
    json!({ "name": environment.name.as_str(), "sandbox": environment.sandbox })
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

/// What says nothing is left out, but for places where a null is a value: an
/// environment that is as the base, a member that is injected.
fn shown_route(route: Value) -> Value {
    let Value::Object(fields) = route else {
        return route;
    };
    let fields = fields.into_iter().filter(|(_, field)| !field.is_null());
    let fields = fields.map(|(name, field)| match name.as_str() {
        "environments" | "inject_body" | "method_configs" | "response_body" => (name, field),
        _ => (name, without_nulls(field)),
    });
    Value::Object(fields.collect())
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
