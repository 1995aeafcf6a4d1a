//! Routes: identity, the environments they serve, and what they do in each.

use http::Method;

use crate::document::{RouteDocument, RouteSettings, TenantDocument};
use crate::ids::{EnvironmentName, HostName, RouteId, RouteName, RouteSlug, TenantId};
use crate::model::{Route, RouteEnvironment};
use crate::problem::{At, Problems};

use super::callers::Callers;
use super::context::{Names, Unique, id_or_derived, named, place};
use super::injection::{self, Injections};
use super::limit::rate_limit;
use super::match_rule::Rules;
use super::response::response;
use super::settings_merge::Merged;
use super::signature::signature;
use super::upstream::Upstreams;
use super::{Sources, address, header, leak_guard, pool, templates};

/// The ids of all routes, in their order, before anything refers to them.
pub(super) fn ids(
    document: &TenantDocument,
    tenant: TenantId,
    problems: &mut Problems,
) -> Vec<Option<RouteId>> {
    let section = At::ROOT.key("routes");
    let mut identities = Identities::default();
    let routes = document.routes.iter().enumerate();
    let ids = routes
        .map(|(index, route)| {
            identities.take(route, index, tenant, &section.index(index), problems)
        })
        .collect();
    identities.check_across(document, problems);
    ids
}

/// A request names a route by slug, id or name: none may stand for two.
#[derive(Default)]
struct Identities {
    slugs: Unique,
    names: Unique,
    ids: Unique,
}

impl Identities {
    fn take(
        &mut self,
        route: &RouteDocument,
        index: usize,
        tenant: TenantId,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<RouteId> {
        let Some(handle) = route.slug.as_ref().or(route.name.as_ref()) else {
            problems.add_missing(at, "has neither slug nor name", "add a slug");
            return None;
        };
        if let Some(slug) = &route.slug {
            let at = at.key("slug");
            not_an_id(slug, &at, problems);
            named::<RouteSlug>(slug, &at, problems)?;
            self.slugs.check(slug, index, "routes", &at, problems);
        }
        if let Some(name) = &route.name {
            let at = at.key("name");
            not_an_id(name, &at, problems);
            named::<RouteName>(name, &at, problems)?;
            self.names.check(name, index, "routes", &at, problems);
        }
        let id = id_or_derived(route.id.as_deref(), (tenant, "route", handle), at, problems);
        self.ids
            .check_id(id, index, ("routes", route.id.as_deref()), at, problems);
        Some(RouteId(id))
    }

    fn check_across(&self, document: &TenantDocument, problems: &mut Problems) {
        let section = At::ROOT.key("routes");
        for (index, route) in document.routes.iter().enumerate() {
            let Some(name) = &route.name else { continue };
            let other = self.slugs.place_of(name).filter(|other| *other != index);
            if let Some(other) = other {
                let remedy = "requests by this name would reach that route: change one of them";
                let at = section.index(index);
                problems.add_clash(
                    &at.key("name"),
                    "is the slug of",
                    place("routes", other),
                    remedy,
                );
            }
        }
    }
}

fn not_an_id(text: &str, at: &At<'_>, problems: &mut Problems) {
    if uuid::Uuid::try_parse(text).is_ok() {
        problems.add(
            at,
            "has the form of a UUID",
            "UUIDs select routes by their id",
        );
    }
}

/// What routes are checked against.
pub(super) struct Routes<'a> {
    names: &'a Names<'a>,
    callers: Callers,
    hosts: &'a [HostName],
    sources: &'a mut dyn Sources,
    injections: Injections<'a>,
    rules: Rules,
}

impl<'a> Routes<'a> {
    pub(super) fn new(
        names: &'a Names<'a>,
        callers: Callers,
        hosts: &'a [HostName],
        sources: &'a mut dyn Sources,
    ) -> Self {
        Self {
            names,
            callers,
            hosts,
            sources,
            injections: Injections::new(names),
            rules: Rules::default(),
        }
    }

    pub(super) fn all(
        mut self,
        document: &TenantDocument,
        ids: &[Option<RouteId>],
        problems: &mut Problems,
    ) -> Vec<Route> {
        let section = At::ROOT.key("routes");
        let routes = document.routes.iter().zip(ids).enumerate();
        routes
            .filter_map(|(index, (route, id))| {
                // Without an id the route is judged all the same.
                let known = id.unwrap_or(RouteId(uuid::Uuid::nil()));
                let route = self.route(route, index, known, &section.index(index), problems);
                route.filter(|_| id.is_some())
            })
            .collect()
    }

