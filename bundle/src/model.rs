//! The bundle: the one immutable document that says everything a data plane
//! may do. Plain data, already validated: names resolve, addresses parse,
//! templates compile, overrides are merged into each environment.

mod leak_guard;
mod response;
mod upstream;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::ids::{
    ClientId, ClientName, EnvironmentName, HostName, KeyId, RouteId, RouteName, RouteSlug,
    SecretId, SecretName, SubdomainHash, TenantId, TenantSlug, VariableKey,
};
use crate::secret::SecretValue;
use crate::template::Template;

pub use leak_guard::*;
pub use response::*;
pub use upstream::*;

/// Seconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

#[derive(Clone, Debug)]
pub struct Bundle {
    pub tenants: Vec<Tenant>,
}

#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: TenantId,
    pub slug: TenantSlug,
    pub hosts: TenantHosts,
    pub rate_limit: Option<RateLimit>,
    pub environments: Vec<Environment>,
    pub variables: Vec<Variable>,
    pub secrets: Vec<Secret>,
    /// Enabled ones only, and none of a client that is not.
    pub api_keys: Vec<ApiKey>,
    pub clients: Vec<Client>,
    pub routes: Vec<Route>,
}

/// Where a tenant answers: `{slug}.{base}`, `{hash}.{slug}.{base}`,
/// `sandbox-{slug}.{base}` and the extra hosts.
#[derive(Clone, Debug)]
pub struct TenantHosts {
    /// Without it only the extra hosts answer.
    pub base_domain: Option<HostName>,
    pub subdomain_hash: Option<SubdomainHash>,
    pub previous_hash: Option<PreviousHash>,
    pub extra: Vec<HostName>,
}

/// A rolled hash that still answers for a while.
#[derive(Clone, Debug)]
pub struct PreviousHash {
    pub hash: SubdomainHash,
    pub valid_until: UnixSeconds,
}

#[derive(Clone, Debug)]
pub struct Environment {
    pub name: EnvironmentName,
    /// Test keys are valid here, and only here.
    pub sandbox: bool,
}

#[derive(Clone, Debug)]
pub struct Variable {
    pub key: VariableKey,
    pub values: BTreeMap<EnvironmentName, Arc<str>>,
}

/// One secret, with a value for each environment that has one. There is no
/// fallback from one environment to another.
#[derive(Clone, Debug)]
pub struct Secret {
    pub id: SecretId,
    pub name: SecretName,
    pub values: BTreeMap<EnvironmentName, SecretValue>,
}

#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: KeyId,
    pub kind: KeyKind,
    pub digest: KeyDigest,
    pub client: Option<ClientId>,
    pub expires_at: Option<UnixSeconds>,
    pub scopes: Scopes,
    pub rate_limit: Option<RateLimit>,
}

/// Told by the key's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `tk_live_`
    Live,
    /// `tk_test_`: valid in sandbox environments only.
    Test,
    /// `AKE`
    AccessKey,
}

/// SHA-256 of the whole key. The key itself is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

#[derive(Clone, Debug)]
pub enum Scopes {
    Any,
    Only(Vec<Scope>),
}

/// A route in an environment; `None` means every one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub route: Option<RouteId>,
    pub environment: Option<EnvironmentName>,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub id: ClientId,
    pub name: ClientName,
    pub enabled: bool,
    pub addresses: Vec<IpNet>,
    /// Names of certificates by which it is known.
    pub certificates: Vec<CertificateName>,
    /// The routes and environments this client may use.
    pub assignments: Vec<Scope>,
    /// At most two, both valid, so that a secret can be rotated. The same in
    /// every environment.
    pub signing_secrets: Vec<SecretValue>,
    pub rate_limit: Option<RateLimit>,
}

/// A name that a client's certificate has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// In lower case.
    Dns(String),
    Uri(String),
    Email(String),
    /// As RFC 2253 writes it.
    Subject(String),
}

#[derive(Clone, Debug)]
pub struct Route {
    pub id: RouteId,
    pub slug: Option<RouteSlug>,
    pub name: RouteName,
    pub enabled: bool,
    pub match_rules: Vec<MatchRule>,
    pub base_environment: EnvironmentName,
    /// One entry for each environment the route serves, the base included,
    /// with overrides already merged.
    pub environments: Vec<RouteEnvironment>,
}

/// Selects a route that the request does not name.
#[derive(Clone, Debug)]
pub struct MatchRule {
    /// `None`: any of the tenant's hosts.
    pub host: Option<HostName>,
    /// Begins with `/`, does not end with one (but for `/` itself), unreserved
    /// characters decoded.
    pub path_prefix: String,
    pub strip_prefix: bool,
}

/// What a route does in one environment.
#[derive(Clone, Debug)]
pub struct RouteEnvironment {
    pub environment: EnvironmentName,
    pub enabled: bool,
    /// No caller is asked for.
    pub open: bool,
    pub target: Target,
    pub upstream: Upstream,
    pub injection: Injection,
    /// `None`: every method but TRACE and CONNECT.
    pub allowed_methods: Option<Vec<Method>>,
    /// `None`: every address.
    pub ip_allowlist: Option<Vec<IpNet>>,
    pub requires_clients: bool,
    pub signature: Option<Signature>,
    pub rate_limit: Option<RateLimit>,
    pub method_configs: Vec<MethodConfig>,
    /// The secrets whose placeholders a client may write in its own body.
    pub body_secrets: Vec<SecretId>,
    pub response: ResponseSettings,
    pub leak_guard: LeakGuardSettings,
}

/// What replaces a route's own settings for one method.
#[derive(Clone, Debug)]
pub struct MethodConfig {
    pub method: Method,
    pub target: Option<Target>,
    pub headers: Option<Vec<(HeaderName, Template)>>,
    pub body: Option<JsonTemplate>,
    pub rate_limit: Option<RateLimit>,
}

/// `target_base_url`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub scheme: Scheme,
    pub host: TargetHost,
    pub port: u16,
    /// Begins with `/` or is empty; never ends with `/`.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetHost {
    Name(HostName),
    Address(std::net::IpAddr),
}

#[derive(Clone, Debug, Default)]
pub struct Injection {
    /// Added, or put in the place of what the client sent.
    pub headers: Vec<(HeaderName, Template)>,
    /// Merged into the client's JSON body; POST, PUT and PATCH only.
    pub body: Option<JsonTemplate>,
}

/// A JSON object to be merged; its strings are templates.
#[derive(Clone, Debug)]
pub enum JsonTemplate {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(Template),
    Array(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

#[derive(Clone, Debug)]
pub struct Signature {
    pub version: SignatureVersion,
    /// Both ways: into the past and into the future.
    pub tolerance: Duration,
    pub signature_header: HeaderName,
    pub timestamp_header: HeaderName,
    pub nonce_header: HeaderName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVersion {
    /// `timestamp \n METHOD \n path?query \n body`; a signature counts once.
    V1,
    /// Adds host, route id, environment and nonce; a nonce counts once.
    V2,
}

/// A token bucket of `requests + burst` tokens that regains `requests` in
/// each `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: NonZeroU32,
    pub window: Duration,
    pub burst: u32,
}
