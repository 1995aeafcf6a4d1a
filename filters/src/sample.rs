//! Bundles and requests for tests and benchmarks: one tenant, `acme`, with
//! three environments, a client, keys, and as many routes as one asks for.

#![expect(
    clippy::expect_used,
    reason = "the texts below are constant, and tests use them all"
)]

use std::fmt::Debug;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use knoxcall_bundle::ids::{
    ClientId, EnvironmentName, HostName, InvalidName, RouteId, SecretId, TenantId,
};
use knoxcall_bundle::template::{SecretRef, Segment, Template};
use knoxcall_bundle::{
    ApiKey, Bundle, Client, Environment, Injection, KeyDigest, KeyKind, LeakGuardSettings,
    MatchRule, Pool, RateLimit, ResponseSettings, Route, RouteEnvironment, Scheme, Scope, Scopes,
    Secret, SecretValue, Signature, SignatureVersion, Target, TargetHost, Tenant, TenantHosts,
    Timeouts, UnixSeconds, Upstream, UpstreamProtocol,
};
use uuid::Uuid;

use crate::admit::{Admitted, Trail, admit, locate};
use crate::compile::EdgeRules;
use crate::digest;
use crate::head::Head;
use crate::refusal::Refusal;
use crate::table::RouteTable;

pub const HOST: &str = "a1b2c3d4.acme.example.test";
pub const API_HOST: &str = "acme.example.test";
pub const SANDBOX_HOST: &str = "sandbox-acme.example.test";
pub const LIVE_KEY: &str = "tk_live_sample_Zm9yIHRlc3RzIGFuZCBiZW5jaG1hcmtzIG9ubHk";
pub const TEST_KEY: &str = "tk_test_sample_Zm9yIHRlc3RzIGFuZCBiZW5jaG1hcmtzIG9ubHk";
/// Of [`client`].
pub const SIGNING_SECRET: &str = "sample-signing-secret";
/// The value of the secret `token` in every environment.
pub const TOKEN: &str = "sample-upstream-token";
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Of nobody known.
pub fn stranger() -> IpAddr {
    text("198.51.100.9", str::parse)
}

/// Inside of [`client`]'s addresses and of [`whole_chain`]'s allowlist.
pub fn client_address() -> IpAddr {
    text("192.0.2.7", str::parse)
}

fn text<T, E: Debug>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> T {
    parse(text).expect("a constant text is valid")
}

/// A name of the bundle's: `name("acme")`.
pub fn name<T>(name: &str) -> T
where
    T: for<'a> TryFrom<&'a str, Error = InvalidName>,
{
    T::try_from(name).expect("a constant name is valid")
}

/// Ids that tell themselves apart by kind and number.
pub fn id(kind: u16, number: usize) -> Uuid {
    Uuid::from_u128((u128::from(kind) << 64) | number as u128)
}

pub fn route_id(number: usize) -> RouteId {
    RouteId(id(1, number))
}

/// `acme`, without routes: one unscoped live key, one test key, one client
/// that is assigned nowhere.
pub fn tenant() -> Tenant {
    Tenant {
        id: TenantId(id(0, 1)),
        slug: name("acme"),
        hosts: TenantHosts {
            base_domain: Some(name("example.test")),
            subdomain_hash: Some(name("a1b2c3d4")),
            previous_hash: None,
            extra: vec![name("api.acme.test")],
        },
        rate_limit: None,
        environments: vec![
            Environment {
                name: name("production"),
                sandbox: false,
            },
            Environment {
                name: name("staging"),
                sandbox: false,
            },
            Environment {
                name: name("sandbox"),
                sandbox: true,
            },
        ],
        variables: Vec::new(),
        secrets: vec![token()],
        api_keys: vec![key(LIVE_KEY, KeyKind::Live), key(TEST_KEY, KeyKind::Test)],
        clients: vec![client()],
        routes: Vec::new(),
    }
}

fn token() -> Secret {
    let names: [EnvironmentName; 3] = ["production", "staging", "sandbox"].map(name);
    Secret {
        id: SecretId(id(3, 1)),
        name: name("token"),
        values: names
            .map(|name| (name, SecretValue::new(TOKEN.to_owned())))
            .into(),
    }
}

/// Unscoped, unlimited, for ever. Its id is the text up to the last `_`.
pub fn key(text: &str, kind: KeyKind) -> ApiKey {
    let id = text.rsplit_once('_').map_or(text, |(id, _)| id);
    ApiKey {
        id: name(id),
        kind,
        digest: KeyDigest(digest::sha256(text.as_bytes())),
        client: None,
        expires_at: None,
        scopes: Scopes::Any,
        rate_limit: None,
    }
}

/// 192.0.2.0/24, assigned nowhere.
pub fn client() -> Client {
    Client {
        certificates: Vec::new(),
        id: ClientId(id(2, 1)),
        name: name("warehouse"),
        enabled: true,
        addresses: vec![text("192.0.2.0/24", str::parse)],
        assignments: Vec::new(),
        signing_secrets: vec![SecretValue::new(SIGNING_SECRET.to_owned())],
        rate_limit: None,
    }
}

/// `route-{number}`, serving production and sandbox, asking for a caller and
/// nothing else.
pub fn route(number: usize) -> Route {
    Route {
        id: route_id(number),
        slug: Some(name(&format!("route-{number}"))),
        name: name(&format!("Route {number}")),
        enabled: true,
        match_rules: Vec::new(),
        base_environment: name("production"),
        environments: vec![environment("production"), environment("sandbox")],
    }
}

