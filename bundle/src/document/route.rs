//! Where requests go and what is done to them. A route has base settings and,
//! for each further environment, settings that replace them one by one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::response::{
    BodyRuleDocument, NotJsonName, ResponseDecodingName, ResponseHeadersDocument,
};
use super::upstream::{
    BalanceName, EjectionDocument, HealthCheckDocument, ProtocolName, TargetDocument,
    UpstreamCertificateDocument,
};

/// Where requests go and what is done to them.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RouteDocument {
    /// The stable handle, as `x-knoxcall-route` names it.
    #[serde(default)]
    pub slug: Option<String>,
    /// What people call it. Default: the slug.
    #[serde(default)]
    pub name: Option<String>,
    /// UUID. Default: derived from the slug, else from the name.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    /// What selects the route when the request does not name one.
    #[serde(default, rename = "match")]
    pub match_rules: Vec<MatchDocument>,
    /// The environment of requests that do not name one. Default: `production`,
    /// or the only environment there is.
    #[serde(default)]
    pub base_environment: Option<String>,
    /// The further environments that the route serves, and what differs there.
    /// What is null or empty is as in the base; what is not replaces it whole.
    #[serde(default)]
    pub environments: BTreeMap<String, Option<RouteSettings>>,
    #[serde(flatten)]
    pub settings: RouteSettings,
}

/// Selects a route by host and path; the longest prefix wins.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatchDocument {
    /// One of the tenant's hosts. Default: any of them.
    #[serde(default)]
    pub host: Option<String>,
    /// Whole segments: `/hooks` matches `/hooks` and `/hooks/x`, not `/hooksx`.
    /// Default: `/`.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// The prefix is not sent to the upstream.
    #[serde(default)]
    pub strip_prefix: bool,
}

/// What a route does in an environment.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct RouteSettings {
    /// Default: true. In the base: the whole route; in an environment: this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// No caller is asked for. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// `https://api.example.com/v1`; the client's path is added to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_base_url: Option<String>,
    /// Several targets in place of `target_base_url`. An environment that gives
    /// either of the two gives it in place of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub targets: Option<Vec<TargetDocument>>,
    /// Which endpoint serves a request. Default: `round_robin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceName>,
    /// With `balance: consistent_hash`: the request header that decides. Where
    /// a request has none, and by default, the client's address does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_header: Option<String>,
    /// Default: endpoints are not asked; they are taken for healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckDocument>,
    /// Default: no endpoint is taken out for failed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<EjectionDocument>,
    /// Requests at once to one endpoint: over HTTP/1.1, connections in use.
    /// Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_target: Option<u32>,
    /// Requests that may wait for a place at an endpoint, for as long as a
    /// connection may take; one more is refused with 503. Default: as many as
    /// `max_connections_per_target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub max_pending_per_target: Option<u32>,
    /// Further tries of failed requests, as a share of all requests; some three
    /// a second are always allowed. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub retry_budget_percent: Option<u32>,
    /// Headers that are added, or put in the place of what the client sent.
    /// Values are templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_headers: Option<BTreeMap<String, String>>,
    /// A JSON object that is merged into the client's body (POST, PUT, PATCH).
    /// Texts in it are templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_body: Option<Map<String, Value>>,
    /// Default: every method but TRACE and CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_methods: Option<Vec<String>>,
    /// Addresses or ranges. Default: every address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// Only clients that are assigned to the route may call. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_clients: Option<bool>,
    /// Requests must be signed by a client's signing secret. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_signature: Option<bool>,
    /// Default: `v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_version: Option<SignatureVersionName>,
    /// Seconds that a timestamp may be away from now, both ways. Default: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub signature_tolerance_sec: Option<u32>,
    /// Default: `x-signature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_header: Option<String>,
    /// Default: `x-timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// Default: `x-nonce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce_header: Option<String>,
    /// Take the limit below into account. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit_enabled: Option<bool>,
    /// Requests on this route in each window, of all callers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub rate_limit_requests: Option<u32>,
    /// Seconds. Default: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_678_400))]
    pub rate_limit_window_sec: Option<u32>,
    /// Requests that may come at once beyond the limit. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub rate_limit_burst: Option<u32>,
    /// What differs for single methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_configs: Option<Vec<MethodConfigDocument>>,
    /// The secrets whose placeholders a client may write in its own body.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_secrets: Option<Vec<String>>,
    /// Changes of the upstream's answers: their headers. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<ResponseHeadersDocument>,
    /// Changes of the upstream's answers: their JSON bodies, of any status.
    /// Where they cannot be made, the answer is 502 `transform_failed`.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<Vec<BodyRuleDocument>>,
    /// With `response_body`: what becomes of an answer with a body that does
    /// not say it is JSON. Default: `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_not_json: Option<NotJsonName>,
    /// How bodies of answers that have to be read are got at. Default:
    /// `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_decoding: Option<ResponseDecodingName>,
    /// What is done so that no secret which the route may inject leaves in an
    /// answer. Default: `strict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak_guard: Option<LeakGuardMode>,
    /// Let `Range` go to the upstream: a secret can then leave in parts that
    /// are not recognised. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak_guard_allow_range: Option<bool>,
    /// Let secrets be injected that are too short to be looked for, which are
    /// those of fewer than 8 bytes. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leak_guard_skip_short: Option<bool>,
    /// Certificates (PEM) that are trusted beside the system's roots; relative
    /// to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_ca_file: Option<String>,
    /// The name in SNI and in the certificate, where it is not the target's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What upstreams over TLS see of us. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<UpstreamCertificateDocument>,
    /// What is spoken to the upstream. Default: `http1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// Let the target be link-local (metadata services) or a listener of this
    /// gateway. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_reserved_target: Option<bool>,
    /// Milliseconds for TCP, then for TLS. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub connect_timeout_ms: Option<u64>,
    /// Milliseconds from the end of the request to the first byte of the answer.
    /// Default: `read_timeout_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub first_byte_timeout_ms: Option<u64>,
    /// Milliseconds between any two reads of the answer. Default: 30000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub read_timeout_ms: Option<u64>,
    /// Milliseconds from the head of the request to the end of the answer, all
    /// tries together. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub total_timeout_ms: Option<u64>,
    /// Milliseconds between any two writes of the request. Default: 30000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub write_timeout_ms: Option<u64>,
    /// Milliseconds that an unused connection is kept. Default: 60000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub idle_timeout_ms: Option<u64>,
}

/// What replaces a route's settings for one method.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MethodConfigDocument {
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_base_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject_headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject_body: Option<Map<String, Value>>,
    /// Take the limit below into account. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_enabled: Option<bool>,
    /// Requests with this method in each window; counted beside the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub rate_limit_requests: Option<u32>,
    /// Seconds. Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_678_400))]
    pub rate_limit_window_sec: Option<u32>,
    /// Requests that may come at once beyond the limit. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub rate_limit_burst: Option<u32>,
}

/// What becomes of an answer that may hold a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeakGuardMode {
    /// Secrets are masked; an answer that cannot be inspected is refused with
    /// 502 `response_uninspectable`.
    #[default]
    Strict,
    /// Secrets are masked; what cannot be inspected passes, and is counted.
    Lenient,
    /// Answers are not looked at.
    Off,
}

/// What a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureVersionName {
    /// Timestamp, method, path and query, body.
    V1,
    /// The same, and host, route id, environment and nonce.
    V2,
}
