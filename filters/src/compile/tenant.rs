//! Compiles one tenant.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use http::HeaderName;
use knoxcall_bundle::ids::{ClientId, EnvironmentName, RouteId};
use knoxcall_bundle::template::Template;
use knoxcall_bundle::{
    ApiKey, Client, JsonTemplate, MethodConfig, Route, RouteEnvironment, Scopes, Target, Tenant,
};

use super::intern::{InjectorKey, Interner, Targets};
use super::leak_guard::Guards;
use super::limits::Limits;
use crate::caller::key_slot;
use crate::cidr::{CidrMap, CidrSet};
use crate::inject::Injector;
use crate::route::RuleTable;
use crate::table::{
    AssignedClients, ClientEntry, KeyEntry, LimitIndex, MethodRules, RouteEntry, Service,
    ServiceTarget, TenantTable,
};

pub(super) struct TenantCompiler<'b, 'l> {
    tenant: &'b Tenant,
    limits: &'l mut Limits,
    targets: &'l mut Targets,
    interner: Interner,
    guards: Guards<'b>,
    sandboxes: HashSet<&'b EnvironmentName>,
    clients: HashMap<ClientId, Arc<ClientEntry>>,
    assignments: Assignments<'b>,
}

impl<'b, 'l> TenantCompiler<'b, 'l> {
    pub(super) fn new(
        tenant: &'b Tenant,
        limits: &'l mut Limits,
        targets: &'l mut Targets,
    ) -> Self {
        let sandboxes = tenant
            .environments
            .iter()
            .filter(|e| e.sandbox)
            .map(|e| &e.name);
        let enabled = tenant.clients.iter().filter(|client| client.enabled);
        let clients = enabled
            .map(|client| (client.id, client_entry(client, limits)))
            .collect();
        Self {
            tenant,
            sandboxes: sandboxes.collect(),
            assignments: Assignments::new(&tenant.clients),
            interner: Interner::default(),
            guards: Guards::new(tenant),
            clients,
            limits,
            targets,
        }
    }

    pub(super) fn compile(mut self) -> TenantTable {
        let tenant = self.tenant;
        let limit = self.limits.tenant(tenant.rate_limit, tenant.id);
        let keys = tenant
            .api_keys
            .iter()
            .filter_map(|key| self.key(key))
            .collect();
        let routes: Vec<_> = tenant
            .routes
            .iter()
            .map(|route| self.route(route))
            .collect();
        let rules = tenant.routes.iter().zip(&routes);
        TenantTable {
            id: tenant.id,
            slug: tenant.slug.clone(),
            limit,
            rules: RuleTable::new(
                rules.flat_map(|(route, entry)| route.match_rules.iter().map(move |r| (r, entry))),
            ),
            routes_by_slug: first_by(&routes, |route| route.slug.clone()),
            routes_by_id: first_by(&routes, |route| Some(route.id)),
            routes_by_name: first_by(&routes, RouteEntry::other_name),
            sandboxes: self.sandboxes.into_iter().cloned().collect(),
            keys,
            longest_tolerance: longest_tolerance(&tenant.routes),
            nobody: Arc::default(),
        }
    }

    /// A key whose client is disabled or gone is no key.
    fn key(&mut self, key: &ApiKey) -> Option<(u64, Arc<KeyEntry>)> {
        let client = match key.client {
            Some(id) => Some(self.clients.get(&id)?.clone()),
            None => None,
        };
        let scopes = match &key.scopes {
            Scopes::Any => None,
            Scopes::Only(scopes) => {
                let mut scopes: Vec<_> = scopes
                    .iter()
                    .map(|s| (s.route, s.environment.clone()))
                    .collect();
                scopes.sort();
                Some(scopes.into())
            }
        };
        let entry = KeyEntry {
            id: key.id.clone(),
            kind: key.kind,
            digest: key.digest,
            expires_at: key.expires_at,
            client,
            scopes,
            limit: self.limits.key(key.rate_limit, self.tenant.id, &key.id),
        };
        Some((key_slot(&key.digest.0), Arc::new(entry)))
    }

    fn route(&mut self, route: &Route) -> Arc<RouteEntry> {
        let services = route
            .environments
            .iter()
            .map(|here| self.service(route, here));
        Arc::new(RouteEntry {
            services: services.collect(),
            id: route.id,
            slug: (route.slug.as_ref()).map(|slug| slug.as_str().as_bytes().into()),
            name: route.name.clone(),
            enabled: route.enabled,
            base_environment: self.interner.environment(&route.base_environment),
        })
    }

    fn service(&mut self, route: &Route, here: &RouteEnvironment) -> Service {
        let configured = here.method_configs.iter();
        let methods =
            configured.map(|config| (config.method.clone(), self.method(route, here, config)));
        Service {
            by_method: methods.collect(),
            base: self.base(route, here),
            environment: self.interner.environment(&here.environment),
            enabled: here.enabled,
            sandbox: self.sandboxes.contains(&here.environment),
            open: here.open && here.enabled && route.enabled,
            allowed_methods: here
                .allowed_methods
                .as_deref()
                .map(|m| self.interner.methods(m)),
            ip_allowlist: here
                .ip_allowlist
                .as_deref()
                .map(|a| self.interner.addresses(a)),
            requires_clients: here.requires_clients,
            clients: self
                .assignments
                .here(route.id, &here.environment, &self.clients),
            signature: here.signature.clone().map(Box::new),
            limit: self
                .limits
                .route(here.rate_limit, route.id, &here.environment),
            response_rules: self.interner.response_rules(&here.response),
            leak_guard: self.guards.here(route, here),
            leak_guard_mode: here.leak_guard.mode,
            allow_range: here.leak_guard.allow_range,
        }
    }

