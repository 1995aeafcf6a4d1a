//! `knoxcall explain`: what would become of a request, without sending it.

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Cli, Config, Output, Upstream, keys};
use serde_json::json;

#[test]
fn it_tells_what_a_request_resolves_to() {
    let (upstream, config) = config();
    let key = format!("x-knoxcall-key: {}", keys::CLIENT);
    let output = explain(
        &config,
        &[
            "-X",
            "POST",
            "-H",
            "x-knoxcall-route: echo",
            "-H",
            &key,
            "-d",
            "{}",
            "http://acme.knox.test/api/things?x=1",
        ],
    );
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    for word in [
        "acme",
        "Echo",
        "production",
        "backend",
        "tk_live_client01",
        "/v1/things?x=1",
        "x-token",
        "token",
    ] {
        assert!(output.stdout.contains(word), "{word} in {}", output.stdout);
    }
    assert!(!output.stdout.contains(TOKEN), "{}", output.stdout);
    assert!(!output.stdout.contains(keys::CLIENT), "{}", output.stdout);
    upstream.assert_untouched();
}

#[test]
fn it_names_the_check_that_would_refuse() {
    let (upstream, config) = config();
    let key = format!("x-knoxcall-key: {}", keys::LIVE);
    let route = "x-knoxcall-route: echo";
    for (request, refusal) in [
        (vec!["-H", route, "http://gw.test/"], "unauthorized"),
        (
            vec![
                "-H",
                &key,
                "-H",
                "x-knoxcall-route: missing",
                "http://gw.test/",
            ],
            "route_not_found",
        ),
        (
            vec!["-H", &key, "-H", route, "http://evil.test/"],
            "misdirected_request",
        ),
        (
            vec!["-H", &key, "-H", route, "-X", "DELETE", "http://gw.test/"],
            "method_not_allowed",
        ),
        (
            vec![
                "-H",
                &key,
                "-H",
                route,
                "-H",
                "x-knoxcall-environment: nowhere",
                "http://gw.test/",
            ],
            "environment_not_configured",
        ),
        (
            vec!["-H", &key, "-H", route, "http://gw.test/a%2f..%2fb"],
            "invalid_path",
        ),
        (
            vec![
                "-H",
                &key,
                "-H",
                "x-knoxcall-route: signed",
                "http://gw.test/",
            ],
            "signature_missing",
        ),
        (
            vec![
                "-H",
                &key,
                "-H",
                "x-knoxcall-route: walled",
                "http://gw.test/",
            ],
            "ip_not_allowed",
        ),
    ] {
        let output = explain(&config, &request);
        assert_eq!(output.code, 1, "{request:?}: {}", output.stderr);
        assert!(
            output.stdout.contains(refusal),
            "{refusal} in {}",
            output.stdout
        );
    }
    upstream.assert_untouched();
}

#[test]
fn what_curl_sends_and_no_uri_may_hold_is_refused_as_the_gateway_would() {
    let (upstream, config) = config();
    let key = format!("x-knoxcall-key: {}", keys::LIVE);
    let base = ["-H", "x-knoxcall-route: echo", "-H", &key];
    for (request, refusal) in [
        (["http://gw.test/a|b"].as_slice(), "400 malformed_request"),
        (&["http://gw.test/a\\b"], "400 malformed_request"),
        (&["http://gw.test/?%zz"], "400 malformed_request"),
        (&["http://gw.test:99999/"], "400 malformed_request"),
        (
            &["--path-as-is", "http://gw.test/a/../../b"],
            "400 invalid_path",
        ),
    ] {
        let output = explain(&config, &[&base, request].concat());
        assert_eq!(output.code, 1, "{request:?}: {}", output.stderr);
        assert!(output.stdout.contains(refusal), "{}", output.stdout);
    }
    upstream.assert_untouched();
}

#[test]
fn what_is_not_a_request_exits_with_2() {
    let (_upstream, config) = config();
    for request in [
        vec!["-X"],
        vec!["-H", "no-colon", "http://gw.test/"],
        vec!["--nonsense", "http://gw.test/"],
        vec!["-X", "GET"],
        vec!["http://gw.test/a b"],
        vec!["ftp://gw.test/"],
    ] {
        let output = explain(&config, &request);
        assert_eq!(output.code, 2, "{request:?}: {}", output.stdout);
    }
}

