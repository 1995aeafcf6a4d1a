//! Clients: their addresses, assignments and signing secrets.

use ipnet::IpNet;
use uuid::Uuid;

use crate::document::{ClientDocument, OneOrMany, ScopeDocument, TenantDocument};
use crate::ids::{ClientId, ClientName, TenantId};
use crate::model::{Client, Scope};
use crate::problem::{At, Noun, Problems};
use crate::secret::SecretValue;

use super::address;
use super::context::{DeclaredSecret, Names, Unique, id_or_derived, named};
use super::limit::{limit_fields, rate_limit};
use super::templates::named_secret;

/// So that one can be rotated.
const MAX_SIGNING_SECRETS: usize = 2;

/// The ids of all clients, in their order, before anything refers to them.
pub(super) fn ids(
    document: &TenantDocument,
    tenant: TenantId,
    problems: &mut Problems,
) -> Vec<Option<ClientId>> {
    let section = At::ROOT.key("clients");
    let (mut names, mut ids) = (Unique::default(), Unique::default());
    let clients = document.clients.iter().enumerate();
    clients
        .map(|(index, client)| {
            let at = section.index(index);
            let name = named::<ClientName>(&client.name, &at.key("name"), problems)?;
            names.check(name.as_str(), index, "clients", &at.key("name"), problems);
            let of = (tenant, "client", name.as_str());
            let id: Uuid = id_or_derived(client.id.as_deref(), of, &at, problems);
            ids.check_id(id, index, ("clients", client.id.as_deref()), &at, problems);
            Some(ClientId(id))
        })
        .collect()
}

pub(super) fn clients(
    document: &TenantDocument,
    ids: &[Option<ClientId>],
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<Client> {
    let section = At::ROOT.key("clients");
    let clients = document.clients.iter().zip(ids).enumerate();
    clients
        .filter_map(|(index, (document, id))| {
            client(document, (*id)?, names, &section.index(index), problems)
        })
        .collect()
}

fn client(
    document: &ClientDocument,
    id: ClientId,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Client> {
    Some(Client {
        id,
        name: ClientName::try_from(document.name.as_str()).ok()?,
        enabled: document.enabled.unwrap_or(true),
        addresses: addresses(document, &at.key("ip_address"), problems),
        assignments: scopes(
            &document.assignments,
            names,
            &at.key("assignments"),
            problems,
        ),
        signing_secrets: signing_secrets(document, names, &at.key("signing_secrets"), problems),
        rate_limit: rate_limit(limit_fields!(document), at, problems),
    })
}

fn addresses(document: &ClientDocument, at: &At<'_>, problems: &mut Problems) -> Vec<IpNet> {
    match &document.ip_address {
        None => Vec::new(),
        Some(OneOrMany::Many(texts)) => address::ranges(texts, at, problems),
        Some(OneOrMany::One(text)) => {
            let texts = text.split(',');
            texts
                .filter_map(|text| address::range(text, at, problems))
                .collect()
        }
    }
}

pub(super) fn scopes(
    documents: &[ScopeDocument],
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<Scope> {
    let documents = documents.iter().enumerate();
    documents
        .filter_map(|(index, document)| {
            let at = at.index(index);
            // A reference that fails must not widen the scope to everything.
            let route = match &document.route {
                None => None,
                Some(text) => Some(names.route(text, &at.key("route"), problems)?),
            };
            let environment = match &document.environment {
                None => None,
                Some(text) => Some(names.environment(text, &at.key("environment"), problems)?),
            };
            Some(Scope { route, environment })
        })
        .collect()
}

fn signing_secrets(
    document: &ClientDocument,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<SecretValue> {
    if document.signing_secrets.len() > MAX_SIGNING_SECRETS {
        let remedy = "two, so that one can be rotated";
        problems.add(at, "has more than two signing secrets", remedy);
    }
    let texts = document.signing_secrets.iter().enumerate();
    texts
        .filter_map(|(index, text)| {
            let at = at.index(index);
            signing_value(named_secret(text, names, &at, problems)?, &at, problems)
        })
        .collect()
}

/// A client signs with one secret whatever the environment, so a secret with
/// several values cannot be meant.
fn signing_value(
    secret: &DeclaredSecret,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<SecretValue> {
    let mut values = secret.values.values();
    let first = values.next();
    if first.is_none() && secret.sourced.is_empty() {
        let remedy = "give the secret a value";
        problems.add_about(Noun::Secret, at, "names a secret without a value", remedy);
    }
    if values.any(|value| Some(value) != first) {
        problems.add(
            at,
            "names a secret whose value differs between environments",
            "a client signs with one secret everywhere: give it one value",
        );
    }
    first.cloned()
}
