//! Which methods a route serves (405 with `Allow`, RFC 9110 section 15.5.6),
//! and which rules hold for one. A method counts as it is written: allowing
//! GET does not allow HEAD.

use std::sync::Arc;

use http::Method;

use crate::refusal::Refusal;
use crate::table::{MethodRules, Service};

pub(crate) fn check(service: &Service, method: &Method) -> Result<(), Refusal> {
    match service.allowed_methods.as_deref() {
        Some(allowed) if !allowed.contains(method) => Err(Refusal::MethodNotAllowed {
            allowed: allowed.to_vec(),
        }),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn rules<'t>(service: &'t Service, method: &Method) -> &'t Arc<MethodRules> {
    service
        .by_method
        .iter()
        .find_map(|(configured, rules)| (configured == method).then_some(rules))
        .unwrap_or(&service.base)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use knoxcall_bundle::{MethodConfig, RateLimit};

    use super::*;
    use crate::sample::{self, LIVE_KEY, Request};
    use crate::table::RouteTable;

    fn table(allowed: Option<&[Method]>, configs: Vec<MethodConfig>) -> RouteTable {
        let mut tenant = sample::tenant();
        let mut route = sample::route(1);
        route.environments[0].allowed_methods = allowed.map(<[_]>::to_vec);
        route.environments[0].method_configs = configs;
        tenant.routes.push(route);
        sample::table(tenant)
    }

    fn limited(method: Method, rate: RateLimit) -> MethodConfig {
        MethodConfig {
            method,
            target: None,
            headers: None,
            body: None,
            rate_limit: Some(rate),
        }
    }

    fn decided(table: &RouteTable, method: Method) -> Result<Option<usize>, Refusal> {
        let request = Request::get("/").by(method).route("route-1").key(LIVE_KEY);
        let (admitted, _) = sample::decide(table, &request, sample::stranger());
        admitted.map(|admitted| admitted.rules.limit.map(|limit| limit.0))
    }

    #[test]
    fn every_method_is_served_where_none_is_named() {
        let table = table(None, Vec::new());
        for method in [
            Method::GET,
            Method::DELETE,
            Method::from_bytes(b"PURGE").unwrap(),
        ] {
            assert_eq!(decided(&table, method), Ok(None));
        }
    }

    #[test]
    fn refuses_a_method_that_is_not_named_and_says_which_are() {
        let allowed = [Method::GET, Method::PUT];
        let table = table(Some(&allowed), Vec::new());
        assert_eq!(decided(&table, Method::GET), Ok(None));
        for method in [
            Method::POST,
            Method::HEAD,
            Method::from_bytes(b"get").unwrap(),
        ] {
            let refusal = decided(&table, method).unwrap_err();
            assert_eq!(
                refusal,
                Refusal::MethodNotAllowed {
                    allowed: allowed.to_vec()
                }
            );
        }
    }

    #[test]
    fn no_method_is_served_where_the_list_is_empty() {
        let refused = decided(&table(Some(&[]), Vec::new()), Method::GET);
        assert_eq!(
            refused,
            Err(Refusal::MethodNotAllowed {
                allowed: Vec::new()
            })
        );
    }

    #[test]
    fn a_method_has_its_own_rules_and_the_others_the_base() {
        let config = limited(Method::POST, sample::rate_limit(5));
        let table = table(None, vec![config]);
        assert_eq!(decided(&table, Method::GET), Ok(None));
        let limit = decided(&table, Method::POST).unwrap().unwrap();
        let name = &table.limits[limit].name;
        assert_eq!(
            *name,
            format!("method/{}/production/POST", sample::route_id(1))
        );
    }

    #[test]
    fn what_a_method_does_not_replace_is_the_routes_own() {
        let mut config = limited(Method::POST, sample::rate_limit(5));
        config.headers = Some(Vec::<(HeaderName, _)>::new());
        let table = table(None, vec![config]);
        let request = Request::get("/")
            .by(Method::POST)
            .route("route-1")
            .key(LIVE_KEY);
        let (admitted, _) = sample::decide(&table, &request, sample::stranger());
        assert_eq!(admitted.unwrap().rules.target.target.path, "/v1");
    }
}
