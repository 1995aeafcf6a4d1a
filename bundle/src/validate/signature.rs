//! `require_signature` and its companions, and whether anybody can sign.

use std::collections::HashSet;
use std::time::Duration;

use http::HeaderName;

use crate::document::{SignatureVersionName, TenantDocument};
use crate::ids::{ClientId, EnvironmentName, RouteId};
use crate::model::{ApiKey, Client, Scope, Scopes, Signature, SignatureVersion};
use crate::problem::{At, Noun, Problems};

use super::header;
use super::settings_merge::Merged;

pub(super) const DEFAULT_TOLERANCE_SEC: u32 = 300;
pub(super) const DEFAULT_SIGNATURE_HEADER: &str = "x-signature";
pub(super) const DEFAULT_TIMESTAMP_HEADER: &str = "x-timestamp";
pub(super) const DEFAULT_NONCE_HEADER: &str = "x-nonce";

pub(super) fn signature(merged: &Merged<'_>, problems: &mut Problems) -> Option<Signature> {
    if !merged.flag(|settings| &settings.require_signature) {
        return None;
    }
    let version = merged.value(|settings| &settings.signature_version);
    let tolerance = merged.value(|settings| &settings.signature_tolerance_sec);
    let signature_header = merged.pick(|settings| &settings.signature_header);
    let timestamp_header = merged.pick(|settings| &settings.timestamp_header);
    let nonce_header = merged.pick(|settings| &settings.nonce_header);
    let mut name = |given: Option<super::settings_merge::Setting<'_, &String>>,
                    field: &str,
                    default: &'static str| match given {
        Some(given) => header::name(given.value, &given.at.key(field), problems),
        None => Some(HeaderName::from_static(default)),
    };
    let signature_header = name(
        signature_header,
        "signature_header",
        DEFAULT_SIGNATURE_HEADER,
    )?;
    let timestamp_header = name(
        timestamp_header,
        "timestamp_header",
        DEFAULT_TIMESTAMP_HEADER,
    )?;
    let nonce_header = name(nonce_header, "nonce_header", DEFAULT_NONCE_HEADER)?;
    let distinct: HashSet<_> = [&signature_header, &timestamp_header, &nonce_header].into();
    if distinct.len() < 3 {
        problems.add(
            merged.at(),
            "signature_header, timestamp_header and nonce_header are not three different names",
            "by default x-signature, x-timestamp and x-nonce",
        );
    }
    Some(Signature {
        version: match version {
            Some(SignatureVersionName::V1) | None => SignatureVersion::V1,
            Some(SignatureVersionName::V2) => SignatureVersion::V2,
        },
        tolerance: Duration::from_secs(u64::from(tolerance.unwrap_or(DEFAULT_TOLERANCE_SEC))),
        signature_header,
        timestamp_header,
        nonce_header,
    })
}

/// Where there is a client that can sign: assigned there, or calling with a
/// key that is valid there.
pub(super) struct Signers {
    everywhere: bool,
    places: HashSet<(Option<RouteId>, Option<EnvironmentName>)>,
}

impl Signers {
    pub(super) fn new(
        document: &TenantDocument,
        ids: &[Option<ClientId>],
        clients: &[Client],
        api_keys: &[ApiKey],
    ) -> Self {
        let declared = document.clients.iter().zip(ids);
        let signing: HashSet<ClientId> = declared
            .filter(|(client, _)| !client.signing_secrets.is_empty())
            .filter_map(|(_, id)| *id)
            .collect();
        let can_sign = |client: &&Client| client.enabled && signing.contains(&client.id);
        let keys = || {
            let keys = api_keys.iter();
            keys.filter(|key| key.client.is_some_and(|client| signing.contains(&client)))
        };
        let assigned = clients
            .iter()
            .filter(can_sign)
            .flat_map(|client| &client.assignments);
        let scoped = keys().flat_map(|key| match &key.scopes {
            Scopes::Any => &[],
            Scopes::Only(scopes) => scopes.as_slice(),
        });
        Self {
            everywhere: keys().any(|key| matches!(key.scopes, Scopes::Any)),
            places: assigned.chain(scoped).map(place).collect(),
        }
    }

    pub(super) fn check(
        &self,
        route: RouteId,
        environment: &EnvironmentName,
        at: &At<'_>,
        problems: &mut Problems,
    ) {
        let routes = [Some(route), None];
        let known = routes.into_iter().any(|route| {
            self.places.contains(&(route, None))
                || self.places.contains(&(route, Some(environment.clone())))
        });
        if !self.everywhere && !known {
            problems.add_about(
                Noun::Client,
                at,
                format!("requires signatures, but no client of `{environment}` can sign"),
                "give a client signing_secrets, and assign it here or give it an API key",
            );
        }
    }
}

fn place(scope: &Scope) -> (Option<RouteId>, Option<EnvironmentName>) {
    (scope.route, scope.environment.clone())
}
