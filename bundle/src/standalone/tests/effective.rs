use super::*;

#[test]
fn the_effective_configuration_has_defaults_and_no_secret() {
    let setup = quickstart();
    let shown = setup.with(effective).unwrap();
    let text = shown.to_string();
    for value in ["token-live", "token-staging", "signing-secret"] {
        assert!(!text.contains(value), "{value}");
    }
    assert_eq!(shown["limits"]["head_bytes"], 16_384);
    assert_eq!(shown["routes"][1]["signature_tolerance_sec"], 300);
    assert_eq!(
        shown["secrets"][0]["environments"]["production"]["value"],
        "[redacted]"
    );
    assert_eq!(
        shown["secrets"][0]["environments"]["production"]["from_env"],
        "DEMO_TOKEN"
    );
}

#[test]
fn the_effective_configuration_redacts_inline_secrets_and_literal_credentials() {
    let setup = with(
        "secrets: [{name: a, value: hunter2}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers: {authorization: Bearer hunter3, x-region: eu}
",
    )
    .inline();
    let shown = setup.with(effective).unwrap();
    let text = shown.to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("hunter3"),
        "{text}"
    );
    assert_eq!(shown["routes"][0]["inject_headers"]["x-region"], "eu");
}

#[test]
fn the_effective_configuration_of_a_bad_file_is_its_report() {
    assert!(with("nonsense: 1\n").with(effective).is_err());
}

#[test]
fn what_is_shown_holds_again() {
    let setup = quickstart();
    let mut shown = setup.with(effective).unwrap();
    for secret in shown["secrets"].as_array_mut().unwrap() {
        secret.as_object_mut().unwrap().remove("value");
        let environments = secret["environments"].as_object_mut().unwrap();
        for source in environments.values_mut() {
            source.as_object_mut().unwrap().remove("value");
        }
    }
    fs::write(setup.folder.path().join("config.yaml"), shown.to_string()).unwrap();
    let again = setup.loaded();
    assert_eq!(again.settings, quickstart().loaded().settings);
    assert_eq!(only_tenant(&again).routes.len(), 8);
}

#[test]
fn literal_credentials_are_redacted_also_beside_placeholders_and_in_bodies() {
    let shown = with(
        "environments: [{name: production}, {name: staging}]
secrets: [{name: s, from_env: S}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers:
      authorization: Bearer hunter2-{{environment}}
      x-api-key: '{{secret:s}}'
      cookie: \"{% if environment == 'staging' %}hunter2{% endif %}\"
      x-token: Token {{secret:s}}
    inject_body:
      password: hunter2
      token: '{{secret:s}}'
      login: {credentials: [hunter2, {user: hunter2}], pin: 12345678, region: eu}
    method_configs:
      - {method: POST, inject_body: {api_key: hunter2}, inject_headers: {x-secret: 'hunter2{{environment}}'}}
    environments:
      staging: {inject_body: {user_pw: hunter2}}
",
    )
    .env("S", "a-secret")
    .with(effective)
    .unwrap();
    let text = shown.to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("12345678"),
        "{text}"
    );
    let route = &shown["routes"][0];
    assert_eq!(route["inject_headers"]["x-api-key"], "{{secret:s}}");
    assert_eq!(route["inject_headers"]["x-token"], "Token {{secret:s}}");
    assert_eq!(route["inject_body"]["token"], "{{secret:s}}");
    assert_eq!(route["inject_body"]["login"]["region"], "eu");
}

#[test]
fn an_environment_without_settings_and_an_injected_null_are_shown() {
    let shown = with(
        "environments: [{name: production}, {name: staging}, {name: sandbox}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_body: {nul: null, deep: {nul: null}}
    method_configs: [{method: PUT, inject_body: {nul: null}}]
    environments: {staging: , sandbox: {inject_body: {nul: null}}}
",
    )
    .with(effective)
    .unwrap();
    let route = &shown["routes"][0];
    let null = |value: &serde_json::Value, field: &str| {
        value.as_object().unwrap().get(field).unwrap().is_null()
    };
    assert!(null(&route["environments"], "staging"));
    assert!(null(
        &route["environments"]["sandbox"]["inject_body"],
        "nul"
    ));
    assert!(null(&route["inject_body"], "nul"));
    assert!(null(&route["inject_body"]["deep"], "nul"));
    assert!(null(&route["method_configs"][0]["inject_body"], "nul"));
    assert!(!route.as_object().unwrap().contains_key("id"));
}