    fn route(
        &mut self,
        document: &RouteDocument,
        index: usize,
        id: RouteId,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Route> {
        let slug = document
            .slug
            .as_deref()
            .and_then(|slug| RouteSlug::try_from(slug).ok());
        let name = document.name.as_deref().or(document.slug.as_deref());
        let match_at = at.key("match");
        let rules = document.match_rules.iter().enumerate();
        let match_rules = rules
            .filter_map(|(position, rule)| {
                let at = match_at.index(position);
                self.rules.rule(rule, index, self.hosts, &at, problems)
            })
            .collect();
        let base = self.base_environment(document, at, problems)?;
        let environments = self.environments(document, id, &base, at, problems);
        self.callers.check_assigned(id, &environments, at, problems);
        Some(Route {
            id,
            slug,
            name: name.and_then(|name| RouteName::try_from(name).ok())?,
            enabled: document.settings.enabled.unwrap_or(true),
            match_rules,
            environments,
            base_environment: base,
        })
    }

    fn base_environment(
        &self,
        document: &RouteDocument,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<EnvironmentName> {
        let at = at.key("base_environment");
        if let Some(text) = &document.base_environment {
            return self.names.environment(text, &at, problems);
        }
        let known = &self.names.environments;
        let production = known.iter().find(|name| name.as_str() == "production");
        let only = known.first().filter(|_| known.len() == 1);
        let base = production.or(only).cloned();
        if base.is_none() {
            let remedy = "there is no `production` to stand in for it";
            problems.add(&at, "is missing", remedy);
        }
        base
    }

    fn environments(
        &mut self,
        document: &RouteDocument,
        id: RouteId,
        base: &EnvironmentName,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Vec<RouteEnvironment> {
        let handle = document.slug.as_deref().or(document.name.as_deref());
        let handle = handle.unwrap_or_default();
        let overrides_at = at.key("environments");
        let mut served: Vec<(EnvironmentName, Option<&RouteSettings>)> = Vec::new();
        if !document.environments.contains_key(base.as_str()) {
            served.push((base.clone(), None));
        }
        for (text, settings) in &document.environments {
            let name = self
                .names
                .environment(text, &overrides_at.key(text), problems);
            served.extend(name.map(|name| (name, settings.as_ref())));
        }
        let served = served.into_iter();
        served
            .filter_map(|(environment, settings)| {
                let own_at = overrides_at.key(environment.as_str());
                let own = settings.map(|settings| (settings, &own_at));
                let merged = Merged::new((&document.settings, at), own);
                let enabled = own
                    .and_then(|(settings, _)| settings.enabled)
                    .unwrap_or(true);
                let here = self.environment(id, environment.clone(), enabled, &merged, problems)?;
                leak_guard::check_lengths(handle, &here, &merged, self.names, problems);
                Some(here)
            })
            .collect()
    }

    fn environment(
        &mut self,
        id: RouteId,
        environment: EnvironmentName,
        enabled: bool,
        merged: &Merged<'_>,
        problems: &mut Problems,
    ) -> Option<RouteEnvironment> {
        let open = merged.flag(|settings| &settings.open);
        let requires_clients = merged.flag(|settings| &settings.requires_clients);
        let signature = signature(merged, problems);
        check_open(
            open,
            requires_clients,
            signature.is_some(),
            merged.at(),
            problems,
        );
        if signature.is_some() && !open {
            let at = merged.at();
            self.callers.check_signers(id, &environment, at, problems);
        }
        let allowed_methods = allowed_methods(merged, problems);
        let mut upstream = Upstreams {
            names: self.names,
            environment: &environment,
        }
        .read(merged, self.sources, problems);
        let reserved_allowed = upstream.allow_reserved_target;
        let injection = self.injections.injection(merged, &environment, problems);
        let method_configs = injection::MethodConfigs {
            environment: &environment,
            allowed: allowed_methods.as_deref(),
            reserved_allowed,
        }
        .all(merged, &mut self.injections, problems);
        let ip_allowlist = merged
            .pick(|settings| &settings.ip_allowlist)
            .map(|list| address::ranges(list.value, &list.at.key("ip_allowlist"), problems));
        let body_secrets = merged.pick(|settings| &settings.body_secrets).map(|list| {
            templates::secret_ids(
                list.value,
                self.names,
                &list.at.key("body_secrets"),
                problems,
            )
        });
        let limit = merged.limit();
        let rate_limit = rate_limit(limit.value, limit.at, problems);
        let targets = pool::targets(merged, reserved_allowed, problems);
        let targets = targets?;
        let target = targets.first()?.target.clone();
        if targets.len() > 1 {
            upstream.pool.targets = targets.into();
        }
        Some(RouteEnvironment {
            environment,
            enabled,
            open,
            target,
            upstream,
            injection,
            allowed_methods,
            ip_allowlist,
            requires_clients,
            signature,
            rate_limit,
            method_configs,
            body_secrets: body_secrets.unwrap_or_default(),
            response: response(merged, problems),
            leak_guard: leak_guard::leak_guard(merged),
        })
    }
}

fn check_open(
    open: bool,
    requires_clients: bool,
    signed: bool,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let remedy = "an open route asks for no caller: keep one of the two";
    if open && requires_clients {
        problems.add(at, "is open and requires clients", remedy);
    }
    if open && signed {
        problems.add(at, "is open and requires signatures", remedy);
    }
}

fn allowed_methods(merged: &Merged<'_>, problems: &mut Problems) -> Option<Vec<Method>> {
    let list = merged.pick(|settings| &settings.allowed_methods)?;
    let at = list.at.key("allowed_methods");
    let mut methods: Vec<Method> = Vec::new();
    for (index, text) in list.value.iter().enumerate() {
        let method = header::method(text, &at.index(index), problems);
        methods.extend(method.filter(|method| !methods.contains(method)));
    }
    Some(methods)
}