#[test]
fn health_is_answered_by_the_gateway() {
    let (upstream, config) = config();
    for host in ["gw.test", "evil.test"] {
        let output = explain(&config, &[&format!("http://{host}/healthz")]);
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
        assert!(output.stdout.contains("health"), "{}", output.stdout);
    }
    upstream.assert_untouched();
}

#[test]
fn the_limits_are_those_of_the_configuration() {
    let (_upstream, config) = config();
    let config = config
        .limit("head_bytes", 2048)
        .limit("max_inspected_body_bytes", 8);
    let key = format!("x-knoxcall-key: {}", keys::CLIENT);
    let long = format!("x-long: {}", "a".repeat(2048));
    let output = explain(&config, &["-H", &long, "http://gw.test/"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stdout.contains("431"), "{}", output.stdout);

    let output = explain(
        &config.edit_route(
            "echo",
            json!({"inject_body": {"a": 1}, "inject_headers": {}}),
        ),
        &[
            "-H",
            &key,
            "-H",
            "x-knoxcall-route: echo",
            "--json",
            "{\"abc\":1}",
            "http://gw.test/",
        ],
    );
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("413"), "{}", output.stdout);
}

#[test]
fn it_takes_what_curl_takes() {
    let (_upstream, config) = config();
    let config = config.edit_route(
        "echo",
        json!({"inject_body": {"account": "a1"}, "inject_headers": {}, "environments": {}}),
    );
    let key = format!("x-knoxcall-key: {}", keys::CLIENT);
    let base = ["-sS", "-k", "-H", "x-knoxcall-route: echo", "-H", &key];
    let url = "http://gw.test/";
    let told = |words: &[&str]| explain(&config, &[&base, words, &[url]].concat());
    for json in [
        ["--json", "{\"a\":1}"].as_slice(),
        &["-H", "content-type: application/json", "-d", "{\"a\":1}"],
        &[
            "-H",
            "content-type: application/json",
            "--data-binary",
            "@body.json",
        ],
        &["-H", "content-type: application/json", "-d", "@body.json"],
        &["--json", "@body.json"],
    ] {
        let output = told(json);
        assert_eq!(
            output.code, 0,
            "{json:?}: {}{}",
            output.stdout, output.stderr
        );
        assert!(output.stdout.contains("rewritten"), "{json:?}");
    }
    // As curl does, -d says that it is a form: nothing is merged into that.
    for form in [["-d", "a=1"], ["--data", "{\"a\":1}"], ["-d", ""]] {
        let output = told(&form);
        assert_eq!(
            output.code, 1,
            "{form:?}: {}{}",
            output.stdout, output.stderr
        );
        assert!(output.stdout.contains("body_not_json"), "{form:?}");
    }
}

fn config() -> (Upstream, Config) {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address())
        .set("/listeners", json!([{"address": "127.0.0.1:1"}]))
        .edit_route(
            "echo",
            json!({
                "target_base_url": format!("{}/v1", upstream.url()),
                "allowed_methods": ["GET", "POST"],
                "inject_headers": {"x-token": "{{secret:token}}"},
                "environments": {},
            }),
        )
        .edit_client("backend", json!({"assignments": [{}]}))
        .route(json!({"slug": "signed", "target_base_url": upstream.url(), "require_signature": true}))
        .route(json!({"slug": "walled", "target_base_url": upstream.url(), "ip_allowlist": ["203.0.113.0/24"]}));
    (upstream, config)
}

fn explain(config: &Config, request: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yaml"), config.text()).unwrap();
    std::fs::write(directory.path().join("body.json"), "{\n\"a\":1}\n").unwrap();
    Cli::new(
        ["explain", "--config", "config.yaml", "--"]
            .iter()
            .chain(request),
    )
    .env_of(config)
    .current_dir(directory.path())
    .run()
}
