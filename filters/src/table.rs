//! A bundle, compiled: what a request is judged by. Made once for each bundle,
//! then only read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use http::{HeaderValue, Method};
use knoxcall_bundle::ids::{
    ClientId, ClientName, EnvironmentName, KeyId, RouteId, RouteName, TenantId, TenantSlug,
};
use knoxcall_bundle::{
    CertificateName, KeyDigest, KeyKind, LeakGuardMode, RateLimit, SecretValue, Signature, Target,
    UnixSeconds, Upstream,
};
use smallvec::SmallVec;

use crate::cidr::{CidrMap, CidrSet};
use crate::inject::Injector;
use crate::leak_guard::LeakGuard;
use crate::refusal::LimitScope;
use crate::response_rules::ResponseRules;
use crate::route::RuleTable;

#[derive(Debug)]
pub struct RouteTable {
    /// Every host name we answer to, in lower case.
    pub(crate) hosts: HashMap<Box<str>, HostEntry>,
    pub(crate) tenants: Box<[TenantTable]>,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Every limit of every tenant; `LimitIndex` points in here.
    pub limits: Box<[LimitSpec]>,
    /// Every target once, without its path: one upstream may serve many.
    /// `TargetIndex` points in here. Whoever prepares connections keeps a list of
    /// the same order.
    pub targets: Box<[Arc<ServiceTarget>]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct HostEntry {
    pub tenant: usize,
    /// `{slug}.{base}` serves the proxy under `/api`.
    pub strips_api: bool,
    pub sandbox: bool,
    /// A rolled hash that overlaps.
    pub valid_until: Option<UnixSeconds>,
}

#[derive(Debug)]
pub struct TenantTable {
    pub id: TenantId,
    pub slug: TenantSlug,
    pub limit: Option<LimitIndex>,
    pub(crate) routes_by_slug: HashMap<Handle, Arc<RouteEntry>>,
    pub(crate) routes_by_id: HashMap<RouteId, Arc<RouteEntry>>,
    pub(crate) routes_by_name: HashMap<Handle, Arc<RouteEntry>>,
    pub(crate) rules: RuleTable,
    /// Test keys are valid in these, and only in these. Few.
    pub(crate) sandboxes: Box<[EnvironmentName]>,
    /// By the first eight bytes of the digest; whoever looks up compares all
    /// of it in constant time.
    pub(crate) keys: HashMap<u64, Arc<KeyEntry>>,
    /// Of all signed routes: as long as any of them takes a signature, all
    /// remember it.
    pub(crate) longest_tolerance: Duration,
    /// Asked where there is no service.
    pub(crate) nobody: Arc<AssignedClients>,
}

/// What a route is asked for by. It lies where it is kept: with many routes,
/// text elsewhere is in no cache and has to be waited for. In a map, with what
/// it leads to, it fills one cache line.
pub type Handle = SmallVec<[u8; 48]>;
const _: () = assert!(size_of::<(Handle, Arc<RouteEntry>)>() <= 64);

#[derive(Debug)]
pub struct RouteEntry {
    pub id: RouteId,
    pub slug: Option<Handle>,
    pub name: RouteName,
    /// A disabled route is not found, by callers who are known to it.
    pub enabled: bool,
    pub base_environment: EnvironmentName,
    /// Few: searched in order. Most often one, and then close at hand: of many
    /// routes none is in the processor's caches.
    pub(crate) services: SmallVec<[Service; 1]>,
}

/// A route in one environment: all that serving a request needs.
#[derive(Debug)]
pub struct Service {
    pub environment: EnvironmentName,
    pub enabled: bool,
    pub sandbox: bool,
    /// No caller is asked for. Never so while the route or this environment is
    /// paused: strangers are not told.
    pub open: bool,
    pub allowed_methods: Option<Arc<[Method]>>,
    pub ip_allowlist: Option<Arc<CidrSet>>,
    pub requires_clients: bool,
    pub(crate) clients: Arc<AssignedClients>,
    pub signature: Option<Box<Signature>>,
    pub limit: Option<LimitIndex>,
    /// `None`: answers stay as they are.
    pub response_rules: Option<Arc<ResponseRules>>,
    /// `None`: there is nothing to be kept out of answers, or nobody wants it.
    pub leak_guard: Option<Arc<LeakGuard>>,
    pub leak_guard_mode: LeakGuardMode,
    /// `Range` goes to the upstream, guarded or not.
    pub allow_range: bool,
    /// What holds where no method configuration does.
    pub(crate) base: Arc<MethodRules>,
    pub(crate) by_method: Box<[(Method, Arc<MethodRules>)]>,
}

/// The clients assigned to a route in an environment.
#[derive(Debug, Default)]
pub(crate) struct AssignedClients {
    pub by_address: CidrMap<Arc<ClientEntry>>,
    pub by_certificate: HashMap<CertificateName, Arc<ClientEntry>>,
    /// Sorted.
    pub ids: Box<[ClientId]>,
}

/// What may differ from method to method.
#[derive(Debug)]
pub struct MethodRules {
    pub target: Arc<ServiceTarget>,
    pub target_index: TargetIndex,
    /// The target's `Host`.
    pub host: HeaderValue,
    pub injector: Arc<Injector>,
    pub limit: Option<LimitIndex>,
}

/// Where requests go and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTarget {
    /// Connections are never shared across these two.
    pub tenant: TenantId,
    pub environment: EnvironmentName,
    pub target: Target,
    pub upstream: Upstream,
}

