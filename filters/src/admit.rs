//! The decision about a request, up to what needs shared counters or the
//! body: tenant, client address, route, environment, caller, method, address
//! allowlist, in this order.
//!
//! The rule: before the caller is known, an answer depends only on bytes and
//! on the host; whether a route or an environment exists is told to a known
//! caller alone.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use knoxcall_bundle::UnixSeconds;

pub use crate::caller::{Caller, Effort, Unrecognised};
use crate::certificate::ClientCertificate;
pub use crate::client_address::ClientAddress;
use crate::head::Head;
use crate::refusal::Refusal;
use crate::table::{
    ClientEntry, KeyEntry, MethodRules, RouteEntry, RouteTable, Service, TenantTable,
};
use crate::{
    caller, client_address, environment, ip_allowlist, method, names, path, route, tenant,
};

/// Where a request has arrived, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Site<'t> {
    pub tenant: &'t TenantTable,
    /// The host in lower case, without port.
    pub host: &'t str,
    /// `{slug}.{base}` serves the proxy under `/api`.
    pub strips_api: bool,
    /// Only sandbox environments serve here.
    pub sandbox: bool,
    pub address: ClientAddress,
}

/// A request that may be served, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'t, 'h> {
    pub tenant: &'t TenantTable,
    pub route: &'t Arc<RouteEntry>,
    pub service: &'t Service,
    pub rules: &'t Arc<MethodRules>,
    pub caller: Caller<'t>,
    pub address: ClientAddress,
    /// The client's path as received, without `/api` and without a prefix
    /// that its rule strips. Empty, or begins with `/`.
    pub path: &'h [u8],
}

/// What has been found so far: for the record and for `explain`, also where
/// the request is refused. Never shown to the caller.
#[derive(Clone, Debug, Default)]
pub struct Trail<'t> {
    pub tenant: Option<&'t TenantTable>,
    pub address: Option<ClientAddress>,
    pub route: Option<&'t Arc<RouteEntry>>,
    pub service: Option<&'t Service>,
    /// Set as soon as the key is recognised, even where it has expired.
    pub key: Option<&'t Arc<KeyEntry>>,
    pub client: Option<&'t Arc<ClientEntry>>,
    pub identification: Option<&'static str>,
    /// Why the answer was 401.
    pub unrecognised: Option<Unrecognised>,
    pub effort: Effort,
}

/// Which tenant, and from which address.
pub fn locate<'t>(
    table: &'t RouteTable,
    head: &Head<'_>,
    peer: IpAddr,
    now: UnixSeconds,
) -> Result<Site<'t>, Refusal> {
    let (host, entry) = tenant::find(&table.hosts, head.host, now)?;
    let tenant = table
        .tenants
        .get(entry.tenant)
        .ok_or(Refusal::UnknownHost)?;
    let address = client_address::resolve(peer, head, &table.trusted_proxies)?;
    Ok(Site {
        tenant,
        host,
        strips_api: entry.strips_api,
        sandbox: entry.sandbox,
        address,
    })
}

/// Of a connection without a client's certificate.
pub fn admit<'t, 'h>(
    site: &Site<'t>,
    head: &Head<'h>,
    now: UnixSeconds,
    trail: &mut Trail<'t>,
) -> Result<Admitted<'t, 'h>, Refusal> {
    admit_with(site, head, None, now, trail)
}

