//! What a route adds to a request: headers, members of a JSON body, and the
//! secrets that it lets clients name in theirs. Compiled once per bundle;
//! whatever no request can change is rendered then.

mod body;
mod header;
mod json;
mod liquid;
mod text;
mod values;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use knoxcall_bundle::ids::{EnvironmentName, SecretId};
use knoxcall_bundle::template::Template;
use knoxcall_bundle::{JsonTemplate, Route, Tenant};
use zeroize::Zeroizing;

pub(crate) use body::BodyType;
pub use body::NewBody;
pub use values::RequestValues;
pub(crate) use values::Values;

use crate::placeholders::Placeholders;
use crate::refusal::Refusal;
use header::HeaderSource;
use json::Json;
use text::Text;

#[derive(Debug, Default)]
pub struct Injector {
    headers: Box<[(HeaderName, HeaderSource)]>,
    body: Option<BodyTemplate>,
    /// Absent where no secret is allowed: a client's body is then not read.
    placeholders: Option<Box<Placeholders>>,
    /// The names of the secrets in `headers`.
    secrets: Arc<[Arc<str>]>,
}

#[derive(Debug)]
struct BodyTemplate {
    json: Json,
    secrets: Box<[Arc<str>]>,
}

impl Injector {
    /// A secret that is missing in this environment is no error here: the
    /// requests that need it are refused.
    pub fn compile(
        tenant: &Tenant,
        route: &Route,
        environment: &EnvironmentName,
        headers: &[(HeaderName, Template)],
        body: Option<&JsonTemplate>,
        body_secrets: &[SecretId],
    ) -> Self {
        let values = Values {
            tenant,
            route,
            environment,
        };
        let mut secrets = Vec::new();
        let headers = headers
            .iter()
            .map(|(name, template)| {
                let source = HeaderSource::compile(template, &values, &mut secrets);
                (name.clone(), source)
            })
            .collect();
        Self {
            headers,
            body: body.map(|template| BodyTemplate::compile(template, &values)),
            placeholders: Placeholders::compile(&values, body_secrets).map(Box::new),
            secrets: secrets.into(),
        }
    }

    pub fn header_names(&self) -> impl ExactSizeIterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    pub fn headers(
        &self,
        request: &RequestValues<'_>,
    ) -> impl Iterator<Item = Result<(HeaderName, HeaderValue), Refusal>> {
        self.headers
            .iter()
            .map(|(name, source)| Ok((name.clone(), source.value(request)?)))
    }

    /// The fields of the configuration whose templates depend on no request and
    /// cannot be rendered, so that they fail for each.
    pub fn failing(&self) -> impl Iterator<Item = String> {
        let failing = |source: &HeaderSource| matches!(source, HeaderSource::Failing);
        let headers = self
            .headers
            .iter()
            .filter(move |(_, source)| failing(source));
        let body = self.body.iter().filter(|body| body.json.fails());
        headers
            .map(|(name, _)| format!("inject_headers.{name}"))
            .chain(body.map(|_| "inject_body".to_owned()))
    }

    /// The names of the secrets in the injected headers.
    pub fn secrets(&self) -> &Arc<[Arc<str>]> {
        &self.secrets
    }

    pub fn merges_json(&self) -> bool {
        self.body.is_some()
    }

    /// Does it depend on the method whether a body is changed?
    pub fn rewrites_bodies(&self) -> bool {
        self.body.is_some() || self.placeholders.is_some()
    }

    /// Is the body of such a request changed, or searched for placeholders?
    pub fn rewrites_body(&self, method: &Method) -> bool {
        self.rewrites_bodies() && has_content(method)
    }
}

impl BodyTemplate {
    fn compile(template: &JsonTemplate, values: &Values<'_>) -> Self {
        let mut secrets = Vec::new();
        Self {
            json: Json::compile(template, values, &mut secrets),
            secrets: secrets.into(),
        }
    }
}

/// What a template makes of every request alike.
pub(crate) fn fixed_text(template: &Template, values: &Values<'_>) -> Option<Zeroizing<String>> {
    match Text::compile(template, values, &mut Vec::new()) {
        Text::Fixed(text) => Some(text),
        Text::Pieces(_) | Text::Liquid(_) | Text::Unavailable | Text::Failing => None,
    }
}

/// The methods whose content is defined; bodies of others are left alone.
fn has_content(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

#[cfg(test)]
mod tests;
