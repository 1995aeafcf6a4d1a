//! The tenant: identity, hosts and environments; and the order in which
//! everything else is checked, so that what is referred to is known first.

use std::collections::HashSet;

use crate::document::{TenantDocument, TenantIdentity};
use crate::ids::{EnvironmentName, HostName, SubdomainHash, TenantId, TenantSlug};
use crate::model::{Environment, PreviousHash, Secret, Tenant, TenantHosts};
use crate::problem::{At, Problems};

use super::callers::Callers;
use super::context::{DeclaredSecret, Names, Unique, derived_tenant_id, named};
use super::limit::{limit_fields, rate_limit};
use super::{Sources, api_key, client, route, secret, time};

/// What `{slug}.{base}` begins with where it stands for a sandbox.
const SANDBOX_PREFIX: &str = "sandbox-";

/// The environment that exists where none is declared.
const DEFAULT_ENVIRONMENT: &str = "production";

pub(crate) fn tenant(
    document: &TenantDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<Tenant> {
    let at = At::ROOT.key("tenant");
    let identity = &document.tenant;
    let slug = identity.slug.to_ascii_lowercase();
    let id = tenant_id(identity, &slug, &at, problems);
    let slug = tenant_slug(&slug, &at.key("slug"), problems);
    let hosts = hosts(identity, &at, problems);
    check_extra_hosts(identity, &own_hosts(&hosts, slug.as_ref()), &at, problems);
    let environments = environments(document, problems);

    let names = environment_names(&environments);
    let variables = secret::variables(&document.variables, &names, problems);
    let declared = secret::secrets(&document.secrets, id, &names, sources, problems);
    let route_ids = route::ids(document, id, problems);
    let client_ids = client::ids(document, id, problems);
    let names = names
        .with_variables(&variables)
        .with_secrets(&declared)
        .with_routes(document, &route_ids)
        .with_clients(document, &client_ids);

    let clients = client::clients(document, &client_ids, &names, problems);
    let api_keys = api_key::api_keys(document, &clients, &names, problems);
    let all_hosts = all_hosts(&hosts, slug.as_ref());
    let callers = Callers::new(document, &client_ids, &clients, &api_keys);
    let routes = route::Routes::new(&names, callers, &all_hosts, sources)
        .all(document, &route_ids, problems);
    let rate_limit = rate_limit(limit_fields!(identity), &at, problems);
    let secrets = declared.into_iter().map(bundled).collect();
    Some(Tenant {
        id,
        slug: slug?,
        hosts,
        rate_limit,
        environments,
        variables,
        secrets,
        api_keys,
        clients,
        routes,
    })
}

fn bundled(secret: DeclaredSecret) -> Secret {
    Secret {
        id: secret.id,
        name: secret.name,
        values: secret.values,
    }
}

fn tenant_slug(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<TenantSlug> {
    if text.starts_with(SANDBOX_PREFIX) {
        problems.add(
            at,
            "begins with `sandbox-`, which marks the sandbox host of a tenant",
            "choose another slug",
        );
    }
    named(text, at, problems)
}

fn tenant_id(
    identity: &TenantIdentity,
    slug: &str,
    at: &At<'_>,
    problems: &mut Problems,
) -> TenantId {
    let Some(text) = &identity.id else {
        return derived_tenant_id(slug);
    };
    match uuid::Uuid::try_parse(text) {
        Ok(id) => TenantId(id),
        Err(_) => {
            let remedy = "leave it out to have one derived from the slug";
            problems.add(&at.key("id"), "is not a UUID", remedy);
            derived_tenant_id(slug)
        }
    }
}

fn hosts(identity: &TenantIdentity, at: &At<'_>, problems: &mut Problems) -> TenantHosts {
    let base_domain = identity
        .base_domain
        .as_ref()
        .and_then(|text| host(text, &at.key("base_domain"), problems));
    let hash_at = at.key("subdomain_hash");
    let subdomain_hash = identity
        .subdomain_hash
        .as_ref()
        .and_then(|text| named::<SubdomainHash>(&text.to_ascii_lowercase(), &hash_at, problems));
    if identity.subdomain_hash.is_some() && identity.base_domain.is_none() {
        problems.add(&hash_at, "needs a base_domain", "add tenant.base_domain");
    }
    if identity.base_domain.is_none() && identity.extra_hosts.is_empty() {
        let remedy = "add base_domain or extra_hosts";
        problems.add_missing(at, "answers under no host", remedy);
    }
    TenantHosts {
        base_domain,
        previous_hash: previous_hash(identity, subdomain_hash.as_ref(), at, problems),
        subdomain_hash,
        extra: extra_hosts(identity, at, problems),
    }
}

fn previous_hash(
    identity: &TenantIdentity,
    current: Option<&SubdomainHash>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<PreviousHash> {
    let document = identity.previous_hash.as_ref()?;
    let at = at.key("previous_hash");
    let text = document.hash.to_ascii_lowercase();
    let hash = named::<SubdomainHash>(&text, &at.key("hash"), problems);
    let valid_until = time::instant(&document.valid_until, &at.key("valid_until"), problems);
    if current.is_none() || hash.as_ref() == current {
        let remedy = "set subdomain_hash to the new one";
        problems.add(&at, "is not followed by another hash", remedy);
    }
    Some(PreviousHash {
        hash: hash?,
        valid_until: valid_until?,
    })
}

fn extra_hosts(identity: &TenantIdentity, at: &At<'_>, problems: &mut Problems) -> Vec<HostName> {
    let at = at.key("extra_hosts");
    let mut seen = Unique::default();
    let mut hosts = Vec::with_capacity(identity.extra_hosts.len());
    for (index, text) in identity.extra_hosts.iter().enumerate() {
        let at = at.index(index);
        let Some(host) = host(text, &at, problems) else {
            continue;
        };
        if seen.check(host.as_str(), index, "tenant.extra_hosts", &at, problems) {
            hosts.push(host);
        }
    }
    hosts
}

fn host(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HostName> {
    named::<HostName>(&text.to_ascii_lowercase(), at, problems)
}

/// An extra host cannot be one that the tenant has anyway: it would take that
/// one's meaning.
fn check_extra_hosts(
    identity: &TenantIdentity,
    own: &[HostName],
    at: &At<'_>,
    problems: &mut Problems,
) {
    let at = at.key("extra_hosts");
    for (index, text) in identity.extra_hosts.iter().enumerate() {
        let text = text.to_ascii_lowercase();
        if own.iter().any(|host| host.as_str() == text) {
            let message = "is already a host of this tenant, by its slug and base_domain";
            problems.add(&at.index(index), message, "leave it out");
        }
    }
}

/// Every host the tenant answers under.
fn all_hosts(hosts: &TenantHosts, slug: Option<&TenantSlug>) -> Vec<HostName> {
    let extra = hosts.extra.iter().cloned();
    extra.chain(own_hosts(hosts, slug)).collect()
}

/// The hosts that follow from slug and base domain.
fn own_hosts(hosts: &TenantHosts, slug: Option<&TenantSlug>) -> Vec<HostName> {
    let (Some(base), Some(slug)) = (&hosts.base_domain, slug) else {
        return Vec::new();
    };
    let current = hosts.subdomain_hash.iter();
    let previous = hosts.previous_hash.iter().map(|previous| &previous.hash);
    let hashes = current.chain(previous);
    [
        format!("{slug}.{base}"),
        format!("{SANDBOX_PREFIX}{slug}.{base}"),
    ]
    .into_iter()
    .chain(hashes.map(|hash| format!("{hash}.{slug}.{base}")))
    .filter_map(|name| HostName::try_from(name.as_str()).ok())
    .collect()
}

fn environments(document: &TenantDocument, problems: &mut Problems) -> Vec<Environment> {
    let section = At::ROOT.key("environments");
    let mut seen = Unique::default();
    let mut environments = Vec::with_capacity(document.environments.len());
    for (index, document) in document.environments.iter().enumerate() {
        let at = section.index(index);
        if let Some(name) = named::<EnvironmentName>(&document.name, &at.key("name"), problems) {
            seen.check(
                name.as_str(),
                index,
                "environments",
                &at.key("name"),
                problems,
            );
            environments.push(Environment {
                name,
                sandbox: document.sandbox,
            });
        }
    }
    if document.environments.is_empty() {
        let name = EnvironmentName::try_from(DEFAULT_ENVIRONMENT).ok();
        environments.extend(name.map(|name| Environment {
            name,
            sandbox: false,
        }));
    }
    environments
}

fn environment_names<'a>(environments: &[Environment]) -> Names<'a> {
    let mut seen = HashSet::new();
    let names = environments
        .iter()
        .map(|environment| environment.name.clone());
    Names::new(
        names.filter(|name| seen.insert(name.clone())).collect(),
        environments
            .iter()
            .filter(|environment| environment.sandbox)
            .map(|environment| environment.name.clone())
            .collect(),
    )
}
