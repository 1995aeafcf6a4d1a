//! Who may call: API keys and clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key that callers send as `x-knoxcall-key`. `knoxcall keys new` makes one.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyDocument {
    /// The public part of the key, up to the last underscore: `tk_live_ab12cd34`.
    /// `tk_test_` keys are valid in sandbox environments only.
    pub key_id: String,
    /// SHA-256 of the whole key, 64 hexadecimal digits.
    pub key_sha256: String,
    #[serde(default)]
    pub name: Option<String>,
    /// The client that calls with this key.
    #[serde(default)]
    pub client: Option<String>,
    /// A key that is not enabled is unknown. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// The end of its validity (RFC 3339).
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Where the key is valid. Default: on every route and environment.
    #[serde(default)]
    pub scopes: Option<Vec<ScopeDocument>>,
    /// Take the limit below into account. Default: true.
    #[serde(default)]
    pub rate_limit_enabled: Option<bool>,
    /// Requests with this key in each window.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub rate_limit_requests: Option<u32>,
    /// Seconds. Default: 60.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_678_400))]
    pub rate_limit_window_sec: Option<u32>,
    /// Requests that may come at once beyond the limit. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub rate_limit_burst: Option<u32>,
}

/// A route in an environment.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeDocument {
    /// Slug, id or name. Default: every route.
    #[serde(default)]
    pub route: Option<String>,
    /// Default: every environment.
    #[serde(default)]
    pub environment: Option<String>,
}

/// Who calls, and from where.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientDocument {
    pub name: String,
    /// UUID. Default: derived from the name.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    /// A client that is not enabled is unknown, and so are its keys. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Addresses or ranges: a list, or one text with commas.
    #[serde(default)]
    pub ip_address: Option<OneOrMany>,
    /// Certificates by which it is known, on listeners that ask for them: each
    /// name stands for every certificate that has it.
    #[serde(default)]
    pub certificates: Vec<CallerCertificateDocument>,
    /// The names of at most two secrets that its requests may be signed with;
    /// two, so that one can be rotated.
    #[serde(default)]
    pub signing_secrets: Vec<String>,
    /// The routes and environments this client may use.
    #[serde(default)]
    pub assignments: Vec<ScopeDocument>,
    /// Take the limit below into account. Default: true.
    #[serde(default)]
    pub rate_limit_enabled: Option<bool>,
    /// Requests of this client in each window.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub rate_limit_requests: Option<u32>,
    /// Seconds. Default: 60.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_678_400))]
    pub rate_limit_window_sec: Option<u32>,
    /// Requests that may come at once beyond the limit. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub rate_limit_burst: Option<u32>,
}

/// A name in a client's certificate: exactly one of the four.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallerCertificateDocument {
    /// A DNS name among its subject alternative names; compared without case.
    pub san_dns: Option<String>,
    /// A URI among its subject alternative names, such as a SPIFFE id.
    pub san_uri: Option<String>,
    /// A mail address among its subject alternative names.
    pub san_email: Option<String>,
    /// The whole subject, as `openssl x509 -noout -subject -nameopt RFC2253`
    /// prints it: `CN=backend,O=Acme`.
    pub subject: Option<String>,
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}
