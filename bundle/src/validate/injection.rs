//! What is injected: headers and body of a route, and of single methods.

use std::collections::{BTreeMap, HashMap};

use http::{HeaderName, Method};
use serde_json::{Map, Value};

use crate::document::MethodConfigDocument;
use crate::ids::EnvironmentName;
use crate::model::{Injection, JsonTemplate, MethodConfig};
use crate::problem::{At, Problems};
use crate::template::Template;

use super::context::Names;
use super::limit::{limit_fields, rate_limit};
use super::settings_merge::Merged;
use super::templates::{Templates, check_references};
use super::{body, header, header_value, target};

/// Compiles injections; templates are shared among routes.
pub(super) struct Injections<'a> {
    names: &'a Names<'a>,
    templates: Templates,
}

impl<'a> Injections<'a> {
    pub(super) fn new(names: &'a Names<'a>) -> Self {
        Self {
            names,
            templates: Templates::default(),
        }
    }

    pub(super) fn injection(
        &mut self,
        merged: &Merged<'_>,
        environment: &EnvironmentName,
        problems: &mut Problems,
    ) -> Injection {
        let headers = merged.pick(|settings| &settings.inject_headers);
        let body = merged.pick(|settings| &settings.inject_body);
        Injection {
            headers: headers.map_or_else(Vec::new, |given| {
                let at = given.at.key("inject_headers");
                self.headers(given.value, environment, &at, problems)
            }),
            body: body.map(|given| {
                let at = given.at.key("inject_body");
                self.body(given.value, environment, &at, problems)
            }),
        }
    }

    fn headers(
        &mut self,
        headers: &BTreeMap<String, String>,
        environment: &EnvironmentName,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Vec<(HeaderName, Template)> {
        let mut seen: HashMap<String, &str> = HashMap::new();
        let mut injected = Vec::with_capacity(headers.len());
        for (text, value) in headers {
            let at = at.key(text);
            let name = header::injectable(text, &at, problems);
            let template = self.templates.parse(value, &at, problems);
            if let Some(template) = &template {
                check_references(template, environment, self.names, &at, problems);
                header_value::check(value, template, environment, self.names, &at, problems);
            }
            let (Some(name), Some(template)) = (name, template) else {
                continue;
            };
            if let Some(other) = seen.insert(header::as_read(&name), text) {
                let message = format!("is the same header as `{other}`");
                problems.add(&at, message, "names are compared without case, and _ as -");
            }
            injected.push((name, template));
        }
        injected
    }

    fn body(
        &mut self,
        fields: &Map<String, Value>,
        environment: &EnvironmentName,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> JsonTemplate {
        let compiled = body::body(fields, &mut self.templates, at, problems);
        body::visit(&compiled, at, &mut |template, at| {
            check_references(template, environment, self.names, at, problems);
        });
        compiled
    }
}

/// What method configurations are checked against.
pub(super) struct MethodConfigs<'a> {
    pub(super) environment: &'a EnvironmentName,
    pub(super) allowed: Option<&'a [Method]>,
    pub(super) reserved_allowed: bool,
}

impl MethodConfigs<'_> {
    pub(super) fn all(
        &self,
        merged: &Merged<'_>,
        injections: &mut Injections<'_>,
        problems: &mut Problems,
    ) -> Vec<MethodConfig> {
        let Some(list) = merged.pick(|settings| &settings.method_configs) else {
            return Vec::new();
        };
        let at = list.at.key("method_configs");
        let mut configs: Vec<MethodConfig> = Vec::with_capacity(list.value.len());
        for (index, document) in list.value.iter().enumerate() {
            let at = at.index(index);
            let Some(config) = self.one(document, injections, &at, problems) else {
                continue;
            };
            if configs.iter().any(|other| other.method == config.method) {
                let remedy = "keep one of them";
                problems.add(&at.key("method"), "is configured twice", remedy);
            }
            configs.push(config);
        }
        configs
    }

    fn one(
        &self,
        document: &MethodConfigDocument,
        injections: &mut Injections<'_>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<MethodConfig> {
        let method = header::method(&document.method, &at.key("method"), problems)?;
        if self
            .allowed
            .is_some_and(|allowed| !allowed.contains(&method))
        {
            let remedy = "add it to allowed_methods, or leave this out";
            problems.add(&at.key("method"), "is not an allowed method", remedy);
        }
        let fields = document
            .inject_body
            .as_ref()
            .filter(|fields| !fields.is_empty());
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        if fields.is_some() && !has_body {
            let remedy = "bodies of POST, PUT and PATCH only";
            problems.add(&at.key("inject_body"), "is never merged", remedy);
        }
        let headers = document
            .inject_headers
            .as_ref()
            .filter(|headers| !headers.is_empty());
        Some(MethodConfig {
            target: self.target(document, at, problems),
            headers: headers.map(|headers| {
                let at = at.key("inject_headers");
                injections.headers(headers, self.environment, &at, problems)
            }),
            body: fields.map(|fields| {
                let at = at.key("inject_body");
                injections.body(fields, self.environment, &at, problems)
            }),
            rate_limit: rate_limit(limit_fields!(document), at, problems),
            method,
        })
    }

    fn target(
        &self,
        document: &MethodConfigDocument,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<crate::model::Target> {
        let url = document
            .target_base_url
            .as_deref()
            .filter(|url| !url.is_empty())?;
        let at = at.key("target_base_url");
        let target = target::target(url, &at, problems)?;
        target::check_reserved(&target, self.reserved_allowed, &at, problems);
        Some(target)
    }
}
