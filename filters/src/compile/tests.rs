//! What is shared, what is not, and how limits are named.

use std::sync::Arc;

use http::Method;
use knoxcall_bundle::template::{Builtin, Segment, Template};
use knoxcall_bundle::{Bundle, MethodConfig, Tenant};

use crate::compile::EdgeRules;
use crate::refusal::LimitScope;
use crate::sample::{self, HOST, LIVE_KEY, NOW, Request};
use crate::table::{LimitSpec, RouteTable, Service};

fn two_routes(change: impl Fn(&mut knoxcall_bundle::Route)) -> RouteTable {
    let mut tenant = sample::tenant();
    tenant.routes.extend([1, 2].map(|number| {
        let mut route = sample::route(number);
        route.environments = vec![sample::whole_chain()];
        change(&mut route);
        route
    }));
    sample::table(tenant)
}

fn service(table: &RouteTable, number: usize) -> &Service {
    &table.tenants[0].routes_by_id[&sample::route_id(number)].services[0]
}

#[test]
fn what_routes_have_in_common_is_kept_once() {
    let table = two_routes(|_| ());
    let (first, second) = (service(&table, 1), service(&table, 2));
    assert!(Arc::ptr_eq(&first.base, &second.base));
    assert!(Arc::ptr_eq(&first.clients, &second.clients));
    let lists = (first.ip_allowlist.as_ref(), second.ip_allowlist.as_ref());
    assert!(matches!(lists, (Some(one), Some(other)) if Arc::ptr_eq(one, other)));
    let methods = (
        first.allowed_methods.as_ref(),
        second.allowed_methods.as_ref(),
    );
    assert!(matches!(methods, (Some(one), Some(other)) if Arc::ptr_eq(one, other)));
    assert_eq!(table.targets.len(), 1);
}

#[test]
fn a_template_that_names_its_route_is_not_shared() {
    let table = two_routes(|route| {
        let name = Template::Segments(Arc::from([Segment::Builtin(Builtin::RouteName)]));
        route.environments[0]
            .injection
            .headers
            .push((http::header::FROM, name));
    });
    let (first, second) = (service(&table, 1), service(&table, 2));
    assert!(!Arc::ptr_eq(&first.base.injector, &second.base.injector));
}

#[test]
fn routes_that_differ_in_target_or_headers_share_no_rules() {
    let by_target = two_routes(|route| {
        route.environments[0].target.path = format!("/{}", route.name.as_str().len());
        if route.id == sample::route_id(2) {
            route.environments[0].target.port = 81;
        }
    });
    assert!(!Arc::ptr_eq(
        &service(&by_target, 1).base,
        &service(&by_target, 2).base
    ));
    assert_eq!(by_target.targets.len(), 2);
    let by_header = two_routes(|route| {
        if route.id == sample::route_id(2) {
            route.environments[0].injection.headers.clear();
        }
    });
    assert!(!Arc::ptr_eq(
        &service(&by_header, 1).base,
        &service(&by_header, 2).base
    ));
    assert_eq!(by_header.targets.len(), 1);
}

#[test]
fn targets_that_differ_in_their_path_alone_are_one_upstream() {
    let by_path = two_routes(|route| {
        route.environments[0].target.path = format!("/{}", route.id);
    });
    let (first, second) = (service(&by_path, 1), service(&by_path, 2));
    assert_ne!(
        first.base.target.target.path,
        second.base.target.target.path
    );
    assert_eq!(first.base.target_index.0, second.base.target_index.0);
    assert_eq!(by_path.targets.len(), 1);
    assert_eq!(by_path.targets[0].target.path, "");
}

#[test]
fn a_target_is_never_shared_by_two_environments() {
    let mut tenant = sample::tenant();
    tenant.routes.push(sample::route(1));
    assert_eq!(sample::table(tenant).targets.len(), 2);
}

#[test]
fn rules_point_at_their_target_in_the_list() {
    let table = two_routes(|route| {
        route.environments[0].target.port = if route.id == sample::route_id(2) {
            81
        } else {
            82
        };
    });
    for number in [1, 2] {
        let rules = &service(&table, number).base;
        let listed = &table.targets[rules.target_index.0];
        assert_eq!(listed.target.port, rules.target.target.port);
    }
}

#[test]
fn limits_have_names_that_outlive_the_table() {
    let table = two_routes(|route| {
        route.environments[0].method_configs.push(MethodConfig {
            method: Method::POST,
            target: None,
            headers: None,
            body: None,
            rate_limit: Some(sample::rate_limit(3)),
        });
    });
    let names: Vec<_> = table
        .limits
        .iter()
        .map(|limit| limit.name.as_str())
        .collect();
    let [one, two] = [1, 2].map(sample::route_id);
    assert_eq!(
        names,
        [
            format!("method/{one}/production/POST"),
            format!("route/{one}/production"),
            format!("method/{two}/production/POST"),
            format!("route/{two}/production"),
        ]
    );
}

#[test]
fn tenant_client_and_key_have_limits_of_their_own() {
    let mut tenant = sample::tenant();
    tenant.rate_limit = Some(sample::rate_limit(1));
    tenant.clients[0].rate_limit = Some(sample::rate_limit(2));
    tenant.api_keys[0].rate_limit = Some(sample::rate_limit(3));
    let (id, client) = (tenant.id, tenant.clients[0].id);
    let table = sample::table(tenant);
    let limits = [
        (LimitScope::Client, format!("client/{client}"), 2),
        (LimitScope::Tenant, format!("tenant/{id}"), 1),
        (LimitScope::Key, format!("key/{id}/tk_live_sample"), 3),
    ];
    let expected = limits.map(|(scope, name, requests)| LimitSpec {
        scope,
        name,
        rate: sample::rate_limit(requests),
    });
    assert_eq!(*table.limits, expected);
    let tenant = &table.tenants[0];
    assert_eq!(tenant.limit.map(|limit| limit.0), Some(1));
}

#[test]
fn a_host_that_two_tenants_claim_belongs_to_the_first() {
    let other = Tenant {
        id: knoxcall_bundle::ids::TenantId(sample::id(0, 2)),
        ..sample::tenant()
    };
    let bundle = Bundle {
        tenants: vec![sample::tenant(), other],
    };
    let table = RouteTable::compile(&bundle, &EdgeRules::default());
    let request = Request::get("/").to_host(HOST);
    let site = crate::locate(&table, &request.head(), sample::stranger(), NOW).unwrap();
    assert_eq!(site.tenant.id.0, sample::id(0, 1));
}

#[test]
fn every_one_of_ten_thousand_routes_is_found_by_name_and_by_path() {
    let table = RouteTable::compile(&sample::bundle(10_000), &EdgeRules::default());
    for number in [0, 1, 4_999, 9_999] {
        let named = Request::get("/a")
            .route(&format!("route-{number}"))
            .key(LIVE_KEY);
        let by_path = Request::get(&format!("/r/{number}/a")).key(LIVE_KEY);
        for request in [named, by_path] {
            let (admitted, _) = sample::decide(&table, &request, sample::client_address());
            let admitted = admitted.unwrap();
            assert_eq!(admitted.route.id, sample::route_id(number));
            assert_eq!(admitted.path, b"/a");
        }
    }
}
