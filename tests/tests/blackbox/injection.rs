//! Injected headers: what is rendered, what it replaces, what is never sent.

use knoxcall_tests::config::{STAGING_TOKEN, TOKEN};
use knoxcall_tests::{Config, Gateway, Request, Upstream, keys, signing};
use serde_json::{Value, json};

#[test]
fn a_secret_goes_to_the_upstream_and_nowhere_else() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&injecting(
        &upstream,
        json!({"Authorization": "Bearer {{secret:token}}"}),
    ));
    let response = gateway.get("/");
    response.assert_served();
    assert_eq!(
        upstream.only_request().header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    let head = String::from_utf8(response.head.raw.clone()).unwrap();
    assert!(!head.contains(TOKEN) && !response.text().contains(TOKEN));
    let record = gateway.record_of(&response);
    assert_eq!(record.0["secrets_used"], json!(["token"]));
}

#[test]
fn an_injected_header_replaces_every_spelling_of_the_clients() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&injecting(
        &upstream,
        json!({"X-Api-Key": "ours", "X_Under": "ours"}),
    ));
    let names = [
        "X-Api-Key",
        "x-api-key",
        "X_Api_Key",
        "x_api-key",
        "X-API_KEY",
        "X-Under",
        "x_under",
    ];
    let request = names.iter().fold(Request::get("/"), |request, name| {
        request.header(name, "theirs")
    });
    gateway.send(&request).assert_served();
    let seen = upstream.only_request();
    let mut sent: Vec<_> = seen
        .head
        .headers
        .iter()
        .filter(|(name, _)| {
            matches!(
                name.to_lowercase().replace('_', "-").as_str(),
                "x-api-key" | "x-under"
            )
        })
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    sent.sort();
    assert_eq!(
        sent,
        [
            ("x-api-key".to_owned(), "ours"),
            ("x_under".to_owned(), "ours")
        ]
    );
}

#[test]
fn every_placeholder_and_variable_is_rendered() {
    let upstream = Upstream::start();
    let before = signing::now();
    let gateway = Gateway::start(
        &injecting(
            &upstream,
            json!({
                "x-secret-id": "{{secret_id:0f0e0d0c-0b0a-4908-8706-050403020100}}",
                "x-var": "{{var:region}}-{{ var:region }}",
                "x-client": "{{client.name}}",
                "x-client-id": "{{client.id}}",
                "x-route": "{{route.name}}",
                "x-environment": "{{environment}}",
                "x-time": "{{timestamp}}",
                "x-id": "{{request_id}}",
                "x-tenant": "{{tenant_id}}",
                "x-plain": "no placeholder",
            }),
        )
        .set(
            "/secrets/0/id",
            json!("0f0e0d0c-0b0a-4908-8706-050403020100"),
        )
        .set("/tenant/id", json!("00000000-1111-4222-8333-444444444444"))
        .edit_client(
            "backend",
            json!({"id": "99999999-1111-4222-8333-444444444444"}),
        )
        .variable("region", json!({"production": "eu"})),
    );
    let response = gateway.send(&Request::get("/").key(keys::CLIENT));
    response.assert_served();
    let seen = upstream.only_request();
    let id = response.request_id();
    for (name, value) in [
        ("x-secret-id", TOKEN),
        ("x-var", "eu-eu"),
        ("x-client", "backend"),
        ("x-client-id", "99999999-1111-4222-8333-444444444444"),
        ("x-route", "Echo"),
        ("x-environment", "production"),
        ("x-id", id.as_str()),
        ("x-tenant", "00000000-1111-4222-8333-444444444444"),
        ("x-plain", "no placeholder"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let time: u64 = seen.header("x-time").unwrap().parse().unwrap();
    assert!((before..=signing::now()).contains(&time));
}

#[test]
fn liquid_and_its_older_form_decide_and_filter() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &injecting(
            &upstream,
            json!({
                "x-liquid": "{% if environment == 'production' %}live{% else %}test{% endif %}",
                "x-older": "{{if environment == 'production'}}live{{else}}test{{endif}}",
                "x-filter": "{{ route.name | upcase }}",
                "x-secret": "{% if environment == 'production' %}{{secret:token}}{% endif %}",
            }),
        )
        .edit_route("echo", json!({"environments": {"staging": {}}})),
    );
    gateway.get("/").assert_served();
    let seen = upstream.last_request();
    assert_eq!(
        (seen.header("x-liquid"), seen.header("x-older")),
        (Some("live"), Some("live"))
    );
    assert_eq!(
        (seen.header("x-filter"), seen.header("x-secret")),
        (Some("ECHO"), Some(TOKEN))
    );
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_served();
    let seen = upstream.last_request();
    assert_eq!(
        (seen.header("x-liquid"), seen.header("x-older")),
        (Some("test"), Some("test"))
    );
}