pub fn admit_with<'t, 'h>(
    site: &Site<'t>,
    head: &Head<'h>,
    certificate: Option<&ClientCertificate>,
    now: UnixSeconds,
    trail: &mut Trail<'t>,
) -> Result<Admitted<'t, 'h>, Refusal> {
    trail.tenant = Some(site.tenant);
    trail.address = Some(site.address);
    path::check(head.path())?;
    let named = Named::read(head)?;

    let path = if site.strips_api {
        path::without_api(head.path())
    } else {
        head.path()
    };
    let selected = route::select(site, named.route, path, &mut trail.effort);
    trail.route = selected.route;
    let chosen = environment::choose(site, selected.route, named.environment);
    trail.service = chosen.service;

    let caller = caller::identify(site, &chosen, (named.key, certificate), now, trail)?;
    caller::check_scope(&caller, selected.route, chosen.name)?;
    let (route, service) = environment::found(selected.route, &chosen, &caller)?;
    caller::check_client(&caller, service, site.address)?;

    method::check(service, head.method)?;
    ip_allowlist::check(service, site.address)?;
    let rules = method::rules(service, head.method);
    path::check_start(&rules.target.target.path, selected.path)?;
    Ok(Admitted {
        tenant: site.tenant,
        route,
        service,
        rules,
        caller,
        address: site.address,
        path: selected.path,
    })
}

/// What the request says of itself in headers of ours. Read before anything
/// is looked up: a second copy is refused whatever exists.
struct Named<'h> {
    route: Option<&'h [u8]>,
    environment: Option<&'h [u8]>,
    key: Option<&'h [u8]>,
}

