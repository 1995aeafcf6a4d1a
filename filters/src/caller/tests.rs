use std::net::IpAddr;

use knoxcall_bundle::ids::ClientId;
use knoxcall_bundle::{Bundle, Client, Route, Scope, Scopes, Tenant};
use proptest::prelude::*;

use super::*;
use crate::compile::EdgeRules;
use crate::sample::{self, LIVE_KEY, NOW, Request, TEST_KEY};
use crate::table::RouteTable;

const SCOPED_KEY: &str = "AKEscoped_Zm9yIHRlc3RzIG9ubHk";

fn tenant() -> Tenant {
    let mut tenant = sample::tenant();
    tenant.routes.extend([sample::route(1), sample::route(2)]);
    tenant
}

fn request() -> Request {
    Request::get("/a").route("route-1")
}

/// How the caller is known, or the refusal and why.
type Decision = Result<&'static str, (Refusal, Option<Unrecognised>)>;

fn decide(tenant: Tenant, request: &Request, peer: IpAddr) -> Decision {
    let table = sample::table(tenant);
    let (admitted, trail) = sample::decide(&table, request, peer);
    admitted
        .map(|admitted| admitted.caller.identification())
        .map_err(|refusal| (refusal, trail.unrecognised))
}

fn unknown(reason: Unrecognised) -> Decision {
    Err((Refusal::Unauthorized, Some(reason)))
}

fn refused(refusal: Refusal) -> Decision {
    Err((refusal, None))
}

fn stranger() -> IpAddr {
    sample::stranger()
}

// === keys ===

#[test]
fn a_key_is_known_by_all_of_its_bytes() {
    assert_eq!(
        decide(tenant(), &request().key(LIVE_KEY), stranger()),
        Ok("api_key")
    );
    for wrong in [
        "",
        "x",
        &LIVE_KEY[1..],
        &LIVE_KEY[..LIVE_KEY.len() - 1],
        "tk_live_sample",
    ] {
        let decision = decide(tenant(), &request().key(wrong), stranger());
        assert_eq!(decision, unknown(Unrecognised::UnknownKey), "{wrong}");
    }
    let extended = format!("{LIVE_KEY}x");
    let decision = decide(tenant(), &request().key(&extended), stranger());
    assert_eq!(decision, unknown(Unrecognised::UnknownKey));
}

#[test]
fn a_key_that_shares_the_slot_of_a_known_one_is_unknown() {
    let mut tenant = tenant();
    // The first eight bytes, by which keys are found, stay as they are.
    tenant.api_keys[0].digest.0[8] ^= 1;
    let decision = decide(tenant, &request().key(LIVE_KEY), stranger());
    assert_eq!(decision, unknown(Unrecognised::UnknownKey));
}

#[test]
fn a_key_is_unknown_from_the_second_of_its_expiry() {
    for (ahead, expected) in [(1, Ok("api_key")), (0, unknown(Unrecognised::ExpiredKey))] {
        let mut tenant = tenant();
        tenant.api_keys[0].expires_at = Some(UnixSeconds(NOW.0 + ahead));
        assert_eq!(
            decide(tenant, &request().key(LIVE_KEY), stranger()),
            expected
        );
    }
}

#[test]
fn another_tenants_key_is_an_unknown_key() {
    let mut other = tenant();
    other.slug = sample::name("globex");
    other.hosts.extra.clear();
    other.hosts.subdomain_hash = None;
    other.api_keys.clear();
    let table = RouteTable::compile(
        &Bundle {
            tenants: vec![tenant(), other],
        },
        &EdgeRules::default(),
    );
    let there = request().key(LIVE_KEY).to_host("globex.example.test");
    let (admitted, trail) = sample::decide(&table, &there, stranger());
    assert_eq!(admitted.err(), Some(Refusal::Unauthorized));
    assert_eq!(trail.unrecognised, Some(Unrecognised::UnknownKey));
    assert_eq!(
        trail.tenant.map(|tenant| tenant.slug.as_str()),
        Some("globex")
    );
}

#[test]
fn a_bad_key_never_falls_back_to_the_address() {
    let mut tenant = tenant();
    tenant.clients[0].assignments.push(sample::assignment(None));
    let here = sample::client_address();
    assert_eq!(decide(tenant.clone(), &request(), here), Ok("ip"));
    let decision = decide(tenant, &request().key("tk_live_wrong"), here);
    assert_eq!(decision, unknown(Unrecognised::UnknownKey));
}