#[test]
fn a_substituted_value_is_never_parsed_again() {
    let upstream = Upstream::start();
    let tricky = "{{secret:token}}{% raw %}{{var:region}}";
    let gateway = Gateway::start(
        &injecting(
            &upstream,
            json!({"x-a": "{{secret:tricky}}", "x-b": "{% if true %}{{secret:tricky}}{% endif %}"}),
        )
        .secret("tricky", json!({"production": tricky}))
        .variable("region", json!({"production": "eu"})),
    );
    gateway.get("/").assert_served();
    let seen = upstream.only_request();
    assert_eq!(
        (seen.header("x-a"), seen.header("x-b")),
        (Some(tricky), Some(tricky))
    );
}

#[test]
fn a_secret_without_value_fails_the_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &injecting(&upstream, json!({"x-a": "Bearer {{secret:partial}}"}))
            .edit_route("echo", json!({"environments": {"staging": {}}}))
            .secret("partial", json!({"production": "s3cr3t-partial-value"}))
            .set("/secrets/3/optional", json!(true)),
    );
    gateway.get("/").assert_served();
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_refused(503, "secret_unavailable");
    assert_eq!(upstream.requests().len(), 1);
}

/// A filter could have taken the break out, so `config check` cannot tell.
#[test]
fn line_breaks_in_a_value_never_reach_the_wire() {
    let upstream = Upstream::start();
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\rb"] {
        let gateway = Gateway::start(
            &injecting(
                &upstream,
                json!({"x-a": "{{secret:broken | append: request_id}}"}),
            )
            .secret("broken", json!({"production": value}))
            .edit_route("echo", json!({"leak_guard_skip_short": true})),
        );
        let response = gateway.get("/");
        assert_eq!(response.status, 503, "{value:?}: {}", response.text());
        assert!(!response.text().contains("Evil"));
    }
    upstream.assert_untouched();
}

#[test]
fn single_methods_may_have_headers_and_targets_of_their_own() {
    let [ordinary, special] = [Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(&injecting(&ordinary, json!({"x-a": "every"})).edit_route(
        "echo",
        json!({"method_configs": [
            {"method": "POST", "inject_headers": {"x-b": "post"}, "target_base_url": special.url()},
        ]}),
    ));
    gateway.get("/").assert_served();
    assert_eq!(ordinary.only_request().header("x-a"), Some("every"));
    gateway.send(&Request::post("/", "x")).assert_served();
    let seen = special.only_request();
    assert_eq!(
        (seen.header("x-a"), seen.header("x-b")),
        (None, Some("post"))
    );
}

#[test]
fn environments_never_see_each_others_secrets() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &injecting(&upstream, json!({"x-token": "{{secret:token}}"}))
            .edit_route("echo", json!({"environments": {"staging": {}}})),
    );
    for (environment, mine, other) in [
        ("production", TOKEN, STAGING_TOKEN),
        ("staging", STAGING_TOKEN, TOKEN),
    ] {
        gateway
            .send(&Request::get("/").environment(environment))
            .assert_served();
        let raw = String::from_utf8(upstream.last_request().head.raw).unwrap();
        assert!(
            raw.contains(mine) && !raw.contains(other),
            "{environment}: {raw}"
        );
    }
}

fn injecting(upstream: &Upstream, headers: Value) -> Config {
    Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_headers": headers, "environments": {}}),
    )
}

#[test]
fn a_template_that_liquid_cannot_stand_fails_its_own_requests_only() {
    let upstream = Upstream::start();
    let doubled = "{% assign a = a | append: a %}".repeat(30);
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .variable("n", json!({"production": i64::MIN.to_string()}))
            .route(json!({
                "slug": "overflows", "target_base_url": upstream.url(),
                "inject_headers": {"x-a":
                    "{% if request_id contains '-' %}{{ var:n | divided_by: -1 }}{% endif %}"},
            }))
            .route(json!({
                "slug": "grows", "target_base_url": upstream.url(),
                "inject_headers": {"x-a":
                    format!("{{% assign a = request_id %}}{doubled}{{{{ a | size }}}}")},
            })),
    );
    for route in ["overflows", "grows"] {
        let mut client = gateway.connect();
        client.send(Request::get("/").route(route).bytes());
        client.read().assert_refused(500, "internal_error");
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    }
    assert_eq!(upstream.requests().len(), 2);
}