#[derive(Debug)]
pub struct KeyEntry {
    pub id: KeyId,
    pub kind: KeyKind,
    pub(crate) digest: KeyDigest,
    pub expires_at: Option<UnixSeconds>,
    pub client: Option<Arc<ClientEntry>>,
    /// `None`: every route and environment. Sorted.
    pub(crate) scopes: Option<Box<[KeyScope]>>,
    pub limit: Option<LimitIndex>,
}

/// A route and an environment, either of which may be any.
pub(crate) type KeyScope = (Option<RouteId>, Option<EnvironmentName>);

#[derive(Debug)]
pub struct ClientEntry {
    pub id: ClientId,
    pub name: ClientName,
    /// Empty: from anywhere, where a key says who it is.
    pub(crate) addresses: CidrSet,
    pub(crate) signing_secrets: Box<[SecretValue]>,
    pub limit: Option<LimitIndex>,
}

/// Which socket peers may say whom they speak for.
#[derive(Debug, Default)]
pub struct TrustedProxies {
    /// The value: does this proxy set `CF-Connecting-IP`?
    pub(crate) by_address: CidrMap<bool>,
}

/// A template that fails for every request to a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingTemplate {
    pub route: RouteName,
    pub environment: EnvironmentName,
    /// `inject_headers.NAME` or `inject_body`, after the method where it is
    /// configured for one alone.
    pub field: String,
}

impl RouteTable {
    /// Templates that were rendered when the table was compiled, and failed: a
    /// mistake of the configuration that only its values show.
    pub fn failing_templates(&self) -> Vec<FailingTemplate> {
        let routes = self.tenants.iter().flat_map(|t| t.routes_by_id.values());
        let mut failing: Vec<_> = routes
            .flat_map(|route| route.services.iter().map(move |service| (route, service)))
            .flat_map(|(route, service)| service.failing(&route.name))
            .collect();
        failing.sort_by(|one, other| one.place().cmp(&other.place()));
        failing
    }

    /// Is the socket peer a proxy whose word on the client counts?
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.contains(peer)
    }
}

impl FailingTemplate {
    /// Route, environment, field.
    pub fn place(&self) -> (&str, &str, &str) {
        (self.route.as_str(), self.environment.as_str(), &self.field)
    }
}

impl RouteEntry {
    /// The slug, else the name.
    pub fn handle(&self) -> &[u8] {
        match &self.slug {
            Some(slug) => slug,
            None => self.name.as_str().as_bytes(),
        }
    }

    /// Where it is the slug, as most are, that finds the route already.
    pub(crate) fn other_name(&self) -> Option<Handle> {
        let name = Handle::from_slice(self.name.as_str().as_bytes());
        Some(name).filter(|name| self.slug.as_ref() != Some(name))
    }
}

impl Service {
    fn failing(&self, route: &RouteName) -> impl Iterator<Item = FailingTemplate> {
        let of_methods = self.by_method.iter().flat_map(|(method, rules)| {
            let failing = rules.injector.failing();
            failing.map(move |field| format!("method_configs.{method}.{field}"))
        });
        let fields = self.base.injector.failing().chain(of_methods);
        fields.map(|field| FailingTemplate {
            route: route.clone(),
            environment: self.environment.clone(),
            field,
        })
    }
}

impl TrustedProxies {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.by_address.get(address).is_some()
    }
}

/// Points into [`RouteTable::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitIndex(pub usize);

/// Points into [`RouteTable::targets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetIndex(pub usize);

/// A limit, and the name under which its state outlives this table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    pub scope: LimitScope,
    /// Stable across bundles and instances: `tenant/<id>`,
    /// `route/<id>/<environment>`, `method/<id>/<environment>/<METHOD>`,
    /// `client/<id>`, `key/<tenant>/<id>`.
    pub name: String,
    pub rate: RateLimit,
}