#[test]
fn the_key_of_a_disabled_or_missing_client_is_unknown() {
    let mut disabled = tenant();
    disabled.clients[0].enabled = false;
    disabled.api_keys[0].client = Some(disabled.clients[0].id);
    let mut missing = tenant();
    missing.api_keys[0].client = Some(missing.clients[0].id);
    missing.clients.clear();
    for tenant in [disabled, missing] {
        let decision = decide(tenant, &request().key(LIVE_KEY), stranger());
        assert_eq!(decision, unknown(Unrecognised::UnknownKey));
    }
}

#[test]
fn an_expired_key_is_still_in_the_trail() {
    let mut tenant = tenant();
    tenant.api_keys[0].expires_at = Some(NOW);
    let table = sample::table(tenant);
    let (_, trail) = sample::decide(&table, &request().key(LIVE_KEY), stranger());
    assert_eq!(trail.key.map(|key| key.id.as_str()), Some("tk_live_sample"));
    assert_eq!(trail.identification, None);
}

// === the opaque 401 ===

/// Everything that may exist or not, asked for with the same headers.
fn askings() -> Vec<(&'static str, Tenant, Request)> {
    let missing = Request::get("/a").route("route-9");
    let mut paused = tenant();
    paused.routes[0].environments[0].enabled = false;
    let mut disabled = tenant();
    disabled.routes[0].enabled = false;
    let mut restricted = tenant();
    restricted.routes[0].environments[0] = sample::whole_chain();
    vec![
        (
            "route and environment exist",
            tenant(),
            request().environment("production"),
        ),
        (
            "no such environment",
            tenant(),
            request().environment("nowhere"),
        ),
        ("no such route", tenant(), missing.environment("production")),
        ("paused", paused, request().environment("production")),
        ("disabled", disabled, request().environment("production")),
        (
            "restricted",
            restricted,
            request().environment("production"),
        ),
    ]
}

fn expired(mut tenant: Tenant) -> Tenant {
    tenant.api_keys[0].expires_at = Some(NOW);
    tenant
}