    fn base(&mut self, route: &Route, here: &RouteEnvironment) -> Arc<MethodRules> {
        let injection = &here.injection;
        let (headers, body) = (&injection.headers, injection.body.as_ref());
        self.rules(route, here, None, headers, body, None)
    }

    fn method(
        &mut self,
        route: &Route,
        here: &RouteEnvironment,
        config: &MethodConfig,
    ) -> Arc<MethodRules> {
        let method = &config.method;
        let limit = self
            .limits
            .method(config.rate_limit, route.id, &here.environment, method);
        let target = config.target.as_ref();
        let headers = config.headers.as_ref().unwrap_or(&here.injection.headers);
        let body = config.body.as_ref().or(here.injection.body.as_ref());
        self.rules(route, here, target, headers, body, limit)
    }

    fn rules(
        &mut self,
        route: &Route,
        here: &RouteEnvironment,
        own_target: Option<&Target>,
        headers: &[(HeaderName, Template)],
        body: Option<&JsonTemplate>,
        limit: Option<LimitIndex>,
    ) -> Arc<MethodRules> {
        let (tenant, environment) = (self.tenant, &here.environment);
        let of_headers_alone = body.is_none() && here.body_secrets.is_empty();
        let key = of_headers_alone
            .then(|| InjectorKey::new(environment, headers))
            .flatten();
        let injector = self.interner.injector(key, || {
            Injector::compile(
                tenant,
                route,
                environment,
                headers,
                body,
                &here.body_secrets,
            )
        });
        let mut upstream = here.upstream.clone();
        if own_target.is_some() {
            // A method's own target stands in the place of the whole pool.
            upstream.pool.targets = Arc::default();
        }
        let target = ServiceTarget {
            tenant: tenant.id,
            environment: environment.clone(),
            target: own_target.unwrap_or(&here.target).clone(),
            upstream,
        };
        self.interner.rules(self.targets, target, injector, limit)
    }
}

fn longest_tolerance(routes: &[Route]) -> Duration {
    let environments = routes.iter().flat_map(|route| &route.environments);
    let rules = environments.filter_map(|here| here.signature.as_ref());
    rules.map(|rule| rule.tolerance).max().unwrap_or_default()
}

fn client_entry(client: &Client, limits: &mut Limits) -> Arc<ClientEntry> {
    Arc::new(ClientEntry {
        id: client.id,
        name: client.name.clone(),
        addresses: CidrSet::new(client.addresses.iter().copied()),
        signing_secrets: client.signing_secrets.as_slice().into(),
        limit: limits.client(client.rate_limit, client.id),
    })
}

fn first_by<K: std::hash::Hash + Eq>(
    routes: &[Arc<RouteEntry>],
    key: impl Fn(&RouteEntry) -> Option<K>,
) -> HashMap<K, Arc<RouteEntry>> {
    let mut map = HashMap::with_capacity(routes.len());
    for route in routes {
        if let Some(key) = key(route) {
            map.entry(key).or_insert_with(|| route.clone());
        }
    }
    map
}

/// Which enabled clients may use what, by position in the tenant's list.
struct Assignments<'b> {
    clients: &'b [Client],
    to_every_route: Vec<(usize, Option<&'b EnvironmentName>)>,
    by_route: HashMap<RouteId, Vec<(usize, Option<&'b EnvironmentName>)>>,
    known: HashMap<Vec<usize>, Arc<AssignedClients>>,
}

impl<'b> Assignments<'b> {
    fn new(clients: &'b [Client]) -> Self {
        let mut to_every_route = Vec::new();
        let mut by_route: HashMap<RouteId, Vec<_>> = HashMap::new();
        for (at, client) in clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.enabled)
        {
            for scope in &client.assignments {
                let assigned = match scope.route {
                    Some(route) => by_route.entry(route).or_default(),
                    None => &mut to_every_route,
                };
                assigned.push((at, scope.environment.as_ref()));
            }
        }
        Self {
            clients,
            to_every_route,
            by_route,
            known: HashMap::new(),
        }
    }

    fn here(
        &mut self,
        route: RouteId,
        environment: &EnvironmentName,
        entries: &HashMap<ClientId, Arc<ClientEntry>>,
    ) -> Arc<AssignedClients> {
        let of_route = self
            .by_route
            .get(&route)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut assigned: Vec<usize> = self
            .to_every_route
            .iter()
            .chain(of_route)
            .filter(|(_, only)| only.is_none_or(|only| only == environment))
            .map(|(at, _)| *at)
            .collect();
        assigned.sort_unstable();
        assigned.dedup();
        if let Some(known) = self.known.get(&assigned) {
            return known.clone();
        }
        let set = Arc::new(assigned_clients(self.clients, &assigned, entries));
        self.known.insert(assigned, set.clone());
        set
    }
}

fn assigned_clients(
    clients: &[Client],
    assigned: &[usize],
    entries: &HashMap<ClientId, Arc<ClientEntry>>,
) -> AssignedClients {
    let assigned = || assigned.iter().filter_map(|at| clients.get(*at));
    let by_address = assigned()
        .filter_map(|client| Some((client, entries.get(&client.id)?)))
        .flat_map(|(client, entry)| client.addresses.iter().map(|net| (*net, entry.clone())));
    let by_certificate = assigned()
        .filter_map(|client| Some((client, entries.get(&client.id)?)))
        .flat_map(|(client, entry)| {
            let names = client.certificates.iter();
            names.map(|name| (name.clone(), entry.clone()))
        });
    let mut ids: Vec<_> = assigned().map(|client| client.id).collect();
    ids.sort_unstable();
    AssignedClients {
        by_address: CidrMap::new(by_address),
        by_certificate: by_certificate.collect(),
        ids: ids.into(),
    }
}
