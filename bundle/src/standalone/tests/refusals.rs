use proptest::prelude::*;

use super::*;

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let setup = Setup::new(include_str!("../testdata/mistakes.yaml"));
    let expected = include_str!("../testdata/mistakes.txt");
    assert_eq!(setup.report(), expected.trim_end());
}

#[test]
fn no_scalar_under_secrets_is_ever_quoted() {
    let setup = Setup::new(include_str!("../testdata/secrets.yaml"));
    let report = setup.report();
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(report, include_str!("../testdata/secrets.txt").trim_end());
}

#[test]
fn a_file_that_is_no_yaml_is_told_with_its_line_and_not_quoted() {
    let report = with("secrets:\n  - name: [hunter2\n").report();
    assert!(report.starts_with("config.yaml:"), "{report}");
    assert!(report.contains("is not valid YAML"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_file_that_is_not_there_or_no_mapping() {
    let setup = with("");
    fs::remove_file(setup.folder.path().join("config.yaml")).unwrap();
    assert!(setup.report().contains("config.yaml: cannot be read"));
    assert!(Setup::new("- a\n").report().contains("must be a mapping"));
}

#[test]
fn a_file_that_is_not_utf8_is_refused() {
    let setup = with("");
    fs::write(setup.folder.path().join("config.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(setup.report().contains("it is not UTF-8"));
}

#[test]
fn a_report_can_be_read_by_a_program() {
    let report = with("nonsense: 1\n").load().map(|_| ()).unwrap_err();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["problems"][0]["path"], "nonsense");
    assert_eq!(json["problems"][0]["line"], 2);
}

#[test]
fn a_redis_url_with_a_password_belongs_into_the_environment() {
    let report = with("counters: {redis_url: 'redis://:hunter2@127.0.0.1'}\n").report();
    assert!(
        report.contains("counters.redis_url: holds a user or password"),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
    let setup =
        with("counters: {redis_url_from_env: URL}\n").env("URL", "redis://:hunter2@127.0.0.1");
    let loaded = setup.loaded();
    assert!(loaded.settings.counters.redis_url.is_some());
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
}

#[test]
fn refuses_two_places_for_the_redis_url() {
    let text = "counters: {redis_url: 'redis://a', redis_url_from_env: URL}\n";
    assert!(
        with(text)
            .report()
            .contains("counters: needs at most one of")
    );
}

#[test]
fn refuses_a_signing_secret_that_differs_between_environments() {
    let text = "environments: [{name: production}, {name: staging}]
secrets: [{name: s, environments: {production: {from_env: A}, staging: {from_env: B}}}]
clients: [{name: c, signing_secrets: [s]}]
";
    let report = with(text).env("A", "one").env("B", "two").report();
    assert!(
        report.contains("clients[0].signing_secrets[0]: names a secret whose value differs"),
        "{report}"
    );
    assert!(with(text).env("A", "one").env("B", "one").load().is_ok());
}

#[test]
fn a_signed_route_needs_a_client_that_can_sign_there() {
    let text = |client: &str| {
        format!(
            "secrets: [{{name: s, from_env: S}}]
clients: [{{name: c, signing_secrets: [s]{client}}}]
routes: [{{slug: a, target_base_url: 'http://x.example', require_signature: true}}]
"
        )
    };
    let load = |client: &str| with(&text(client)).env("S", "x").load();
    assert!(load("").is_err());
    assert!(load(", assignments: [{environment: production}]").is_ok());
    assert!(load(", assignments: [{route: a}]").is_ok());
    assert!(load(", enabled: false, assignments: [{route: a}]").is_err());
    let key = format!(
        "api_keys: [{{key_id: tk_live_a, key_sha256: '{}', client: c}}]\n",
        "a".repeat(64)
    );
    assert!(with(&(text("") + &key)).env("S", "x").load().is_ok());
}

#[test]
fn an_open_route_cannot_be_signed() {
    let text = "routes: [{slug: a, target_base_url: 'http://x.example', open: true, require_signature: true}]\n";
    assert!(
        with(text)
            .report()
            .contains("routes[0]: is open and requires signatures")
    );
}

#[test]
fn refuses_a_test_key_that_is_only_for_live_environments() {
    let text = format!(
        "api_keys: [{{key_id: tk_test_a, key_sha256: '{}', scopes: [{{environment: production}}]}}]\n",
        "a".repeat(64)
    );
    assert!(
        with(&text)
            .report()
            .contains("a test key is valid in sandbox environments only")
    );
}

#[test]
fn refuses_a_hash_without_its_base_and_an_overlap_without_a_successor() {
    let text = "tenant:
  slug: acme
  extra_hosts: [gate.example]
  subdomain_hash: a1b2c3d4
  previous_hash: {hash: A1B2C3D4, valid_until: '2030-01-01T00:00:00Z'}
";
    let report = Setup::new(text).report();
    assert!(
        report.contains("config.yaml:4: tenant.subdomain_hash: needs a base_domain"),
        "{report}"
    );
    assert!(
        report.contains("config.yaml:5: tenant.previous_hash: is not followed by another hash"),
        "{report}"
    );
}

#[test]
fn refuses_a_slug_that_reads_as_the_sandbox_of_another_tenant() {
    for slug in ["sandbox-acme", "Sandbox-Acme"] {
        let text = format!("tenant: {{slug: {slug}, base_domain: knox.example}}\n");
        let report = Setup::new(&text).report();
        assert!(
            report.contains("config.yaml:1: tenant.slug: begins with `sandbox-`"),
            "{report}"
        );
        assert!(report.contains("1 problem"), "{report}");
    }
    for slug in ["sandbox", "sandboxed", "my-sandbox-a"] {
        let text = format!("tenant: {{slug: {slug}, base_domain: knox.example}}\n");
        assert!(Setup::new(&text).load().is_ok(), "{slug}");
    }
}

#[test]
fn refuses_an_extra_host_that_the_tenant_has_anyway() {
    let text = |host: &str| {
        format!(
            "tenant:
  slug: acme
  base_domain: knox.example
  subdomain_hash: b1b2c3d4
  previous_hash: {{hash: a1b2c3d4, valid_until: '2030-01-01T00:00:00Z'}}
  extra_hosts:
    - gate.example
    - {host}
"
        )
    };
    for host in [
        "acme.knox.example",
        "ACME.knox.example",
        "sandbox-acme.knox.example",
        "b1b2c3d4.acme.knox.example",
        "a1b2c3d4.acme.knox.example",
    ] {
        let report = Setup::new(&text(host)).report();
        assert!(
            report.contains("config.yaml:8: tenant.extra_hosts[1]: is already a host"),
            "{report}"
        );
    }
    assert!(Setup::new(&text("other.knox.example")).load().is_ok());
}

#[test]
fn refuses_a_ca_file_without_certificates() {
    let text =
        "routes: [{slug: a, target_base_url: 'https://x.example', custom_ca_file: ca.pem}]\n";
    let report = with(text).file("ca.pem", "nonsense", 0o644).report();
    assert!(
        report.contains("routes[0].custom_ca_file: the file holds no certificates in PEM"),
        "{report}"
    );
}

#[test]
fn a_slug_in_the_form_of_a_uuid_is_refused() {
    let text = "routes: [{slug: 6f0c2f5e-8d0b-4d0a-9a53-1c7d27f4b0e1, target_base_url: 'http://x.example'}]\n";
    assert!(
        with(text)
            .report()
            .contains("routes[0].slug: has the form of a UUID")
    );
}

#[test]
fn what_only_follows_from_another_mistake_is_not_told() {
    let text = "secrets: [{name: [s]}]
routes: [{slug: a, target_base_url: 7, inject_headers: {x-a: '{{secret:s}}'}}]
";
    assert_eq!(
        with(text).report(),
        "config.yaml:2: secrets[0].name: must be text\n\
         config.yaml:3: routes[0].target_base_url: must be text (put it in quotes)\n\
         2 problems"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_loading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let setup = with("");
        fs::write(setup.folder.path().join("config.yaml"), bytes).unwrap();
        let _ = setup.load();
    }

    #[test]
    fn no_scalars_in_the_place_of_sections_make_loading_panic(
        section in prop::sample::select(vec!["routes", "secrets", "clients", "api_keys", "limits", "logging", "tenant"]),
        value in "[a-z0-9\\[\\]{}:,' ~-]{0,40}",
    ) {
        let _ = with(&format!("{section}: {value}\n")).load();
    }
}
