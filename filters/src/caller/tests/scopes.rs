//! What a scoped key may do, and what it learns.

use knoxcall_bundle::{Scope, Scopes};
use proptest::prelude::*;

use super::*;

const SCOPED_KEY: &str = "AKEscoped_Zm9yIHRlc3RzIG9ubHk";

fn scoped(scopes: &[(Option<usize>, Option<&str>)]) -> Tenant {
    let mut tenant = tenant();
    let scopes = scopes.iter().map(|(route, environment)| Scope {
        route: route.map(sample::route_id),
        environment: environment.map(sample::name),
    });
    let mut key = sample::key(SCOPED_KEY, KeyKind::AccessKey);
    key.scopes = Scopes::Only(scopes.collect());
    tenant.api_keys.push(key);
    tenant
}

fn with_scopes(
    scopes: &[(Option<usize>, Option<&str>)],
    route: &str,
    environment: Option<&str>,
) -> Decision {
    let mut asked = Request::get("/a").route(route).key(SCOPED_KEY);
    if let Some(environment) = environment {
        asked = asked.environment(environment);
    }
    decide(scoped(scopes), &asked, stranger())
}

#[test]
fn a_key_is_valid_inside_of_its_scope() {
    for scope in [
        (Some(1), Some("production")),
        (Some(1), None),
        (None, Some("production")),
        (None, None),
    ] {
        assert_eq!(
            with_scopes(&[scope], "route-1", None),
            Ok("api_key"),
            "{scope:?}"
        );
        let among_others = [(Some(2), None), scope, (Some(7), Some("staging"))];
        assert_eq!(
            with_scopes(&among_others, "route-1", None),
            Ok("api_key"),
            "{scope:?}"
        );
    }
}

#[test]
fn outside_of_its_scope_a_key_learns_nothing_of_what_exists() {
    let scope = [(Some(1), Some("production"))];
    for (route, environment) in [
        ("route-1", Some("sandbox")),
        ("route-1", Some("nowhere")),
        ("route-2", None),
        ("route-2", Some("nowhere")),
        ("route-9", None),
        ("route-9", Some("production")),
    ] {
        let decision = with_scopes(&scope, route, environment);
        assert_eq!(
            decision,
            refused(Refusal::ScopeDenied),
            "{route} {environment:?}"
        );
    }
    assert_eq!(
        with_scopes(&[], "route-1", None),
        refused(Refusal::ScopeDenied)
    );
}

#[test]
fn inside_of_its_scope_a_key_is_told_what_is_missing() {
    let decision = with_scopes(&[(Some(1), None)], "route-1", Some("nowhere"));
    assert_eq!(decision, refused(Refusal::EnvironmentNotConfigured));
    let decision = with_scopes(&[(None, Some("staging"))], "route-9", Some("staging"));
    assert_eq!(decision, refused(Refusal::RouteNotFound));
    assert_eq!(
        with_scopes(&[(None, None)], "route-9", None),
        refused(Refusal::RouteNotFound)
    );
}

proptest! {
    #[test]
    fn scopes_agree_with_a_linear_search(
        scopes in proptest::collection::vec(
            (
                proptest::option::of(1usize..4),
                proptest::option::of(proptest::sample::select(vec!["production", "sandbox"])),
            ),
            0..6,
        ),
        route in 1usize..3,
        environment in proptest::sample::select(vec!["production", "sandbox"]),
    ) {
        let covered = scopes.iter().any(|(r, e)| {
            r.is_none_or(|r| r == route) && e.is_none_or(|e| e == environment)
        });
        let decision = with_scopes(&scopes, &format!("route-{route}"), Some(environment));
        prop_assert_eq!(decision.is_ok(), covered);
    }
}
