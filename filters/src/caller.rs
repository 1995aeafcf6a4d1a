//! Who calls: an API key, a client's certificate, or a client known by its
//! address.
//!
//! A presented key alone counts, and without one a presented certificate: a bad
//! one never falls back to the address.
//! An unknown, expired, foreign or misplaced credential is one opaque 401,
//! reached by the same steps whether or not the key, the route or the
//! environment exists; [`Effort`] counts them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use knoxcall_bundle::ids::{EnvironmentName, RouteId};
use knoxcall_bundle::{KeyKind, UnixSeconds};

use crate::admit::{Site, Trail};
use crate::certificate::ClientCertificate;
use crate::client_address::ClientAddress;
use crate::digest;
use crate::environment::Chosen;
use crate::refusal::Refusal;
use crate::table::{AssignedClients, ClientEntry, KeyEntry, RouteEntry, Service, TenantTable};

/// The compared digest where no key is known.
const NO_DIGEST: [u8; 32] = [0; 32];

#[derive(Clone, Copy, Debug)]
pub enum Caller<'t> {
    /// The route asks for nobody.
    Open,
    Key {
        key: &'t Arc<KeyEntry>,
        /// The key's own client, else the one assigned to the address.
        client: Option<&'t Arc<ClientEntry>>,
    },
    /// A client assigned to the route and environment, by its certificate.
    Certificate(&'t Arc<ClientEntry>),
    /// A client assigned to the route and environment, by its address.
    Address(&'t Arc<ClientEntry>),
}

impl<'t> Caller<'t> {
    pub fn client(&self) -> Option<&'t Arc<ClientEntry>> {
        match self {
            Self::Open => None,
            Self::Key { client, .. } => *client,
            Self::Certificate(client) | Self::Address(client) => Some(client),
        }
    }

    pub fn key(&self) -> Option<&'t Arc<KeyEntry>> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Open | Self::Certificate(_) | Self::Address(_) => None,
        }
    }

    /// As the request log names it.
    pub fn identification(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Key { .. } => "api_key",
            Self::Certificate(_) => "certificate",
            Self::Address(_) => "ip",
        }
    }
}

/// Why a caller is unknown: for operators, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecognised {
    /// No key, and no assigned client has this address.
    NoCredential,
    UnknownKey,
    ExpiredKey,
    TestKeyOutsideSandbox,
    /// No assigned client has any of its names.
    UnknownCertificate,
    /// It has ended since the connection was made, or has not begun.
    ExpiredCertificate,
}

/// How many steps were taken to know route and caller. It depends on what a
/// request presents, never on whether that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    pub route_lookups: u32,
    pub digests: u32,
    pub key_lookups: u32,
    pub comparisons: u32,
    pub address_lookups: u32,
    pub certificate_lookups: u32,
}

/// `presented` is the value of `x-knoxcall-key`, and the connection's
/// certificate.
pub(crate) fn identify<'t>(
    site: &Site<'t>,
    chosen: &Chosen<'t, '_>,
    presented: (Option<&[u8]>, Option<&ClientCertificate>),
    now: UnixSeconds,
    trail: &mut Trail<'t>,
) -> Result<Caller<'t>, Refusal> {
    let assigned = chosen
        .service
        .map_or(&site.tenant.nobody, |service| &service.clients);
    let by_address = at_address(assigned, site.address, &mut trail.effort);
    let found = match presented {
        (Some(text), _) => recognise(site.tenant, text, &mut trail.effort, &mut trail.key)
            .and_then(|key| valid(key, chosen.sandbox, now))
            .map(|key| Caller::Key {
                key,
                client: key.client.as_ref().or(by_address),
            }),
        (None, Some(certificate)) => {
            certified(assigned, certificate, now, &mut trail.effort).map(Caller::Certificate)
        }
        (None, None) if chosen.service.is_some_and(|service| service.open) => Ok(Caller::Open),
        (None, None) => by_address
            .map(Caller::Address)
            .ok_or(Unrecognised::NoCredential),
    };
    found
        .inspect(|caller| {
            trail.client = caller.client();
            trail.identification = Some(caller.identification());
        })
        .map_err(|reason| {
            trail.unrecognised = Some(reason);
            Refusal::Unauthorized
        })
}

