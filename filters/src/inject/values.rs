//! What the references of a template stand for: known when the bundle is
//! compiled, or only with the request. A secret has a value in its own
//! environment or none at all; there is no fallback to another one.

use std::borrow::Cow;
use std::sync::Arc;

use knoxcall_bundle::ids::{EnvironmentName, SecretId, VariableKey};
use knoxcall_bundle::template::{Builtin, SecretRef, Segment};
use knoxcall_bundle::{Route, Secret, Tenant, UnixSeconds};
use uuid::fmt::Hyphenated;

use crate::table::ClientEntry;

/// Where references are looked up while a bundle is compiled.
#[derive(Clone, Copy)]
pub(crate) struct Values<'b> {
    pub tenant: &'b Tenant,
    pub route: &'b Route,
    pub environment: &'b EnvironmentName,
}

/// What a reference stands for.
pub(crate) enum Resolved<'b> {
    Known(Cow<'b, str>),
    OfRequest(Dynamic),
    /// There is no such value in this environment, or one of nothing but blanks:
    /// as a header it would be an empty credential.
    Missing,
}

/// What only a request knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dynamic {
    ClientId,
    ClientName,
    Timestamp,
    RequestId,
}

/// The request's side of a template. Where no client is known, its id and
/// name are empty.
#[derive(Clone, Copy, Debug)]
pub struct RequestValues<'r> {
    pub client: Option<&'r ClientEntry>,
    pub now: UnixSeconds,
    pub request_id: &'r str,
}

impl<'b> Values<'b> {
    pub(crate) fn resolve(&self, segment: &'b Segment) -> Resolved<'b> {
        match segment {
            Segment::Text(text) => Resolved::Known(Cow::Borrowed(text)),
            Segment::Secret(reference) => self.secret_value(reference),
            Segment::Variable(key) => match self.variable(key) {
                Some(value) => Resolved::Known(Cow::Borrowed(value)),
                None => Resolved::Missing,
            },
            Segment::Builtin(builtin) => self.builtin(*builtin),
        }
    }

    pub(crate) fn secret(&self, reference: &SecretRef) -> Option<&'b Secret> {
        let mut secrets = self.tenant.secrets.iter();
        match reference {
            SecretRef::Name(name) => secrets.find(|secret| secret.name == *name),
            SecretRef::Id(id) => secrets.find(|secret| secret.id == *id),
        }
    }

    pub(crate) fn secret_by_id(&self, id: SecretId) -> Option<&'b Secret> {
        self.tenant.secrets.iter().find(|secret| secret.id == id)
    }

    fn secret_value(&self, reference: &SecretRef) -> Resolved<'b> {
        let value = self
            .secret(reference)
            .and_then(|secret| secret.values.get(self.environment))
            .map(|value| value.expose())
            .filter(|text| !text.trim().is_empty());
        match value {
            Some(text) => Resolved::Known(Cow::Borrowed(text)),
            None => Resolved::Missing,
        }
    }

    fn variable(&self, key: &VariableKey) -> Option<&'b Arc<str>> {
        let mut variables = self.tenant.variables.iter();
        let variable = variables.find(|variable| variable.key == *key)?;
        variable.values.get(self.environment)
    }

    fn builtin(&self, builtin: Builtin) -> Resolved<'b> {
        let known = |text: &'b str| Resolved::Known(Cow::Borrowed(text));
        match builtin {
            Builtin::ClientId => Resolved::OfRequest(Dynamic::ClientId),
            Builtin::ClientName => Resolved::OfRequest(Dynamic::ClientName),
            Builtin::Timestamp => Resolved::OfRequest(Dynamic::Timestamp),
            Builtin::RequestId => Resolved::OfRequest(Dynamic::RequestId),
            Builtin::RouteId => Resolved::Known(Cow::Owned(self.route.id.to_string())),
            Builtin::RouteName => known(self.route.name.as_str()),
            Builtin::RouteSlug => known(self.route.slug.as_ref().map_or("", |slug| slug.as_str())),
            Builtin::Environment => known(self.environment.as_str()),
            Builtin::TenantId => Resolved::Known(Cow::Owned(self.tenant.id.to_string())),
            Builtin::TenantSlug => known(self.tenant.slug.as_str()),
        }
    }
}

impl RequestValues<'_> {
    pub(crate) fn write(&self, which: Dynamic, out: &mut String) {
        match which {
            Dynamic::ClientId => out.push_str(self.client_id(&mut [0; Hyphenated::LENGTH])),
            Dynamic::ClientName => out.push_str(self.client_name()),
            Dynamic::Timestamp => out.push_str(itoa::Buffer::new().format(self.now.0)),
            Dynamic::RequestId => out.push_str(self.request_id),
        }
    }

    pub(crate) fn client_id<'b>(&self, buffer: &'b mut [u8; Hyphenated::LENGTH]) -> &'b str {
        match self.client {
            Some(client) => client.id.0.hyphenated().encode_lower(buffer),
            None => "",
        }
    }

    pub(crate) fn client_name(&self) -> &str {
        self.client.map_or("", |client| client.name.as_str())
    }
}
