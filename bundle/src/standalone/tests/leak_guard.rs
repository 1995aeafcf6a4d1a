//! Secrets that are too short to be looked for in answers.

use super::*;
use crate::model::{LeakGuardMode, LeakGuardSettings};

/// A route with `fields`, and a secret of seven bytes and one of eight.
fn route(fields: &str) -> Setup {
    with(&format!(
        "environments: [{{name: production}}, {{name: staging}}]
secrets:
  - name: long
    from_env: LONG
  - name: short
    environments: {{production: {{from_env: SHORT}}, staging: {{from_env: LONG}}}}
routes:
  - slug: pay
    target_base_url: http://x.example
    {fields}
"
    ))
    .env("LONG", "12345678")
    .env("SHORT", " 1234567 ")
}

fn report(fields: &str) -> String {
    let told = route(fields).load().map(|_| String::new());
    told.unwrap_or_else(|report| report.to_string())
}

fn settings(fields: &str) -> LeakGuardSettings {
    let loaded = route(fields).loaded();
    only_tenant(&loaded).routes[0].environments[0].leak_guard
}

const TOLD: &str = "routes[0].leak_guard: the route `pay` may inject the secret `short`, which has \
    fewer than 8 bytes in `production`: too few for the leak guard to look for \
    (use a longer secret, or set leak_guard_skip_short: true)";

#[test]
fn refuses_a_short_secret_wherever_it_may_be_injected() {
    for fields in [
        "inject_headers: {x-a: 'Bearer {{secret:short}}'}",
        "inject_headers: {x-a: '{{ secret:short | upcase }}'}",
        "inject_body: {a: [{b: '{{secret:short}}'}]}",
        "body_secrets: [short]",
        "method_configs: [{method: PUT, inject_headers: {x-a: '{{secret:short}}'}}]",
        "method_configs: [{method: PUT, inject_body: {a: '{{secret:short}}'}}]",
    ] {
        let told = report(fields);
        assert!(told.contains(TOLD), "{fields}: {told}");
        assert!(!told.contains("1234567"), "{told}");
    }
}

#[test]
fn a_short_secret_is_told_once_for_each_environment_that_injects_it() {
    let told = report(
        "inject_headers: {x-a: '{{secret:short}}', x-b: '{{secret:short}}'}
    environments: {staging: {}}",
    );
    assert_eq!(told.matches("fewer than 8 bytes").count(), 1, "{told}");
    let told = report(
        "base_environment: staging
    inject_headers: {x-a: '{{secret:short}}'}
    environments: {production: {open: true}}",
    );
    let place = "routes[0].environments.production.leak_guard: the route `pay`";
    assert!(told.contains(place), "{told}");
}

#[test]
fn a_short_secret_is_injected_where_the_route_says_so() {
    let inject = "inject_headers: {x-a: '{{secret:short}}'}";
    assert_eq!(
        report(&format!("leak_guard_skip_short: true\n    {inject}")),
        ""
    );
    assert_eq!(report(&format!("leak_guard: off\n    {inject}")), "");
    let lenient = report(&format!("leak_guard: lenient\n    {inject}"));
    assert!(lenient.contains(TOLD), "{lenient}");
}

#[test]
fn a_secret_of_eight_bytes_is_long_enough() {
    assert_eq!(report("inject_headers: {x-a: '{{secret:long}}'}"), "");
}

#[test]
fn the_guard_is_strict_by_default_and_set_by_environment() {
    let strict = LeakGuardSettings {
        mode: LeakGuardMode::Strict,
        allow_range: false,
    };
    assert_eq!(settings("open: true"), strict);
    let own = settings(
        "leak_guard: lenient
    environments: {production: {leak_guard: 'off', leak_guard_allow_range: true}}",
    );
    let off = LeakGuardSettings {
        mode: LeakGuardMode::Off,
        allow_range: true,
    };
    assert_eq!(own, off);
}
