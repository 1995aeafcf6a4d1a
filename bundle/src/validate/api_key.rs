//! API keys. What is disabled, or belongs to a client that is, does not reach
//! the bundle: such a key is unknown.

use std::collections::HashSet;

use crate::document::{ApiKeyDocument, TenantDocument};
use crate::ids::{ClientId, KeyId};
use crate::model::{ApiKey, Client, KeyDigest, KeyKind, Scope, Scopes};
use crate::problem::{At, Problems};

use super::client::scopes;
use super::context::{Names, Unique, named};
use super::limit::{limit_fields, rate_limit};
use super::time::instant;

/// What is hashed in the place of a key where the variable that should hold it
/// is empty: with it, a header without a value would be a credential.
const BLANK_KEYS: [&[u8]; 4] = [b"", b" ", b"\n", b"\r\n"];

pub(super) fn api_keys(
    document: &TenantDocument,
    clients: &[Client],
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<ApiKey> {
    let section = At::ROOT.key("api_keys");
    let disabled: HashSet<ClientId> = clients
        .iter()
        .filter(|client| !client.enabled)
        .map(|client| client.id)
        .collect();
    let (mut ids, mut digests) = (Unique::default(), Unique::default());
    let mut keys = Vec::with_capacity(document.api_keys.len());
    for (index, document) in document.api_keys.iter().enumerate() {
        let at = section.index(index);
        let Some(key) = api_key(document, names, &at, problems) else {
            continue;
        };
        ids.check(
            key.id.as_str(),
            index,
            "api_keys",
            &at.key("key_id"),
            problems,
        );
        let digest = key.digest.to_string();
        digests.check(&digest, index, "api_keys", &at.key("key_sha256"), problems);
        let client_is_disabled = key.client.is_some_and(|client| disabled.contains(&client));
        if document.enabled.unwrap_or(true) && !client_is_disabled {
            keys.push(key);
        }
    }
    keys
}

fn api_key(
    document: &ApiKeyDocument,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<ApiKey> {
    let id = named::<KeyId>(&document.key_id, &at.key("key_id"), problems);
    let kind = kind(document, at, problems);
    let digest = digest(document, at, problems);
    let expires = document.expires_at.as_deref();
    let expires_at = expires.map(|text| instant(text, &at.key("expires_at"), problems));
    let client = document.client.as_deref();
    let client = client.map(|text| names.client(text, &at.key("client"), problems));
    let scopes = key_scopes(document, names, &at.key("scopes"), problems);
    let rate_limit = rate_limit(limit_fields!(document), at, problems);
    let key = ApiKey {
        id: id?,
        kind: kind?,
        digest: digest?,
        // `?` inside: a date or client that is wrong must not become none.
        client: match client {
            None => None,
            Some(client) => Some(client?),
        },
        expires_at: match expires_at {
            None => None,
            Some(expires_at) => Some(expires_at?),
        },
        scopes,
        rate_limit,
    };
    check_sandbox(&key, names, &at.key("scopes"), problems);
    Some(key)
}

fn kind(document: &ApiKeyDocument, at: &At<'_>, problems: &mut Problems) -> Option<KeyKind> {
    let kind = KeyKind::of(&document.key_id);
    if kind.is_none() {
        let remedy = "it begins with tk_live_, tk_test_ or AKE; `knoxcall keys new` makes one";
        problems.add(&at.key("key_id"), "is of no known kind", remedy);
    }
    kind
}

fn digest(document: &ApiKeyDocument, at: &At<'_>, problems: &mut Problems) -> Option<KeyDigest> {
    let digest = KeyDigest::from_hex(&document.key_sha256);
    let at = at.key("key_sha256");
    match &digest {
        None => {
            let remedy = "64 hexadecimal digits; `knoxcall keys new` prints them";
            problems.add(&at, "is not a SHA-256 digest", remedy);
        }
        Some(digest) if BLANK_KEYS.iter().any(|key| KeyDigest::of(key) == *digest) => {
            let remedy = "hash the key itself; `knoxcall keys new` prints a digest";
            problems.add(&at, "is the digest of an empty key", remedy);
        }
        Some(_) => {}
    }
    digest
}

fn key_scopes(
    document: &ApiKeyDocument,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Scopes {
    match &document.scopes {
        None => Scopes::Any,
        Some(documents) => {
            if documents.is_empty() {
                let remedy = "leave it out to allow everything, or set enabled: false";
                problems.add(at, "allows nothing", remedy);
            }
            Scopes::Only(scopes(documents, names, at, problems))
        }
    }
}

/// A test key that is only for live environments can never be used.
fn check_sandbox(key: &ApiKey, names: &Names<'_>, at: &At<'_>, problems: &mut Problems) {
    let Scopes::Only(scopes) = &key.scopes else {
        return;
    };
    let is_live = |scope: &Scope| {
        let environment = scope.environment.as_ref();
        environment.is_some_and(|name| !names.sandboxes.contains(name))
    };
    if key.kind == KeyKind::Test && !scopes.is_empty() && scopes.iter().all(is_live) {
        problems.add(
            at,
            "a test key is valid in sandbox environments only, and these are none",
            "use a live key, or mark an environment sandbox: true",
        );
    }
}
