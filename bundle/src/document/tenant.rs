//! Whose gateway it is, its environments, variables and secrets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose gateway this is, and under which hosts it answers.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantIdentity {
    /// The tenant's label in host names; compared without case.
    pub slug: String,
    /// UUID. Default: derived from the slug.
    #[serde(default)]
    pub id: Option<String>,
    /// The domain of `{slug}.{base}`, `sandbox-{slug}.{base}` and
    /// `{hash}.{slug}.{base}`. Without it only the extra hosts answer.
    #[serde(default)]
    pub base_domain: Option<String>,
    /// The 8 hexadecimal digits of the rolling URL. Once rolled, the old ones
    /// are refused at once, unless `previous_hash` gives them some time.
    #[serde(default)]
    pub subdomain_hash: Option<String>,
    /// A rolled hash that still answers for a while.
    #[serde(default)]
    pub previous_hash: Option<PreviousHashDocument>,
    /// Further host names, without port.
    #[serde(default)]
    pub extra_hosts: Vec<String>,
    /// Take the limit below into account. Default: true.
    #[serde(default)]
    pub rate_limit_enabled: Option<bool>,
    /// Requests of the whole tenant in each window.
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

/// A rolled hash that still answers for a while.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviousHashDocument {
    /// 8 hexadecimal digits.
    pub hash: String,
    /// The end of the overlap (RFC 3339).
    pub valid_until: String,
}

/// One environment, as `x-knoxcall-environment` names it.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDocument {
    pub name: String,
    /// Test keys (`tk_test_`) are valid here, and only here.
    #[serde(default)]
    pub sandbox: bool,
    #[serde(default)]
    pub description: Option<String>,
}

/// A value that templates use as `{{var:KEY}}`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableDocument {
    pub key: String,
    /// The value in every environment that `environments` does not name.
    #[serde(default)]
    pub value: Option<String>,
    /// Values by environment.
    #[serde(default)]
    pub environments: BTreeMap<String, String>,
}

/// A value that templates use as `{{secret:NAME}}`. Each environment has a
/// value of its own; none falls back to another's.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretDocument {
    /// Case-sensitive; spaces count as underscores.
    pub name: String,
    /// UUID, for `{{secret_id:UUID}}`. Default: derived from the name.
    #[serde(default)]
    pub id: Option<String>,
    /// A route may use it in an environment where it has no value; requests
    /// that would need it are refused there.
    #[serde(default)]
    pub optional: bool,
    #[serde(default)]
    pub description: Option<String>,
    /// One value for every environment: the environment variable that holds it.
    #[serde(default)]
    pub from_env: Option<String>,
    /// One value for every environment: the file that holds it.
    #[serde(default)]
    pub from_file: Option<String>,
    /// One value for every environment, in clear. Needs --allow-inline-secrets.
    #[serde(default)]
    pub value: Option<String>,
    /// Where the value is, by environment.
    #[serde(default)]
    pub environments: BTreeMap<String, SecretSource>,
}

/// Where a secret's value is: exactly one of the three.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SecretSource {
    /// The environment variable that holds it.
    pub from_env: Option<String>,
    /// The file that holds it (relative to this file). One line feed at its
    /// end is not part of it. Others may not read it, the group may not write it.
    pub from_file: Option<String>,
    /// The value in clear. Needs --allow-inline-secrets.
    pub value: Option<String>,
}
