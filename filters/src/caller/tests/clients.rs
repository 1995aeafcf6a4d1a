//! Clients known by their address, and routes that require one.

use knoxcall_bundle::ids::ClientId;
use knoxcall_bundle::{Client, Scope};

use super::*;

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
        decide(
            assigned(std::slice::from_ref(&sandbox_only)),
            &request(),
            here
        ),
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