fn at_address<'t>(
    assigned: &'t AssignedClients,
    address: ClientAddress,
    effort: &mut Effort,
) -> Option<&'t Arc<ClientEntry>> {
    effort.address_lookups += 1;
    let asked = address.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let found = assigned.by_address.get(asked);
    address.client.and(found)
}

fn certified<'t>(
    assigned: &'t AssignedClients,
    certificate: &ClientCertificate,
    now: UnixSeconds,
    effort: &mut Effort,
) -> Result<&'t Arc<ClientEntry>, Unrecognised> {
    let found = certificate.find(&assigned.by_certificate, &mut effort.certificate_lookups);
    match certificate.holds_at(now) {
        true => found.ok_or(Unrecognised::UnknownCertificate),
        false => Err(Unrecognised::ExpiredCertificate),
    }
}

/// An empty text is no key, even if the digest of one has been configured.
fn recognise<'t>(
    tenant: &'t TenantTable,
    text: &[u8],
    effort: &mut Effort,
    recognised: &mut Option<&'t Arc<KeyEntry>>,
) -> Result<&'t Arc<KeyEntry>, Unrecognised> {
    let digest = digest::sha256(text);
    effort.digests += 1;
    let candidate = tenant.keys.get(&key_slot(&digest));
    effort.key_lookups += 1;
    let expected = candidate.map_or(&NO_DIGEST, |key| &key.digest.0);
    let equal = digest::equal(&digest, expected);
    effort.comparisons += 1;
    *recognised = candidate.filter(|_| equal && !text.is_empty());
    recognised.ok_or(Unrecognised::UnknownKey)
}

/// Where a key of this digest stands in [`TenantTable::keys`].
pub(crate) fn key_slot(digest: &[u8; 32]) -> u64 {
    digest
        .first_chunk::<8>()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

fn valid(
    key: &Arc<KeyEntry>,
    sandbox: bool,
    now: UnixSeconds,
) -> Result<&Arc<KeyEntry>, Unrecognised> {
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Unrecognised::ExpiredKey);
    }
    match key.kind {
        KeyKind::Test if !sandbox => Err(Unrecognised::TestKeyOutsideSandbox),
        KeyKind::Live | KeyKind::Test | KeyKind::AccessKey => Ok(key),
    }
}

/// Outside of a key's scope everything is 403, whether it exists or not.
pub(crate) fn check_scope(
    caller: &Caller<'_>,
    route: Option<&Arc<RouteEntry>>,
    environment: Option<&str>,
) -> Result<(), Refusal> {
    let scopes = caller.key().and_then(|key| key.scopes.as_deref());
    let Some(scopes) = scopes else { return Ok(()) };
    let route = route.map(|route| route.id);
    let covers = |route: Option<RouteId>, environment: Option<&str>| {
        scopes
            .binary_search_by(|(r, e)| {
                (r, e.as_ref().map(EnvironmentName::as_str)).cmp(&(&route, environment))
            })
            .is_ok()
    };
    let covered = covers(route, environment)
        || covers(route, None)
        || covers(None, environment)
        || covers(None, None);
    if covered {
        Ok(())
    } else {
        Err(Refusal::ScopeDenied)
    }
}

/// `requires_clients`: an assigned client must stand behind the caller, and
/// where it has addresses the request must come from one of them.
pub(crate) fn check_client(
    caller: &Caller<'_>,
    service: &Service,
    address: ClientAddress,
) -> Result<(), Refusal> {
    if !service.requires_clients {
        return Ok(());
    }
    let allowed = match caller {
        Caller::Open => false,
        Caller::Address(_) => true,
        Caller::Certificate(client) => comes_from(client, address),
        Caller::Key { key, client } => match &key.client {
            Some(own) => is_assigned(own, service) && comes_from(own, address),
            None => client.is_some(),
        },
    };
    if allowed {
        Ok(())
    } else {
        Err(Refusal::ClientNotAllowed)
    }
}

fn is_assigned(client: &ClientEntry, service: &Service) -> bool {
    service.clients.ids.binary_search(&client.id).is_ok()
}

fn comes_from(client: &ClientEntry, address: ClientAddress) -> bool {
    client.addresses.is_empty()
        || address
            .client
            .is_some_and(|address| client.addresses.contains(address))
}

#[cfg(test)]
mod tests;
