//! Which secrets a route's guard knows, and which routes share it.

use http::{HeaderName, Method};
use knoxcall_bundle::{Injection, JsonTemplate, MethodConfig, SecretValue};

use super::*;
use crate::sample::{self, TOKEN};
use crate::table::RouteTable;

/// Bodies, methods, environments: this many secrets `extra-N`, worth
/// `value-of-extra-N`, beside the sample's `token`.
fn tenant() -> Tenant {
    let mut tenant = sample::tenant();
    tenant.secrets.extend((0..4).map(|number| {
        Secret {
            id: SecretId(sample::id(3, 10 + number)),
            name: sample::name(&format!("extra_{number}")),
            values: [(
                sample::name("production"),
                SecretValue::new(format!("value-of-extra-{number}")),
            )]
            .into(),
        }
    }));
    tenant
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn header(name: &'static str, text: &str) -> (HeaderName, Template) {
    (HeaderName::from_static(name), template(text))
}

fn with_header(text: &str) -> RouteEnvironment {
    RouteEnvironment {
        injection: Injection {
            headers: vec![header("authorization", text)],
            body: None,
        },
        ..sample::environment("production")
    }
}

fn guard_of(tenant: Tenant, here: RouteEnvironment) -> Option<Arc<LeakGuard>> {
    let table = table(tenant, [here]);
    guard(&table, 0)
}

fn table(
    mut tenant: Tenant,
    environments: impl IntoIterator<Item = RouteEnvironment>,
) -> RouteTable {
    let routes = environments
        .into_iter()
        .enumerate()
        .map(|(number, here)| Route {
            environments: vec![here],
            ..sample::route(number)
        });
    tenant.routes.extend(routes);
    sample::table(tenant)
}

fn guard(table: &RouteTable, number: usize) -> Option<Arc<LeakGuard>> {
    let route = &table.tenants[0].routes_by_id[&sample::route_id(number)];
    route.services[0].leak_guard.clone()
}

fn masks(guard: &LeakGuard, text: &str) -> bool {
    guard.mask(&mut text.as_bytes().to_vec()) > 0
}

#[test]
fn a_secret_in_a_header_is_guarded() {
    let guard = guard_of(tenant(), with_header("Bearer {{secret:token}}")).unwrap();
    assert!(masks(&guard, TOKEN));
    assert!(!masks(&guard, "value-of-extra-0"));
}

#[test]
fn every_secret_that_any_method_may_inject_is_guarded() {
    let json = |text| {
        JsonTemplate::Object(vec![(
            "list".to_owned(),
            JsonTemplate::Array(vec![JsonTemplate::String(template(text))]),
        )])
    };
    let mut here = with_header("{{secret:token}}");
    here.injection.body = Some(json("{{secret:extra_0}}"));
    here.method_configs = vec![MethodConfig {
        method: Method::PUT,
        target: None,
        headers: Some(vec![header("x-key", "{{secret:extra_1}}")]),
        body: Some(json("{{secret:extra_2}}")),
        rate_limit: None,
    }];
    here.body_secrets = vec![SecretId(sample::id(3, 13))];
    let guard = guard_of(tenant(), here).unwrap();
    assert!(masks(&guard, TOKEN));
    for number in 0..4 {
        assert!(
            masks(&guard, &format!("value-of-extra-{number}")),
            "{number}"
        );
    }
}

#[test]
fn the_value_is_that_of_the_environment() {
    let mut tenant = tenant();
    let staging = SecretValue::new("value-of-staging".to_owned());
    tenant.secrets[0]
        .values
        .insert(sample::name("staging"), staging);
    let guard = guard_of(tenant, with_header("{{secret:token}}")).unwrap();
    assert!(!masks(&guard, "value-of-staging"));
}

#[test]
fn nothing_to_inject_nothing_to_guard() {
    assert!(guard_of(tenant(), sample::environment("production")).is_none());
    assert!(guard_of(tenant(), with_header("no secret at all")).is_none());
}

#[test]
fn a_guard_that_is_off_is_none() {
    let mut here = with_header("{{secret:token}}");
    here.leak_guard.mode = LeakGuardMode::Off;
    assert!(guard_of(tenant(), here).is_none());
}

#[test]
fn what_liquid_makes_of_a_secret_is_guarded_too() {
    let here = with_header("Basic {{ secret:token | upcase | append: ':x' }}");
    let guard = guard_of(tenant(), here).unwrap();
    assert!(masks(&guard, &format!("{}:x", TOKEN.to_uppercase())));
    assert!(masks(&guard, TOKEN));
}

#[test]
fn what_liquid_makes_of_a_secret_is_guarded_beside_one_that_stays_as_it_is() {
    let here = with_header("Key {{secret:extra_0}}:{{ secret:token | upcase }}");
    let guard = guard_of(tenant(), here).unwrap();
    let mut text = format!("value-of-extra-0:{}", TOKEN.to_uppercase()).into_bytes();
    guard.mask(&mut text);
    assert!(text.iter().all(|byte| *byte == b'*'));
}

/// Its `token` is too short to be looked for by itself.
fn with_short_token() -> Tenant {
    let mut tenant = tenant();
    let short = SecretValue::new("tiny".to_owned());
    tenant.secrets[0]
        .values
        .insert(sample::name("production"), short);
    tenant
}

#[test]
fn a_short_secret_is_guarded_beside_one_that_is_long_enough() {
    let here = with_header("{{secret:extra_0}}:{{secret:token}}");
    let guard = guard_of(with_short_token(), here).unwrap();
    let mut text = b"value-of-extra-0:tiny".to_vec();
    guard.mask(&mut text);
    assert!(text.iter().all(|byte| *byte == b'*'));
}

#[test]
fn a_short_secret_is_guarded_with_the_text_around_it() {
    let tenant = with_short_token();
    let guard = guard_of(tenant.clone(), with_header("Bearer {{secret:token}}")).unwrap();
    assert!(masks(&guard, "Bearer tiny"));
    assert!(!masks(&guard, "tiny"));
    assert!(guard_of(tenant, with_header("{{secret:token}}")).is_none());
}

#[test]
fn routes_with_the_same_secrets_share_a_guard() {
    let table = table(
        tenant(),
        [
            with_header("Bearer {{secret:token}}"),
            with_header("Token {{secret:token}} {{route.slug}}"),
            with_header("Bearer {{secret:extra_0}}"),
        ],
    );
    let [first, second, third] = [0, 1, 2].map(|number| guard(&table, number).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    assert!(!Arc::ptr_eq(&first, &third));
}