#[test]
fn an_unknown_caller_costs_the_same_steps_and_reads_the_same_bytes_whatever_exists() {
    let mut efforts = Vec::new();
    let mut answers = Vec::new();
    for (what, tenant, asked) in askings() {
        let tenants = [
            (tenant.clone(), asked.clone().key("tk_live_unknown_key")),
            (expired(tenant.clone()), asked.clone().key(LIVE_KEY)),
            (tenant, asked.key(TEST_KEY)),
        ];
        for (tenant, asked) in tenants {
            let table = sample::table(tenant);
            let (admitted, trail) = sample::decide(&table, &asked, stranger());
            let refusal = admitted.expect_err(what);
            let mut answer = Vec::new();
            refusal.envelope("id", &mut answer);
            efforts.push(trail.effort);
            answers.push((refusal.status(), answer));
        }
    }
    let one_of_each = Effort {
        route_lookups: 2,
        digests: 1,
        key_lookups: 1,
        comparisons: 1,
        address_lookups: 1,
    };
    assert!(
        efforts.iter().all(|effort| *effort == one_of_each),
        "{efforts:?}"
    );
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

#[test]
fn a_caller_without_key_costs_the_same_steps_and_reads_the_same_bytes_whatever_exists() {
    for (what, tenant, asked) in askings() {
        let table = sample::table(tenant);
        let (admitted, trail) = sample::decide(&table, &asked, stranger());
        assert_eq!(admitted.err(), Some(Refusal::Unauthorized), "{what}");
        let expected = Effort {
            route_lookups: 2,
            address_lookups: 1,
            ..Effort::default()
        };
        assert_eq!(trail.effort, expected, "{what}");
    }
}

#[test]
fn a_known_caller_is_told_what_is_missing() {
    let told = |tenant: Tenant, asked: Request| {
        decide(tenant, &asked.key(LIVE_KEY), stranger()).map_err(|(refusal, _)| refusal)
    };
    let answers: Vec<_> = askings()
        .into_iter()
        .take(5)
        .map(|(_, tenant, asked)| told(tenant, asked))
        .collect();
    assert_eq!(
        answers,
        [
            Ok("api_key"),
            Err(Refusal::EnvironmentNotConfigured),
            Err(Refusal::RouteNotFound),
            Err(Refusal::EnvironmentDisabled),
            Err(Refusal::RouteNotFound),
        ]
    );
}

#[test]
fn a_second_copy_of_our_headers_is_refused_before_anything_is_known() {
    for name in [
        "x-knoxcall-route",
        "x-knoxcall-key",
        "x-knoxcall-environment",
    ] {
        for route in ["route-1", "route-9"] {
            let twice = Request::get("/a")
                .route(route)
                .header(name, "a")
                .header(name, "a");
            let refusal = decide(tenant(), &twice, stranger()).unwrap_err().0;
            assert_eq!(refusal.code(), "malformed_request");
        }
    }
}

// === scopes ===

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

// === clients by address ===

fn assigned(assignments: &[Scope]) -> Tenant {
    let mut tenant = tenant();
    tenant.clients[0].assignments = assignments.to_vec();
    tenant
}

fn to_route_1() -> Scope {
    sample::assignment(Some(sample::route_id(1)))
}

#[test]
fn an_assigned_client_is_known_by_its_address() {
    let here = sample::client_address();
    for scope in [to_route_1(), sample::assignment(None)] {
        assert_eq!(decide(assigned(&[scope]), &request(), here), Ok("ip"));
    }
}

#[test]
fn an_address_is_known_on_its_routes_and_environments_only() {
    let here = sample::client_address();
    let nobody = unknown(Unrecognised::NoCredential);
    assert_eq!(decide(assigned(&[]), &request(), here), nobody);
    assert_eq!(
        decide(assigned(&[to_route_1()]), &request(), stranger()),
        nobody
    );
    let other_route = Request::get("/a").route("route-2");
    assert_eq!(
        decide(assigned(&[to_route_1()]), &other_route, here),
        nobody
    );
    let sandbox_only = Scope {
        environment: Some(sample::name("sandbox")),
        ..to_route_1()
    };
    assert_eq!(
        decide(assigned(&[sandbox_only.clone()]), &request(), here),
        nobody
    );
    let in_sandbox = request().environment("sandbox");
    assert_eq!(
        decide(assigned(&[sandbox_only]), &in_sandbox, here),
        Ok("ip")
    );
}

#[test]
fn a_disabled_client_is_nobody() {
    let mut tenant = assigned(&[to_route_1()]);
    tenant.clients[0].enabled = false;
    let decision = decide(tenant, &request(), sample::client_address());
    assert_eq!(decision, unknown(Unrecognised::NoCredential));
}

#[test]
fn a_request_without_client_address_is_nobodys() {
    let mut tenant = assigned(&[sample::assignment(None)]);
    tenant.clients[0].addresses = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let trusted_proxies = vec![("10.0.0.0/8".parse().unwrap(), false)];
    let table = RouteTable::compile(
        &Bundle {
            tenants: vec![tenant],
        },
        &EdgeRules { trusted_proxies },
    );
    let asked = request();
    let (admitted, _) = sample::decide(&table, &asked, "10.0.0.1".parse().unwrap());
    assert_eq!(admitted.err(), Some(Refusal::Unauthorized));
}

#[test]
fn the_most_specific_of_two_clients_is_the_caller() {
    let mut tenant = assigned(&[to_route_1()]);
    let host = Client {
        id: ClientId(sample::id(2, 2)),
        name: sample::name("host"),
        addresses: vec!["192.0.2.7/32".parse().unwrap()],
        ..tenant.clients[0].clone()
    };
    tenant.clients.push(host);
    let table = sample::table(tenant);
    let (_, trail) = sample::decide(&table, &request(), sample::client_address());
    assert_eq!(
        trail.client.map(|client| client.name.as_str()),
        Some("host")
    );
}

// === requires_clients ===

/// Route 1 asks for clients. The live key belongs to the client where `owned`.
fn requiring(owned: bool, assignments: &[Scope], addresses: &[&str]) -> Tenant {
    let mut tenant = assigned(assignments);
    tenant.routes[0].environments[0].requires_clients = true;
    tenant.clients[0].addresses = addresses.iter().map(|net| net.parse().unwrap()).collect();
    tenant.api_keys[0].client = owned.then_some(tenant.clients[0].id);
    tenant
}

#[test]
fn a_required_client_must_be_the_keys_own_and_assigned_and_in_its_place() {
    let asked = request().key(LIVE_KEY);
    let here = sample::client_address();
    let denied = refused(Refusal::ClientNotAllowed);
    let net = ["192.0.2.0/24"];
    let assigned = [to_route_1()];
    assert_eq!(
        decide(requiring(true, &assigned, &net), &asked, here),
        Ok("api_key")
    );
    assert_eq!(
        decide(requiring(true, &assigned, &[]), &asked, stranger()),
        Ok("api_key")
    );
    assert_eq!(
        decide(requiring(true, &assigned, &net), &asked, stranger()),
        denied
    );
    assert_eq!(decide(requiring(true, &[], &net), &asked, here), denied);
    assert_eq!(decide(requiring(true, &[], &[]), &asked, here), denied);
}

#[test]
fn a_key_without_client_needs_an_assigned_one_at_its_address() {
    let asked = request().key(LIVE_KEY);
    let here = sample::client_address();
    let denied = refused(Refusal::ClientNotAllowed);
    let net = ["192.0.2.0/24"];
    assert_eq!(
        decide(requiring(false, &[to_route_1()], &net), &asked, here),
        Ok("api_key")
    );
    assert_eq!(
        decide(requiring(false, &[to_route_1()], &net), &asked, stranger()),
        denied
    );
    assert_eq!(decide(requiring(false, &[], &net), &asked, here), denied);
}

#[test]
fn a_keys_own_client_does_not_pass_for_the_one_at_the_address() {
    let mut tenant = requiring(true, &[], &[]);
    tenant.clients.push(Client {
        id: ClientId(sample::id(2, 2)),
        name: sample::name("other"),
        addresses: vec!["192.0.2.0/24".parse().unwrap()],
        assignments: vec![to_route_1()],
        ..tenant.clients[0].clone()
    });
    let decision = decide(tenant, &request().key(LIVE_KEY), sample::client_address());
    assert_eq!(decision, refused(Refusal::ClientNotAllowed));
}

#[test]
fn an_assigned_address_satisfies_a_required_client() {
    let tenant = requiring(false, &[to_route_1()], &["192.0.2.0/24"]);
    assert_eq!(
        decide(tenant, &request(), sample::client_address()),
        Ok("ip")
    );
}

// === open routes ===

fn open() -> Tenant {
    let mut tenant = tenant();
    tenant.routes[0].environments[0].open = true;
    tenant
}

#[test]
fn an_open_route_asks_for_nobody() {
    assert_eq!(decide(open(), &request(), stranger()), Ok("open"));
    assert_eq!(
        decide(open(), &request().key(LIVE_KEY), stranger()),
        Ok("api_key")
    );
}

#[test]
fn a_key_that_is_presented_counts_on_an_open_route_too() {
    let bad = request().key("tk_live_wrong");
    assert_eq!(
        decide(open(), &bad, stranger()),
        unknown(Unrecognised::UnknownKey)
    );
    let test = request().key(TEST_KEY);
    assert_eq!(
        decide(open(), &test, stranger()),
        unknown(Unrecognised::TestKeyOutsideSandbox)
    );
}

#[test]
fn only_the_open_environment_of_a_route_is_open() {
    let sandbox = request().environment("sandbox");
    assert_eq!(
        decide(open(), &sandbox, stranger()),
        unknown(Unrecognised::NoCredential)
    );
    let mut paused = open();
    paused.routes[0].environments[0].enabled = false;
    assert_eq!(
        decide(paused, &request(), stranger()),
        unknown(Unrecognised::NoCredential)
    );
}

#[test]
fn a_disabled_open_route_is_not_told_to_strangers() {
    let mut tenant = open();
    tenant.routes[0] = Route {
        enabled: false,
        ..tenant.routes[0].clone()
    };
    assert_eq!(
        decide(tenant, &request(), stranger()),
        unknown(Unrecognised::NoCredential)
    );
}

#[test]
fn an_open_route_that_requires_clients_serves_no_stranger() {
    let mut tenant = open();
    tenant.routes[0].environments[0].requires_clients = true;
    assert_eq!(
        decide(tenant, &request(), stranger()),
        refused(Refusal::ClientNotAllowed)
    );
}
