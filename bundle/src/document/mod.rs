//! The document as people write it: serde structs whose doc comments become
//! the help of the JSON Schema. Nothing here is checked beyond its shape; what
//! a name, an address or a template means is the business of `validate`.
//!
//! What concerns the process (listeners, limits, logging) and what concerns
//! the tenant are apart, because the second part also arrives as JSON from a
//! control plane.

mod access;
mod listener;
mod logging;
mod process;
mod response;
mod route;
mod tenant;
mod tracing;
mod upstream;

pub use access::{
    ApiKeyDocument, CallerCertificateDocument, ClientDocument, OneOrMany, ScopeDocument,
};
pub use listener::{
    CertificateDocument, ClientAuthName, ListenerDocument, ListenerTlsDocument,
    ProxyProtocolDocument, TlsVersionName,
};
pub use logging::{LogFormat, LogLevel, LoggingDocument, ObfuscateDocument, RequestLogDocument};
pub use process::{
    AdminDocument, CountersDocument, LimitsDocument, TrustedProxyDocument, UpstreamDocument,
};
pub use response::{BodyRuleDocument, NotJsonName, ResponseDecodingName, ResponseHeadersDocument};
pub use route::{
    LeakGuardMode, MatchDocument, MethodConfigDocument, RouteDocument, RouteSettings,
    SignatureVersionName,
};
pub use tenant::{
    EnvironmentDocument, PreviousHashDocument, SecretDocument, SecretSource, TenantIdentity,
    VariableDocument,
};
pub use tracing::TracingDocument;
pub use upstream::{
    BalanceName, EjectionDocument, HealthCheckDocument, HealthCheckName, ProtocolName,
    TargetDocument, UpstreamCertificateDocument,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of a standalone gateway: one file is the whole input.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "knoxcall configuration")]
pub struct Document {
    /// Where requests are accepted: at most 256. Default: one listener on
    /// 127.0.0.1:8080.
    pub listeners: Vec<ListenerDocument>,
    /// The read-only listener for health and metrics.
    pub admin: AdminDocument,
    /// Worker threads. Default: the number of cores.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u32>,
    /// Socket peers that may say whom they speak for (load balancers, CDNs).
    pub trusted_proxies: Vec<TrustedProxyDocument>,
    /// Bounds on connections, heads and bodies.
    pub limits: LimitsDocument,
    /// State that instances share: rate limits and replay protection.
    pub counters: CountersDocument,
    /// Connections to upstreams, for all routes.
    pub upstream: UpstreamDocument,
    /// The program's log and the request log.
    pub logging: LoggingDocument,
    /// Spans of requests, exported by OTLP.
    pub tracing: TracingDocument,

    /// Whose gateway this is, and under which hosts it answers.
    pub tenant: TenantIdentity,
    /// The tenant's environments. Default: one, `production`.
    pub environments: Vec<EnvironmentDocument>,
    /// Values that templates use as `{{var:KEY}}`; not secret.
    pub variables: Vec<VariableDocument>,
    /// Values that templates use as `{{secret:NAME}}`.
    pub secrets: Vec<SecretDocument>,
    /// Keys that callers send as `x-knoxcall-key`; only their digests are kept.
    pub api_keys: Vec<ApiKeyDocument>,
    /// Who calls, and from where.
    pub clients: Vec<ClientDocument>,
    /// Where requests go and what is done to them.
    pub routes: Vec<RouteDocument>,
}

/// The part of a document that a tenant owns.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantDocument {
    pub tenant: TenantIdentity,
    pub environments: Vec<EnvironmentDocument>,
    pub variables: Vec<VariableDocument>,
    pub secrets: Vec<SecretDocument>,
    pub api_keys: Vec<ApiKeyDocument>,
    pub clients: Vec<ClientDocument>,
    pub routes: Vec<RouteDocument>,
}

/// The part of a document that the operator of the process owns.
#[derive(Clone, Default)]
pub struct ProcessDocument {
    pub listeners: Vec<ListenerDocument>,
    pub admin: AdminDocument,
    pub workers: Option<u32>,
    pub trusted_proxies: Vec<TrustedProxyDocument>,
    pub limits: LimitsDocument,
    pub counters: CountersDocument,
    pub upstream: UpstreamDocument,
    pub logging: LoggingDocument,
    pub tracing: TracingDocument,
}

impl Document {
    pub fn split(self) -> (ProcessDocument, TenantDocument) {
        let process = ProcessDocument {
            listeners: self.listeners,
            admin: self.admin,
            workers: self.workers,
            trusted_proxies: self.trusted_proxies,
            limits: self.limits,
            counters: self.counters,
            upstream: self.upstream,
            logging: self.logging,
            tracing: self.tracing,
        };
        let tenant = TenantDocument {
            tenant: self.tenant,
            environments: self.environments,
            variables: self.variables,
            secrets: self.secrets,
            api_keys: self.api_keys,
            clients: self.clients,
            routes: self.routes,
        };
        (process, tenant)
    }
}

/// The JSON Schema of the configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// `UPDATE_GOLDEN=1 cargo test -p knoxcall-bundle` writes the file.
    #[test]
    fn the_schema_changes_only_on_purpose() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/document/schema.golden.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let text = serde_json::to_string_pretty(&schema()).unwrap();
            std::fs::write(&file, text + "\n").unwrap();
        }
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(golden, schema());
    }
}
