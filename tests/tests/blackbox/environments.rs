//! Which environment a request is served in.

use knoxcall_tests::config::{STAGING_TOKEN, TOKEN};
use knoxcall_tests::{Config, Gateway, Request, Upstream, keys};
use serde_json::json;

fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address()).edit_route(
        "echo",
        json!({
            "inject_headers": {"x-token": "{{secret:token}}"},
            "environments": {"staging": {}, "sandbox": {"inject_headers": {"x-token": "none"}}},
        }),
    )
}

#[test]
fn the_base_environment_is_used_where_none_is_named() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    gateway.get("/").assert_served();
    assert_eq!(upstream.last_request().header("x-token"), Some(TOKEN));
}

#[test]
fn each_environment_has_its_own_secret_value() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_served();
    assert_eq!(
        upstream.last_request().header("x-token"),
        Some(STAGING_TOKEN)
    );
}

#[test]
fn overrides_replace_single_settings() {
    let [production, staging] = [Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(&config(&production).edit_route(
        "echo",
        json!({
            "allowed_methods": ["GET"],
            "environments": {"staging": {"target_base_url": staging.url()}},
        }),
    ));
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_served();
    assert_eq!(
        staging.only_request().header("x-token"),
        Some(STAGING_TOKEN)
    );
    gateway
        .send(&Request::post("/", "x").environment("staging"))
        .assert_refused(405, "method_not_allowed");
    production.assert_untouched();
}

#[test]
fn an_unknown_and_a_paused_environment_are_two_named_404s() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream).edit_route(
        "echo",
        json!({"environments": {"staging": {"enabled": false}}}),
    ));
    let ask = |environment| gateway.send(&Request::get("/").environment(environment));
    ask("nowhere").assert_refused(404, "environment_not_configured");
    ask("sandbox").assert_refused(404, "environment_not_configured");
    ask("Production").assert_refused(404, "environment_not_configured");
    ask("").assert_refused(404, "environment_not_configured");
    ask("staging").assert_refused(404, "environment_disabled");
    upstream.assert_untouched();
}

#[test]
fn a_test_key_works_in_sandbox_environments_only() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(&upstream));
    let ask =
        |environment| gateway.send(&Request::get("/").key(keys::TEST).environment(environment));
    ask("sandbox").assert_served();
    ask("production").assert_refused(401, "unauthorized");
    ask("staging").assert_refused(401, "unauthorized");
    ask("nowhere").assert_refused(401, "unauthorized");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_test_key_does_not_learn_which_routes_exist_without_a_sandbox() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &config(&upstream)
            .route(json!({"slug": "production-only", "target_base_url": upstream.url()})),
    );
    let asked = |route: &str| {
        let request = Request::get("/").key(keys::TEST).environment("sandbox");
        gateway.send(&request.route(route))
    };
    asked("echo").assert_served();
    for route in ["production-only", "missing"] {
        asked(route).assert_refused(404, "route_not_found");
    }
    let known = Request::get("/").route("production-only");
    gateway
        .send(&known.environment("sandbox"))
        .assert_refused(404, "environment_not_configured");
}
