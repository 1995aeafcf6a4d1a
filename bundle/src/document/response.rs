//! What a route does to the answers of its upstream.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Changes of the answer's headers, made in this order: remove, rename, set.
/// Headers that frame the message or belong to one connection, and the
/// gateway's own (`X-Request-Id`, `X-Knox*`, `X-RateLimit-*`) cannot be named.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseHeadersDocument {
    /// Names; every value of each is removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// From the old name to the new one. The renamed values take the place of
    /// what the upstream sent under the new name; without the old name nothing
    /// changes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Added, or put in the place of what the upstream sent. Plain text:
    /// neither placeholders nor secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

impl ResponseHeadersDocument {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty()
    }
}

/// One change of a JSON body: `remove`, `replace` or `mask`, with a path such as
/// `$.user.ssn`, `$.items[*].card`, `$['a b']` or `$..pin`. Paths are looked up
/// in the body as the upstream sent it; what is not there is not added.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BodyRuleDocument {
    /// The path of members and elements that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<String>,
    /// The path of values that `with` takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// For `replace`: any JSON, null too. Plain: no placeholders.
    #[serde(
        deserialize_with = "also_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Value")]
    pub with: Option<Value>,
    /// The path of values that are masked: a text by as many asterisks (256 at
    /// most), anything else by `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// For `mask`: characters at the end of a text that stay readable, if at
    /// least as many are hidden. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub keep_last: Option<u8>,
}

/// A null that is written is a value.
fn also_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What becomes of an answer with a body that does not say it is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotJsonName {
    /// 502 `transform_failed`.
    Refuse,
    /// It reaches the client as the upstream sent it.
    Pass,
}

/// How the gateway comes by a body that it has to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResponseDecodingName {
    /// It asks the upstream for an uncoded one.
    Identity,
    /// It asks for gzip, br and zstd, reads the body whole and decodes it.
    Decode,
}
