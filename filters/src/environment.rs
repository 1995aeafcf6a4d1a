//! In which environment a request is served: the one it names by
//! `x-knoxcall-environment`, else the route's base.
//!
//! On a sandbox host nothing but sandbox environments serves; unnamed, it is
//! the base if that is one, else the route's first sandbox.

use std::sync::Arc;

use knoxcall_bundle::KeyKind;
use knoxcall_bundle::ids::EnvironmentName;

use crate::admit::Site;
use crate::caller::Caller;
use crate::refusal::Refusal;
use crate::table::{RouteEntry, Service, TenantTable};

/// What follows from the request, known before anybody may be told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'t, 'n> {
    /// As named, or as the route has it; `None` where neither says one.
    pub name: Option<&'n str>,
    pub service: Option<&'t Service>,
    /// Test keys are valid here. Told by the name alone, so that a test key
    /// cannot find out which routes exist outside of the sandbox.
    pub sandbox: bool,
}

pub(crate) fn choose<'t: 'n, 'n>(
    site: &Site<'t>,
    route: Option<&'t Arc<RouteEntry>>,
    named: Option<&'n [u8]>,
) -> Chosen<'t, 'n> {
    let name = match named {
        Some(text) => std::str::from_utf8(text).ok(),
        None => route
            .and_then(|route| unnamed(site, route))
            .map(EnvironmentName::as_str),
    };
    let sandbox = match name {
        Some(name) => is_sandbox(site.tenant, name),
        None => site.sandbox && named.is_none(),
    };
    let service = match (route, name) {
        (Some(route), Some(name)) if sandbox || !site.sandbox => service(route, name),
        (Some(_) | None, Some(_) | None) => None,
    };
    Chosen {
        name,
        service,
        sandbox,
    }
}

/// For callers who are known: what there is, or which of it is missing. To a
/// test key, a route without a sandbox does not exist.
pub(crate) fn found<'t>(
    route: Option<&'t Arc<RouteEntry>>,
    chosen: &Chosen<'t, '_>,
    caller: &Caller<'_>,
) -> Result<(&'t Arc<RouteEntry>, &'t Service), Refusal> {
    let is_test = caller.key().is_some_and(|key| key.kind == KeyKind::Test);
    let is_shown = |route: &RouteEntry| !is_test || route.services.iter().any(|s| s.sandbox);
    let route = route
        .filter(|route| route.enabled && is_shown(route))
        .ok_or(Refusal::RouteNotFound)?;
    let service = chosen.service.ok_or(Refusal::EnvironmentNotConfigured)?;
    if !service.enabled {
        return Err(Refusal::EnvironmentDisabled);
    }
    Ok((route, service))
}

fn unnamed<'t>(site: &Site<'_>, route: &'t RouteEntry) -> Option<&'t EnvironmentName> {
    let base = &route.base_environment;
    if !site.sandbox || is_sandbox(site.tenant, base.as_str()) {
        return Some(base);
    }
    let first = route.services.iter().find(|service| service.sandbox)?;
    Some(&first.environment)
}

fn service<'t>(route: &'t RouteEntry, name: &str) -> Option<&'t Service> {
    route
        .services
        .iter()
        .find(|service| service.environment.as_str() == name)
}