impl<'h> Named<'h> {
    fn read(head: &Head<'h>) -> Result<Self, Refusal> {
        let value = |name| {
            head.single(name)
                .map(|value| value.map(HeaderValue::as_bytes))
        };
        Ok(Self {
            route: value(&names::ROUTE)?,
            environment: value(&names::ENVIRONMENT)?,
            key: value(&names::KEY)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Malformation;
    use crate::sample::{self, API_HOST, HOST, LIVE_KEY, Request};

    fn table() -> RouteTable {
        let mut tenant = sample::tenant();
        let mut hooks = sample::route(2);
        hooks.match_rules.push(sample::rule(None, "/hooks", true));
        tenant.routes.extend([sample::route(1), hooks]);
        sample::table(tenant)
    }

    fn path(request: &Request) -> Result<String, Refusal> {
        let table = table();
        let request = request.clone().key(LIVE_KEY);
        let (admitted, _) = sample::decide(&table, &request, sample::stranger());
        admitted.map(|admitted| String::from_utf8(admitted.path.to_vec()).unwrap())
    }

    #[test]
    fn the_path_is_the_clients_own_without_query() {
        let request = Request::get("/a//%41/?b=/c").route("route-1");
        assert_eq!(path(&request).as_deref(), Ok("/a//%41/"));
    }

    #[test]
    fn api_is_stripped_on_the_hosts_that_serve_it_there_and_nowhere_else() {
        for (host, target, left) in [
            (API_HOST, "/api/a", "/a"),
            (API_HOST, "/api", ""),
            (API_HOST, "/a", "/a"),
            (API_HOST, "/apis/a", "/apis/a"),
            (HOST, "/api/a", "/api/a"),
        ] {
            let request = Request::get(target).to_host(host).route("route-1");
            assert_eq!(path(&request).as_deref(), Ok(left), "{host}{target}");
        }
    }

    #[test]
    fn a_rule_matches_and_strips_after_api() {
        let request = Request::get("/api/hooks/a").to_host(API_HOST);
        assert_eq!(path(&request).as_deref(), Ok("/a"));
        assert_eq!(path(&Request::get("/hooks")).as_deref(), Ok(""));
    }

    #[test]
    fn a_named_route_that_is_not_found_never_falls_through_to_the_rules() {
        let request = Request::get("/hooks/a");
        assert!(path(&request).is_ok());
        for named in ["route-9", "", "\u{e9}"] {
            let refused = path(&request.clone().route(named));
            assert_eq!(refused, Err(Refusal::RouteNotFound), "{named:?}");
        }
    }

    #[test]
    fn the_upstreams_target_never_begins_with_two_slashes() {
        let mut tenant = sample::tenant();
        let mut bare = sample::route(1);
        bare.environments[0].target.path = String::new();
        bare.match_rules.push(sample::rule(None, "/bare", true));
        tenant.routes.extend([bare, sample::route(2)]);
        let table = sample::table(tenant);
        let decided = |request: Request| {
            let request = request.key(LIVE_KEY);
            let (admitted, _) = sample::decide(&table, &request, sample::stranger());
            admitted.map(|admitted| admitted.path.len())
        };
        for (route, target) in [("route-1", "//evil.test/"), ("route-1", "//")] {
            let refused = decided(Request::get(target).route(route));
            assert_eq!(refused, Err(Refusal::InvalidPath), "{target}");
        }
        let stripped = decided(Request::get("/bare//evil.test"));
        assert_eq!(stripped, Err(Refusal::InvalidPath));
        let below_api = Request::get("/api//evil.test").to_host(API_HOST);
        assert_eq!(
            decided(below_api.route("route-1")),
            Err(Refusal::InvalidPath)
        );
        assert_eq!(decided(Request::get("/a//b").route("route-1")), Ok(5));
        assert_eq!(decided(Request::get("//b").route("route-2")), Ok(3));
    }

    #[test]
    fn without_name_and_rule_there_is_no_route() {
        assert_eq!(path(&Request::get("/other")), Err(Refusal::RouteNotFound));
    }

    #[test]
    fn an_unsafe_path_is_refused_before_the_caller_is_known() {
        let table = table();
        for target in ["/a/..", "/a%2f..", "/..;/a", "/%252e%252e/"] {
            for request in [Request::get(target).route("route-1"), Request::get(target)] {
                let (admitted, trail) = sample::decide(&table, &request, sample::stranger());
                assert_eq!(admitted.err(), Some(Refusal::InvalidPath), "{target}");
                assert_eq!(trail.effort, Effort::default());
            }
        }
        let dots_in_query = Request::get("/a?../%2e%2e/").route("route-1");
        assert_eq!(path(&dots_in_query).as_deref(), Ok("/a"));
    }

    #[test]
    fn a_target_that_is_no_path_is_malformed() {
        let refused = path(&Request::get("*").route("route-1"));
        assert_eq!(
            refused,
            Err(Refusal::Malformed(Malformation::InvalidTarget))
        );
    }

    #[test]
    fn checks_are_made_in_the_documented_order() {
        let mut tenant = sample::tenant();
        let mut route = sample::route(1);
        let here = &mut route.environments[0];
        here.requires_clients = true;
        here.allowed_methods = Some(vec![http::Method::POST]);
        here.ip_allowlist = Some(Vec::new());
        tenant.routes.push(route);
        let request = Request::get("/").route("route-1");
        let refusal = |tenant: &knoxcall_bundle::Tenant, request: &Request| {
            let table = sample::table(tenant.clone());
            sample::decide(&table, request, sample::client_address())
                .0
                .err()
        };
        assert_eq!(refusal(&tenant, &request), Some(Refusal::Unauthorized));
        let request = request.key(LIVE_KEY);
        assert_eq!(refusal(&tenant, &request), Some(Refusal::ClientNotAllowed));
        tenant.clients[0].assignments.push(sample::assignment(None));
        let allowed = vec![http::Method::POST];
        assert_eq!(
            refusal(&tenant, &request),
            Some(Refusal::MethodNotAllowed { allowed })
        );
        let request = request.by(http::Method::POST);
        assert_eq!(refusal(&tenant, &request), Some(Refusal::IpNotAllowed));
        tenant.routes[0].environments[0].ip_allowlist = None;
        assert_eq!(refusal(&tenant, &request), None);
    }

    #[test]
    fn the_trail_says_what_was_found_also_where_the_request_is_refused() {
        let table = table();
        let request = Request::get("/").route("route-1").key("tk_live_wrong");
        let (admitted, trail) = sample::decide(&table, &request, sample::stranger());
        assert_eq!(admitted.err(), Some(Refusal::Unauthorized));
        assert_eq!(trail.route.map(|route| route.id), Some(sample::route_id(1)));
        assert_eq!(trail.unrecognised, Some(Unrecognised::UnknownKey));
        assert!(trail.service.is_some() && trail.address.is_some() && trail.key.is_none());
    }
}
