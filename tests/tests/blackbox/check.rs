//! `knoxcall check`: which step fails, and why.

use std::path::Path;

use knoxcall_tests::{Authority, Cli, Config, Nginx, Output, Upstream, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

fn check(config: &Config, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("knoxcall.yaml");
    std::fs::write(&file, config.text()).unwrap();
    run(&file, config, arguments)
}

fn run(file: &Path, config: &Config, arguments: &[&str]) -> Output {
    let mut all = vec!["check", "--config", file.to_str().unwrap()];
    all.extend(arguments);
    Cli::new(all).env_of(config).run()
}

fn config(fields: Value) -> Config {
    Config::new("127.0.0.1:1".parse().unwrap())
        .set("/listeners", json!([{"address": "127.0.0.1:0"}]))
        .edit_route("echo", fields)
}

/// What is told of a step.
#[track_caller]
fn line<'o>(output: &'o Output, step: &str) -> &'o str {
    let mut lines = output.stdout.lines();
    lines
        .find(|line| line.trim_start().starts_with(step))
        .unwrap_or_else(|| panic!("no {step} in {output:?}"))
}

#[test]
fn every_step_of_a_sound_route_is_told() {
    let upstream = Upstream::start();
    let config = config(json!({"target_base_url": format!("{}/v1", upstream.url())}));
    let output = check(&config, &["echo"]);
    assert_eq!(output.code, 0, "{output:?}");
    for step in ["resolve", "connect", "request"] {
        assert!(line(&output, step).contains(" ok "), "{output:?}");
    }
    assert!(line(&output, "request").contains("HEAD /v1 was answered 200"));
    let seen = upstream.only_request();
    assert_eq!((&*seen.method, &*seen.target), ("HEAD", "/v1"));
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn a_path_and_an_environment_may_be_chosen() {
    let (live, staging) = (Upstream::start(), Upstream::start());
    let config = config(json!({
        "target_base_url": live.url(),
        "environments": {"staging": {"target_base_url": staging.url()}},
    }));
    let flags = [
        "echo",
        "--environment",
        "staging",
        "--path",
        "/x?y=z",
        "--method",
        "GET",
    ];
    let output = check(&config, &flags);
    assert_eq!(output.code, 0, "{output:?}");
    let seen = staging.only_request();
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/x?y=z"));
    live.assert_untouched();
}

#[test]
fn a_name_that_does_not_resolve_is_told_as_such() {
    let output = check(
        &config(json!({"target_base_url": "http://nowhere.invalid"})),
        &["echo"],
    );
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output, "resolve").contains("FAILED"), "{output:?}");
}

#[test]
fn nobody_listening_is_told_as_such() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let output = check(&config(json!({"target_base_url": url})), &["echo"]);
    assert_eq!(output.code, 1, "{output:?}");
    let line = line(&output, "connect");
    assert!(
        line.contains("FAILED") && line.contains("refused"),
        "{line}"
    );
}

#[test]
fn a_certificate_that_is_not_believed_is_told_as_such() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let nginx = Nginx::tls(&certificate, &key);
    let url = format!("https://127.0.0.1:{}", nginx.port());
    let strange = json!({"target_base_url": url, "server_name": "localhost"});
    let output = check(&config(strange), &["echo"]);
    assert_eq!(output.code, 1, "{output:?}");
    let failed = line(&output, "tls");
    assert!(
        failed.contains("FAILED") && failed.contains("InvalidCert"),
        "{failed}"
    );

    let trusting = json!({
        "target_base_url": url,
        "server_name": "localhost",
        "custom_ca_file": authority.certificate(),
    });
    let output = check(&config(trusting), &["echo"]);
    assert_eq!(output.code, 0, "{output:?}");
    let tls = line(&output, "tls");
    assert!(
        tls.contains("TLSv1.") && tls.contains(" as localhost"),
        "{tls}"
    );
}

#[test]
fn an_upstream_that_does_not_answer_is_told_as_such() {
    let upstream = Upstream::scripted(|session| session.request().map(drop));
    let output = check(
        &config(json!({"target_base_url": upstream.url()})),
        &["echo"],
    );
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output, "request").contains("FAILED"), "{output:?}");
}

#[test]
fn every_target_of_a_pool_is_tried() {
    let upstream = Upstream::start();
    let gone = format!("http://127.0.0.1:{}", free_port());
    let targets = json!([{"url": upstream.url()}, {"url": gone}]);
    let output = check(
        &config(json!({"target_base_url": null, "targets": targets})),
        &["echo"],
    );
    assert_eq!(output.code, 1, "{output:?}");
    let verdicts = |verdict: &str| {
        let lines = output.stdout.lines();
        lines
            .filter(|line| line.trim_start().starts_with("connect") && line.contains(verdict))
            .count()
    };
    assert_eq!((verdicts(" ok "), verdicts("FAILED")), (1, 1), "{output:?}");
}

#[test]
fn what_it_is_told_wrongly_is_exit_code_2() {
    let sound = config(json!({}));
    for (flags, told) in [
        (vec!["nobody"], "no route is called `nobody`"),
        (
            vec!["echo", "--environment", "mars"],
            "--environment: the route serves",
        ),
        (
            vec!["echo", "--path", "x"],
            "--path: write what begins with /",
        ),
        (vec!["echo", "--method", "POST"], "--method"),
    ] {
        let output = check(&sound, &flags);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(told), "{output:?}");
    }
}

#[test]
fn no_secret_is_printed() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let nginx = Nginx::mutual_tls(&certificate, &key, &authority.certificate());
    let (chain, client_key) = authority.issue_client("alice", 7);
    let config = config(json!({
        "target_base_url": format!("https://127.0.0.1:{}", nginx.port()),
        "server_name": "localhost",
        "custom_ca_file": authority.certificate(),
        "client_certificate": {"certificate": "c", "key": "k"},
        "inject_headers": {"authorization": "Bearer {{secret:token}}"},
        "environments": {},
    }))
    .secret("c", json!({"production": chain}))
    .secret("k", json!({"production": client_key}));
    let output = check(&config, &["echo"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "tls").contains("client certificate at hand"));
    let printed = format!("{}{}", output.stdout, output.stderr);
    assert!(!printed.contains("BEGIN") && !printed.contains(knoxcall_tests::config::TOKEN));
    assert!(
        client_key
            .lines()
            .all(|line| line.is_empty() || !printed.contains(line))
    );
}