pub fn environment(named: &str) -> RouteEnvironment {
    RouteEnvironment {
        environment: name(named),
        enabled: true,
        open: false,
        target: Target {
            scheme: Scheme::Http,
            host: TargetHost::Name(name("upstream.test")),
            port: 80,
            path: "/v1".to_owned(),
        },
        upstream: Upstream {
            custom_ca: None,
            server_name: None,
            client_certificate: None,
            allow_reserved_target: false,
            protocol: UpstreamProtocol::Http1,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                first_byte: Duration::from_secs(30),
                read: Duration::from_secs(30),
                write: Duration::from_secs(30),
                idle: Duration::from_secs(60),
                total: None,
            },
            pool: Pool::default(),
        },
        injection: Injection::default(),
        allowed_methods: None,
        ip_allowlist: None,
        requires_clients: false,
        signature: None,
        rate_limit: None,
        method_configs: Vec::new(),
        body_secrets: Vec::new(),
        response: ResponseSettings::default(),
        leak_guard: LeakGuardSettings::default(),
    }
}

/// What a route can ask for, all at once: allowlist, methods, client,
/// signature, limit, and a secret in a header.
pub fn whole_chain() -> RouteEnvironment {
    let bearer = [
        Segment::Text(Arc::from("Bearer ")),
        Segment::Secret(SecretRef::Name(name("token"))),
    ];
    RouteEnvironment {
        injection: Injection {
            headers: vec![(
                http::header::AUTHORIZATION,
                Template::Segments(Arc::from(bearer)),
            )],
            body: None,
        },
        allowed_methods: Some(vec![Method::GET, Method::POST]),
        ip_allowlist: Some(vec![text("192.0.2.0/24", str::parse)]),
        requires_clients: true,
        signature: Some(signature(SignatureVersion::V1)),
        rate_limit: Some(rate_limit(1_000_000)),
        ..environment("production")
    }
}

pub fn signature(version: SignatureVersion) -> Signature {
    Signature {
        version,
        tolerance: Duration::from_secs(300),
        signature_header: HeaderName::from_static("x-signature"),
        timestamp_header: HeaderName::from_static("x-timestamp"),
        nonce_header: HeaderName::from_static("x-nonce"),
    }
}

/// In each minute.
pub fn rate_limit(requests: u32) -> RateLimit {
    RateLimit {
        requests: NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN),
        window: Duration::from_secs(60),
        burst: 0,
    }
}

pub fn rule(host: Option<&str>, prefix: &str, strip_prefix: bool) -> MatchRule {
    let host: Option<HostName> = host.map(name);
    MatchRule {
        host,
        path_prefix: prefix.to_owned(),
        strip_prefix,
    }
}

/// Everywhere, or on one route, in every environment.
pub fn assignment(route: Option<RouteId>) -> Scope {
    Scope {
        route,
        environment: None,
    }
}

/// `acme` with `routes` routes that ask for the whole chain, each also found
/// by the path `/r/{number}`.
pub fn bundle(routes: usize) -> Bundle {
    let mut tenant = tenant();
    tenant.rate_limit = Some(rate_limit(10_000_000));
    for client in &mut tenant.clients {
        client.assignments.push(assignment(None));
    }
    tenant.routes.extend((0..routes).map(|number| Route {
        match_rules: vec![rule(None, &format!("/r/{number}"), true)],
        environments: vec![whole_chain()],
        ..route(number)
    }));
    Bundle {
        tenants: vec![tenant],
    }
}

/// Compiled, without trusted proxies.
pub fn table(tenant: Tenant) -> RouteTable {
    RouteTable::compile(
        &Bundle {
            tenants: vec![tenant],
        },
        &EdgeRules::default(),
    )
}

/// Both steps of the decision, and what they have left for the record.
pub fn decide<'t, 'h>(
    table: &'t RouteTable,
    request: &'h Request,
    peer: IpAddr,
) -> (Result<Admitted<'t, 'h>, Refusal>, Trail<'t>) {
    let (head, mut trail) = (request.head(), Trail::default());
    let admitted =
        locate(table, &head, peer, NOW).and_then(|site| admit(&site, &head, NOW, &mut trail));
    (admitted, trail)
}

/// A request's head that owns its parts.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub target: String,
    pub host: String,
    pub headers: HeaderMap,
}

impl Request {
    /// To [`HOST`].
    pub fn get(target: &str) -> Self {
        Self {
            method: Method::GET,
            target: target.to_owned(),
            host: HOST.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    #[must_use]
    pub fn to_host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    #[must_use]
    pub fn by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Beside the ones of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = text(name, |name| HeaderName::from_bytes(name.as_bytes()));
        self.headers
            .append(name, text(value, |v| HeaderValue::from_bytes(v.as_bytes())));
        self
    }

    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("x-knoxcall-key", key)
    }

    #[must_use]
    pub fn route(self, route: &str) -> Self {
        self.header("x-knoxcall-route", route)
    }

    #[must_use]
    pub fn environment(self, environment: &str) -> Self {
        self.header("x-knoxcall-environment", environment)
    }

    pub fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            target: self.target.as_bytes(),
            host: self.host.as_bytes(),
            version: Version::HTTP_11,
            headers: &self.headers,
        }
    }
}
