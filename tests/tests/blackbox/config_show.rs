//! `knoxcall config show` prints no credential, and loses nothing that means
//! something.

use knoxcall_tests::{Cli, Output};
use serde_json::Value;

const HEAD: &str = "\
tenant: {slug: acme, base_domain: knox.test}
environments: [{name: production}, {name: staging}, {name: sandbox}]
secrets: [{name: token, from_env: TOKEN}]
";

#[test]
fn a_credential_that_was_written_into_a_template_is_redacted() {
    let output = show(
        "routes:
  - slug: echo
    target_base_url: https://api.example.com
    inject_headers:
      Authorization: Bearer s3cr3t-{{environment}}
      X-Api-Key: '{{secret:token}}'
    inject_body:
      password: s3cr3t-in-a-body
      region: eu
",
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stdout.contains("s3cr3t"), "{}", output.stdout);
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    let route = &shown["routes"][0];
    assert_eq!(route["inject_headers"]["Authorization"], "[redacted]");
    assert_eq!(route["inject_headers"]["X-Api-Key"], "{{secret:token}}");
    assert_eq!(route["inject_body"]["password"], "[redacted]");
    assert_eq!(route["inject_body"]["region"], "eu");
}

#[test]
fn a_redis_password_is_never_shown() {
    let output = show("counters: {redis_url: 'redis+unix:///x.sock?pass=s3cr3t-pass'}\n");
    assert_eq!(output.code, 2);
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(!told.contains("s3cr3t"), "{told}");
}

#[test]
fn environments_without_settings_and_injected_nulls_stay() {
    let output = show(
        "routes:
  - slug: echo
    target_base_url: https://api.example.com
    inject_body: {nul: null}
    environments: {staging: , sandbox: }
",
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    let route = shown["routes"][0].as_object().unwrap();
    let names: Vec<_> = route["environments"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["sandbox", "staging"]);
    assert_eq!(route["inject_body"].as_object().unwrap().len(), 1);
}

fn show(rest: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("c.yaml"), format!("{HEAD}{rest}")).unwrap();
    Cli::new(["config", "show", "c.yaml"])
        .env("TOKEN", "s3cr3t-token")
        .current_dir(directory.path())
        .run()
}
