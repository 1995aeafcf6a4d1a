//! Admitted requests for tests: one route, one client, one key.

use http::HeaderName;
use knoxcall_bundle::template::Template;
use knoxcall_bundle::{Environment, Injection, RouteEnvironment, Tenant};

use crate::sample::{self, NOW, Request, client_address};
use crate::{Admitted, Head, Trail, admit, locate};

/// `acme` with `route-1`, which does this in production. Its client is
/// assigned there.
pub(crate) fn tenant_with(environment: RouteEnvironment) -> Tenant {
    let mut tenant = sample::tenant();
    for client in &mut tenant.clients {
        client.assignments.push(sample::assignment(None));
    }
    let mut route = sample::route(1);
    route.environments = vec![environment];
    tenant.routes.push(route);
    tenant
}

/// To `route-1` with the live key.
pub(crate) fn request(target: &str) -> Request {
    Request::get(target).route("route-1").key(sample::LIVE_KEY)
}

/// What `judge` says of a request that is admitted.
pub(crate) fn admitted<R>(
    tenant: Tenant,
    request: &Request,
    judge: impl FnOnce(&Admitted<'_, '_>, &Head<'_>) -> R,
) -> R {
    let table = sample::table(tenant);
    let head = request.head();
    let site = locate(&table, &head, client_address(), NOW).unwrap();
    let admitted = admit(&site, &head, NOW, &mut Trail::default()).unwrap();
    judge(&admitted, &head)
}

/// Production with these headers injected.
pub(crate) fn injecting(headers: &[(&'static str, &str)]) -> RouteEnvironment {
    let headers = headers.iter().map(|(name, text)| {
        let name = HeaderName::from_static(name);
        (name, Template::parse(text).unwrap())
    });
    RouteEnvironment {
        injection: Injection {
            headers: headers.collect(),
            body: None,
        },
        ..sample::environment("production")
    }
}

/// An environment of this name, and no other, gives the secret no value.
pub(crate) fn without_token_in(mut tenant: Tenant, environment: &str) -> Tenant {
    let known: Vec<Environment> = tenant.environments.clone();
    assert!(known.iter().any(|own| own.name.as_str() == environment));
    for secret in &mut tenant.secrets {
        secret.values.retain(|own, _| own.as_str() != environment);
    }
    tenant
}
