//! Clients: their addresses, assignments and signing secrets.

use std::collections::HashMap;

use ipnet::IpNet;
use uuid::Uuid;

use crate::document::{
    CallerCertificateDocument, ClientDocument, OneOrMany, ScopeDocument, TenantDocument,
};
use crate::ids::{ClientId, ClientName, TenantId};
use crate::model::{CertificateName, Client, Scope};
use crate::problem::{At, Noun, Problems};
use crate::secret::SecretValue;

use super::address;
use super::context::{DeclaredSecret, Names, Unique, id_or_derived, named, place};
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
    let mut holders = Holders::default();
    let mut clients = Vec::with_capacity(document.clients.len());
    for (index, (document, id)) in document.clients.iter().zip(ids).enumerate() {
        let at = section.index(index);
        let client = id.and_then(|id| client(document, id, names, &at, problems));
        if let Some(client) = client {
            holders.take(index, &client, &at, problems);
            clients.push(client);
        }
    }
    clients
}

/// The clients that have an address block or a certificate's name. Of two that
/// have the same one on the same route, it cannot tell which one calls.
#[derive(Default)]
struct Holders {
    addresses: HashMap<IpNet, Vec<Holder>>,
    certificates: HashMap<CertificateName, Vec<Holder>>,
}

#[derive(Clone)]
struct Holder {
    index: usize,
    assignments: Vec<Scope>,
}

impl Holders {
    fn take(&mut self, index: usize, client: &Client, at: &At<'_>, problems: &mut Problems) {
        if !client.enabled {
            return;
        }
        let holder = Holder {
            index,
            assignments: client.assignments.clone(),
        };
        for block in &client.addresses {
            let holders = self.addresses.entry(*block).or_default();
            let remedy = "an address stands for one client: give the other one an API key alone";
            holder.join(holders, &at.key("ip_address"), remedy, problems);
        }
        for name in &client.certificates {
            let holders = self.certificates.entry(name.clone()).or_default();
            let remedy = "a certificate stands for one client: name another one";
            holder.join(holders, &at.key("certificates"), remedy, problems);
        }
    }
}

impl Holder {
    fn join(&self, holders: &mut Vec<Self>, at: &At<'_>, remedy: &str, problems: &mut Problems) {
        let other = holders
            .iter()
            .find(|other| other.index != self.index && meet(&other.assignments, &self.assignments));
        if let Some(other) = other {
            let message = "is shared, on the same route, with";
            problems.add_clash(at, message, place("clients", other.index), remedy);
        }
        holders.push(self.clone());
    }
}

fn meet(some: &[Scope], others: &[Scope]) -> bool {
    fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    some.iter().any(|one| {
        others.iter().any(|other| {
            agree(one.route.as_ref(), other.route.as_ref())
                && agree(one.environment.as_ref(), other.environment.as_ref())
        })
    })
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
        certificates: certificates(document, &at.key("certificates"), problems),
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

fn certificates(
    document: &ClientDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<CertificateName> {
    let documents = document.certificates.iter().enumerate();
    documents
        .filter_map(|(index, document)| {
            let name = certificate_name(document);
            if name.is_none() {
                let remedy = "give one of san_dns, san_uri, san_email and subject";
                problems.add(&at.index(index), "does not have exactly one name", remedy);
            }
            name
        })
        .collect()
}

fn certificate_name(document: &CallerCertificateDocument) -> Option<CertificateName> {
    let CallerCertificateDocument {
        san_dns,
        san_uri,
        san_email,
        subject,
    } = document;
    let name = match (san_dns, san_uri, san_email, subject) {
        (Some(name), None, None, None) => CertificateName::Dns(name.to_ascii_lowercase()),
        (None, Some(name), None, None) => CertificateName::Uri(name.clone()),
        (None, None, Some(name), None) => CertificateName::Email(name.clone()),
        (None, None, None, Some(name)) => CertificateName::Subject(name.clone()),
        _ => return None,
    };
    let texts = [san_dns, san_uri, san_email, subject];
    let is_blank = texts.into_iter().flatten().any(|text| text.is_empty());
    (!is_blank).then_some(name)
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