fn is_sandbox(tenant: &TenantTable, name: &str) -> bool {
    tenant
        .sandboxes
        .iter()
        .any(|sandbox| sandbox.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, API_HOST, LIVE_KEY, Request, SANDBOX_HOST, TEST_KEY};

    fn tenant() -> knoxcall_bundle::Tenant {
        let mut tenant = sample::tenant();
        tenant.routes.push(sample::route(1));
        tenant
    }

    fn served(tenant: knoxcall_bundle::Tenant, request: &Request) -> Result<String, Refusal> {
        let table = sample::table(tenant);
        let (admitted, _) = sample::decide(&table, request, sample::stranger());
        admitted.map(|admitted| admitted.service.environment.to_string())
    }

    fn request() -> Request {
        Request::get("/a").route("route-1").key(LIVE_KEY)
    }

    #[test]
    fn the_base_serves_where_the_request_names_none() {
        assert_eq!(served(tenant(), &request()).as_deref(), Ok("production"));
    }

    #[test]
    fn the_named_one_serves() {
        let named = request().environment("sandbox");
        assert_eq!(served(tenant(), &named).as_deref(), Ok("sandbox"));
    }

    #[test]
    fn an_unknown_environment_is_not_the_base() {
        for name in ["staging", "nowhere", "", "Production", "\u{e9}"] {
            let refused = served(tenant(), &request().environment(name));
            assert_eq!(refused, Err(Refusal::EnvironmentNotConfigured), "{name}");
        }
    }

    #[test]
    fn a_paused_environment_is_told_from_an_unknown_one() {
        let mut tenant = tenant();
        tenant.routes[0].environments[0].enabled = false;
        assert_eq!(
            served(tenant, &request()),
            Err(Refusal::EnvironmentDisabled)
        );
    }

    #[test]
    fn a_sandbox_host_serves_sandboxes_only() {
        let there = request().to_host(SANDBOX_HOST);
        assert_eq!(served(tenant(), &there).as_deref(), Ok("sandbox"));
        let production = there.clone().environment("production");
        assert_eq!(
            served(tenant(), &production),
            Err(Refusal::EnvironmentNotConfigured)
        );
        let mut without = tenant();
        without.routes[0].environments.pop();
        assert_eq!(
            served(without, &there),
            Err(Refusal::EnvironmentNotConfigured)
        );
    }

    #[test]
    fn test_keys_are_valid_in_sandboxes_only() {
        let test = Request::get("/a").route("route-1").key(TEST_KEY);
        assert_eq!(served(tenant(), &test), Err(Refusal::Unauthorized));
        let sandbox = test.clone().environment("sandbox");
        assert_eq!(served(tenant(), &sandbox).as_deref(), Ok("sandbox"));
        let on_host = test.clone().to_host(SANDBOX_HOST);
        assert_eq!(served(tenant(), &on_host).as_deref(), Ok("sandbox"));
        let production = test.to_host(SANDBOX_HOST).environment("production");
        assert_eq!(served(tenant(), &production), Err(Refusal::Unauthorized));
    }

    #[test]
    fn a_test_key_does_not_tell_routes_without_a_sandbox_from_none() {
        let mut tenant = tenant();
        let mut production_only = sample::route(2);
        production_only.environments.pop();
        tenant.routes.push(production_only);
        for (host, named) in [
            (sample::HOST, true),
            (SANDBOX_HOST, true),
            (SANDBOX_HOST, false),
        ] {
            for route in ["route-2", "route-3"] {
                let mut asked = Request::get("/a").to_host(host).route(route).key(TEST_KEY);
                if named {
                    asked = asked.environment("sandbox");
                }
                assert_eq!(served(tenant.clone(), &asked), Err(Refusal::RouteNotFound));
            }
        }
        let live = Request::get("/a").route("route-2").key(LIVE_KEY);
        let live = live.environment("sandbox");
        assert_eq!(
            served(tenant, &live),
            Err(Refusal::EnvironmentNotConfigured)
        );
    }

    #[test]
    fn a_test_key_does_not_tell_which_routes_exist_outside_of_the_sandbox() {
        for host in [API_HOST, sample::HOST] {
            for route in ["route-1", "route-2"] {
                for environment in [None, Some("production"), Some("staging"), Some("nowhere")] {
                    let mut asked = Request::get("/a").to_host(host).route(route).key(TEST_KEY);
                    if let Some(environment) = environment {
                        asked = asked.environment(environment);
                    }
                    assert_eq!(served(tenant(), &asked), Err(Refusal::Unauthorized));
                }
            }
        }
    }
}
