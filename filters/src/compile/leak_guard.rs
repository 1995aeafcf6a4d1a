//! The leak guards of one tenant: one for each set of secrets that a route may
//! inject in an environment, however many routes have the same.

use std::sync::Arc;

use hashbrown::HashMap;
use knoxcall_bundle::ids::{EnvironmentName, SecretId};
use knoxcall_bundle::template::{SecretRef, Segment, Template};
use knoxcall_bundle::{LeakGuardMode, LeakGuardSettings, Route, RouteEnvironment, Secret, Tenant};
use zeroize::Zeroizing;

use crate::digest;
use crate::inject::{Values, fixed_text};
use crate::leak_guard::LeakGuard;

pub(super) struct Guards<'b> {
    tenant: &'b Tenant,
    by_name: HashMap<&'b str, &'b Secret>,
    by_id: HashMap<SecretId, &'b Secret>,
    /// By a digest of the values, so that no copy of them is made.
    known: HashMap<[u8; 32], Option<Arc<LeakGuard>>>,
}

impl<'b> Guards<'b> {
    pub(super) fn new(tenant: &'b Tenant) -> Self {
        let secrets = || tenant.secrets.iter();
        Self {
            tenant,
            by_name: secrets().map(|own| (own.name.as_str(), own)).collect(),
            by_id: secrets().map(|own| (own.id, own)).collect(),
            known: HashMap::new(),
        }
    }

    pub(super) fn here(
        &mut self,
        route: &Route,
        here: &RouteEnvironment,
    ) -> Option<Arc<LeakGuard>> {
        match here.leak_guard.mode {
            LeakGuardMode::Strict | LeakGuardMode::Lenient => {}
            LeakGuardMode::Off => return None,
        }
        let secrets = here.injected_secrets();
        let secrets = secrets.iter();
        let mut values: Vec<&str> = secrets
            .filter_map(|secret| self.value(secret, &here.environment))
            .filter(|value| !is_short(value))
            .collect();
        let altered = self.altered(route, here);
        values.extend(altered.iter().map(|text| credentials(text)));
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            return None;
        }
        let new = || LeakGuard::new(values.iter().copied()).map(Arc::new);
        self.known.entry(key(&values)).or_insert_with(new).clone()
    }

    fn value(&self, secret: &SecretRef, environment: &EnvironmentName) -> Option<&'b str> {
        let secret = match secret {
            SecretRef::Name(name) => self.by_name.get(name.as_str()),
            SecretRef::Id(id) => self.by_id.get(id),
        };
        Some(secret?.values.get(environment)?.expose().trim())
    }

    /// What is sent in place of a secret: through a filter of Liquid it is
    /// another text, and with text around it a short one is long enough. Also
    /// where a guarded value stands in it: what is beside that may be a secret.
    fn altered(&self, route: &Route, here: &RouteEnvironment) -> Vec<Zeroizing<String>> {
        let values = Values {
            tenant: self.tenant,
            route,
            environment: &here.environment,
        };
        let templates = here.injected_templates().into_iter();
        templates
            .filter(|template| self.may_alter(template, &here.environment))
            .filter_map(|template| fixed_text(template, &values))
            .collect()
    }

    fn may_alter(&self, template: &Template, environment: &EnvironmentName) -> bool {
        let is_liquid = matches!(template, Template::Liquid(_));
        template.references().any(|segment| match segment {
            Segment::Secret(secret) => {
                is_liquid || self.value(secret, environment).is_some_and(is_short)
            }
            Segment::Text(_) | Segment::Variable(_) | Segment::Builtin(_) => false,
        })
    }
}

fn is_short(value: &str) -> bool {
    value.trim().len() < LeakGuardSettings::SHORTEST_SECRET
}

/// Of `Basic dXNlcjpwYXNz`, what follows the scheme (RFC 9110, section 11.4);
/// all of it where that would be too short.
fn credentials(text: &str) -> &str {
    let text = text.trim();
    let rest = text.split_once(' ').map_or(text, |(_, rest)| rest.trim());
    if is_short(rest) { text } else { rest }
}

fn key(values: &[&str]) -> [u8; 32] {
    let length = values.iter().map(|value| value.len() + size_of::<usize>());
    let mut text = Zeroizing::new(Vec::with_capacity(length.sum()));
    for value in values {
        text.extend_from_slice(&value.len().to_ne_bytes());
        text.extend_from_slice(value.as_bytes());
    }
    digest::sha256(&text)
}

#[cfg(test)]
mod tests;
