use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{JsonTemplate, Scheme, Tenant};
use crate::settings::RequestLogOutput;
use crate::template::Template;

/// A folder with a configuration, and environment variables.
struct Setup {
    folder: TempDir,
    env: Vec<(&'static str, &'static str)>,
    inline: bool,
}

impl Setup {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self {
            folder,
            env: Vec::new(),
            inline: false,
        }
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    fn file(self, name: &str, content: &str, mode: u32) -> Self {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn with<T>(&self, run: impl FnOnce(&Path, &LoadOptions<'_>) -> T) -> T {
        let env = |name: &str| {
            let pair = self.env.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let options = LoadOptions {
            allow_inline_secrets: self.inline,
            env: &env,
        };
        run(&self.folder.path().join("config.yaml"), &options)
    }

    fn load(&self) -> Result<Loaded, Report> {
        self.with(load)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|report| panic!("{report}"))
    }

    /// The report without the folder's name.
    fn report(&self) -> String {
        let report = self.load().map(|_| ()).expect_err("a refusal").to_string();
        report.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn only_tenant(loaded: &Loaded) -> &Tenant {
    let [tenant] = loaded.bundle.tenants.as_slice() else {
        panic!("one tenant");
    };
    tenant
}

const HEAD: &str = "tenant: {slug: acme, extra_hosts: [gate.example]}\n";

/// A document that is sound but for `rest`.
fn with(rest: &str) -> Setup {
    Setup::new(&format!("{HEAD}{rest}"))
}

fn quickstart() -> Setup {
    let text = include_str!("../../../conf/quickstart.yaml");
    Setup::new(text)
        .env("DEMO_TOKEN", "token-live")
        .env("DEMO_TOKEN_STAGING", "token-staging")
        .env("DEMO_SIGNING_SECRET", "signing-secret")
}

// === what holds ===

#[test]
fn the_quickstart_holds() {
    let loaded = quickstart().loaded();
    let tenant = only_tenant(&loaded);
    assert_eq!(tenant.routes.len(), 7);
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
    let text = include_str!("../../../conf/quickstart.yaml");
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
    let loaded = Setup::new(&text).env("S", "x").loaded();
    assert_eq!(only_tenant(&loaded).routes.len(), 10_000);
}

// === secrets ===

fn secret_value(setup: &Setup) -> String {
    let loaded = setup.loaded();
    let secret = &only_tenant(&loaded).secrets[0];
    secret.values.values().next().unwrap().expose().to_owned()
}

#[test]
fn one_line_feed_at_a_files_end_is_not_part_of_the_secret() {
    for (content, value) in [
        ("x", "x"),
        ("x\n", "x"),
        ("x\n\n", "x\n"),
        ("a\nb\n", "a\nb"),
    ] {
        let setup = with("secrets: [{name: a, from_file: s}]\n").file("s", content, 0o640);
        assert_eq!(secret_value(&setup), value);
    }
}

#[test]
fn a_link_is_followed_as_kubernetes_mounts_secrets() {
    let setup = with("secrets: [{name: a, from_file: link}]\n").file("data", "x", 0o400);
    symlink(
        setup.folder.path().join("data"),
        setup.folder.path().join("link"),
    )
    .unwrap();
    assert_eq!(secret_value(&setup), "x");
}

#[test]
fn refuses_a_file_that_others_may_use_or_the_group_may_write() {
    for (mode, message) in [
        (0o604, "others may use the file (mode 0604) (chmod o-rwx)"),
        (0o602, "others may use the file (mode 0602) (chmod o-rwx)"),
        (0o601, "others may use the file (mode 0601) (chmod o-rwx)"),
        (
            0o620,
            "the group may write the file (mode 0620) (chmod g-w)",
        ),
    ] {
        let setup = with("secrets: [{name: a, from_file: s}]\n").file("s", "x", mode);
        assert_eq!(
            setup.report(),
            format!("config.yaml:2: secrets[0].from_file: {message}\n1 problem")
        );
    }
}

#[test]
fn refuses_an_open_file_behind_a_link() {
    let setup = with("secrets: [{name: a, from_file: link}]\n").file("data", "x", 0o644);
    symlink(
        setup.folder.path().join("data"),
        setup.folder.path().join("link"),
    )
    .unwrap();
    assert!(setup.report().contains("others may use the file"));
}

#[test]
fn refuses_what_is_missing_empty_too_large_or_no_file() {
    let secret = "secrets: [{name: a, from_file: s}]\n";
    assert!(
        with(secret)
            .report()
            .contains("the file cannot be read: entity not found")
    );
    assert!(
        with(secret)
            .file("s", "", 0o600)
            .report()
            .contains("the file is empty")
    );
    assert!(
        with(secret)
            .file("s", "\n", 0o600)
            .report()
            .contains("the file is empty")
    );
    let large = "x".repeat(64 * 1024 + 1);
    assert!(
        with(secret)
            .file("s", &large, 0o600)
            .report()
            .contains("larger than 64 KiB")
    );
    assert!(
        with("secrets: [{name: a, from_file: .}]\n")
            .report()
            .contains("not a regular file")
    );
}

#[test]
fn refuses_an_environment_variable_that_is_not_set_or_empty() {
    let secret = "secrets: [{name: a, from_env: HUNTER2}]\n";
    assert_eq!(
        with(secret).report(),
        "config.yaml:2: secrets[0].from_env: the environment variable is not set \
         (set it where the gateway is started)\n1 problem"
    );
    assert!(
        with(secret)
            .env("HUNTER2", "")
            .report()
            .contains("variable is empty")
    );
}

#[test]
fn a_secret_in_clear_needs_the_flag() {
    let text = "secrets: [{name: a, value: hunter2}]\n";
    let report = with(text).report();
    assert!(
        report.contains("secrets[0].value: a secret in clear is refused"),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(secret_value(&with(text).inline()), "hunter2");
}

#[test]
fn a_missing_value_is_a_mistake_unless_the_secret_is_optional() {
    let text = |optional: bool| {
        format!(
            "environments: [{{name: production}}, {{name: staging}}]
secrets: [{{name: s, optional: {optional}, environments: {{production: {{from_env: S}}}}}}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers: {{authorization: '{{{{secret:s}}}}'}}
    environments: {{staging: {{}}}}
"
        )
    };
    assert_eq!(
        with(&text(false)).env("S", "x").report(),
        "config.yaml:7: routes[0].inject_headers.authorization: the secret `s` has no value in \
         `staging` (give it one, or declare it optional: true (such requests then get 503))\n\
         1 problem"
    );
    assert!(with(&text(true)).env("S", "x").load().is_ok());
}

#[test]
fn neither_the_bundle_nor_the_settings_show_a_secret() {
    let loaded = quickstart().loaded();
    let shown = format!("{loaded:?}");
    for value in ["token-live", "token-staging", "signing-secret"] {
        assert!(!shown.contains(value), "{value}");
    }
}

// === what is refused, all at once ===

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let setup = Setup::new(include_str!("testdata/mistakes.yaml"));
    let expected = include_str!("testdata/mistakes.txt");
    assert_eq!(setup.report(), expected.trim_end());
}

#[test]
fn no_scalar_under_secrets_is_ever_quoted() {
    let setup = Setup::new(include_str!("testdata/secrets.yaml"));
    let report = setup.report();
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(report, include_str!("testdata/secrets.txt").trim_end());
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

// === the effective configuration ===

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
    assert_eq!(only_tenant(&again).routes.len(), 7);
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
