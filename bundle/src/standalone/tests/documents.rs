use super::*;
use crate::model::{JsonTemplate, Scheme};
use crate::settings::RequestLogOutput;
use crate::template::Template;

#[test]
fn the_quickstart_holds() {
    let loaded = quickstart().loaded();
    let tenant = only_tenant(&loaded);
    assert_eq!(tenant.routes.len(), 8);
    assert_eq!(tenant.api_keys.len(), 3);
    let echo = &tenant.routes[0];
    let served: Vec<_> = echo
        .environments
        .iter()
        .map(|e| e.environment.as_str())
        .collect();
    assert_eq!(served, ["production", "sandbox", "staging"]);
    assert_eq!(
        loaded.settings.logging.requests.output,
        RequestLogOutput::Stdout
    );
    assert_eq!(
        loaded.settings.listeners[0].address.to_string(),
        "127.0.0.1:8080"
    );
}

#[test]
fn the_demo_keys_of_the_quickstart_match_their_digests() {
    let text = include_str!("../../../../conf/quickstart.yaml");
    let loaded = quickstart().loaded();
    let demo = text.lines().filter_map(|line| line.strip_prefix("#   tk_"));
    let keys: Vec<String> = demo.map(|rest| format!("tk_{rest}")).collect();
    assert_eq!(keys.len(), 3);
    for (key, known) in keys.iter().zip(&only_tenant(&loaded).api_keys) {
        assert_eq!(crate::KeyDigest::of(key.as_bytes()), known.digest);
        assert!(key.starts_with(&format!("{}_", known.id)));
    }
}

#[test]
fn a_small_document_gets_every_default() {
    let loaded = with("routes: [{slug: a, target_base_url: 'https://x.example/v1/'}]\n").loaded();
    let settings = &loaded.settings;
    assert_eq!(
        settings.admin.unwrap().address.to_string(),
        "127.0.0.1:9901"
    );
    assert_eq!(settings.limits.head_bytes, 16_384);
    assert_eq!(settings.upstream.pool_size, 1024);
    let route = &only_tenant(&loaded).routes[0];
    assert_eq!(route.name.as_str(), "a");
    assert_eq!(route.base_environment.as_str(), "production");
    let [environment] = route.environments.as_slice() else {
        panic!("one environment");
    };
    assert_eq!(environment.target.scheme, Scheme::Https);
    assert_eq!(environment.target.path, "/v1");
    assert_eq!(environment.upstream.timeouts.read.as_secs(), 30);
    assert!(environment.enabled && !environment.open && environment.allowed_methods.is_none());
}

#[test]
fn ids_are_the_same_after_every_load() {
    let ids = || {
        let loaded = quickstart().loaded();
        let tenant = only_tenant(&loaded).clone();
        let routes: Vec<_> = tenant.routes.iter().map(|route| route.id).collect();
        (
            tenant.id,
            routes,
            tenant.clients[0].id,
            tenant.secrets[0].id,
        )
    };
    assert_eq!(ids(), ids());
}

#[test]
fn an_environment_replaces_what_it_names_and_inherits_the_rest() {
    let loaded = with(
        "environments: [{name: production}, {name: staging}, {name: test}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers: {x-a: one, x-b: two}
    allowed_methods: [GET]
    ip_allowlist: [10.0.0.0/8]
    rate_limit_requests: 10
    rate_limit_burst: 3
    method_configs: [{method: GET, rate_limit_requests: 1}]
    environments:
      staging:
        inject_headers: {x-b: three}
        allowed_methods: []
        ip_allowlist: null
        target_base_url: ''
        rate_limit_requests: 20
        method_configs: [{method: GET, target_base_url: 'http://y.example'}]
      test: ~
",
    )
    .loaded();
    let environments = &only_tenant(&loaded).routes[0].environments;
    let [base, staging, test] = environments.as_slice() else {
        panic!("three environments");
    };
    let headers: Vec<_> = staging
        .injection
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(headers, ["x-b"]);
    assert_eq!(staging.allowed_methods, base.allowed_methods);
    assert_eq!(staging.ip_allowlist, base.ip_allowlist);
    assert_eq!(staging.target, base.target);
    let limit = staging.rate_limit.unwrap();
    assert_eq!((limit.requests.get(), limit.burst), (20, 3));
    assert!(
        staging.method_configs[0].target.is_some()
            && staging.method_configs[0].rate_limit.is_none()
    );
    assert_eq!(test.injection.headers.len(), 2);
    assert_eq!(test.rate_limit, base.rate_limit);
}

#[test]
fn an_environment_may_lift_a_limit_and_pause() {
    let loaded = with(
        "environments: [{name: production}, {name: staging}]
routes:
  - slug: a
    target_base_url: http://x.example
    rate_limit_requests: 10
    environments: {staging: {enabled: false, rate_limit_enabled: false}}
",
    )
    .loaded();
    let route = &only_tenant(&loaded).routes[0];
    assert!(route.enabled && route.environments[0].enabled && !route.environments[1].enabled);
    assert_eq!(route.environments[1].rate_limit, None);
}

#[test]
fn a_disabled_key_and_the_key_of_a_disabled_client_are_unknown() {
    let digest = |c: &str| c.repeat(64);
    let loaded = with(&format!(
        "clients: [{{name: off, enabled: false}}]
api_keys:
  - {{key_id: tk_live_a, key_sha256: '{}'}}
  - {{key_id: tk_live_b, key_sha256: '{}', enabled: false}}
  - {{key_id: tk_live_c, key_sha256: '{}', client: off}}
",
        digest("a"),
        digest("b"),
        digest("c")
    ))
    .loaded();
    let keys: Vec<_> = only_tenant(&loaded)
        .api_keys
        .iter()
        .map(|key| key.id.as_str())
        .collect();
    assert_eq!(keys, ["tk_live_a"]);
}

#[test]
fn a_body_is_a_tree_of_templates() {
    let loaded = with(
        "routes: [{slug: a, target_base_url: 'http://x.example', inject_body: {n: 1, list: ['{{route.slug}}', null, true]}}]\n",
    )
    .loaded();
    let body = only_tenant(&loaded).routes[0].environments[0]
        .injection
        .body
        .clone();
    let Some(JsonTemplate::Object(fields)) = body else {
        panic!("an object");
    };
    let JsonTemplate::Array(items) = &fields[1].1 else {
        panic!("a list");
    };
    assert!(matches!(&items[0], JsonTemplate::String(Template::Segments(s)) if s.len() == 1));
}

#[test]
fn watches_the_configuration_and_every_file_it_names() {
    let setup = with("secrets: [{name: a, from_file: secret}]\n").file("secret", "x", 0o600);
    let watched = setup.loaded().watched;
    let names: Vec<_> = watched
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(names, ["config.yaml", "secret"]);
}

#[test]
fn ten_thousand_routes_load() {
    let mut text = HEAD.to_owned();
    text.push_str("secrets: [{name: s, from_env: S}]\nroutes:\n");
    for n in 0..10_000 {
        text.push_str(&format!(
            "  - {{slug: r{n}, target_base_url: 'http://h{n}.example', inject_headers: {{authorization: 'Bearer {{{{secret:s}}}}'}}}}\n"
        ));
    }
    let loaded = Setup::new(&text).env("S", "a-secret").loaded();
    assert_eq!(only_tenant(&loaded).routes.len(), 10_000);
}
