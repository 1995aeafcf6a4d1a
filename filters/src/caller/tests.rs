//! Keys, the opaque 401 and open routes.

use std::net::IpAddr;

use knoxcall_bundle::{Bundle, Route, Tenant};

use super::*;
use crate::compile::EdgeRules;
use crate::sample::{self, LIVE_KEY, NOW, Request, TEST_KEY};
use crate::table::RouteTable;

mod certificates;
mod clients;
mod scopes;

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
fn an_empty_key_is_unknown_whatever_digest_the_bundle_holds() {
    let mut tenant = tenant();
    tenant.api_keys[0].digest.0 = digest::sha256(b"");
    let decision = decide(tenant, &request().key(""), stranger());
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
        certificate_lookups: 0,
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
