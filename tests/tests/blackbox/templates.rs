//! Templates whose grammar is sound and whose rendering fails: refused where
//! the values of the configuration show it, one request's failure where only
//! the request can, and never a large process.

use knoxcall_tests::{Cli, Config, Gateway, Output, Request, Upstream, eventually};
use serde_json::{Value, json};

/// The smallest whole number, which nothing can divide by -1.
const OVERFLOWS: &str = "{{ var:n | divided_by: -1 }}";

#[test]
fn a_template_that_its_values_break_is_one_mistake_of_the_configuration() {
    let upstream = Upstream::start();
    for (fields, field) in [
        (
            json!({"inject_headers": {"X-Quotient": OVERFLOWS}}),
            "routes[0].inject_headers.X-Quotient",
        ),
        (
            json!({"inject_body": {"a": [{"b": OVERFLOWS}]}}),
            "routes[0].inject_body",
        ),
        (
            json!({"method_configs": [{"method": "PUT", "inject_headers": {"X-Quotient": OVERFLOWS}}]}),
            "routes[0].method_configs[0].inject_headers.X-Quotient",
        ),
    ] {
        let output = check(&broken_in_staging(&upstream, fields));
        assert_eq!(output.code, 2, "{field}: {}", output.stdout);
        assert_eq!(output.stdout, "");
        let mistakes: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| line.contains("cannot be rendered"))
            .collect();
        assert_eq!(mistakes.len(), 1, "{}", output.stderr);
        assert!(has_a_line(mistakes[0]), "{}", mistakes[0]);
        for word in [field, "`Echo`", "`staging`"] {
            assert!(mistakes[0].contains(word), "{word}: {}", mistakes[0]);
        }
    }
    let sound = json!({"inject_headers": {"X-Quotient": "{{ var:n | divided_by: 2 }}"}});
    let output = check(&broken_in_staging(&upstream, sound));
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn such_a_mistake_is_all_that_is_printed() {
    let upstream = Upstream::start();
    let broken = json!({"inject_headers": {"X-Quotient": OVERFLOWS}});
    let output = check(&broken_in_staging(&upstream, broken));
    let (mistake, count) = output.stderr.split_once('\n').unwrap();
    assert!(mistake.contains("cannot be rendered"), "{mistake}");
    assert_eq!(count.trim_end(), "1 problem");
}

#[test]
fn every_such_template_is_told_on_a_line_with_a_remedy() {
    let upstream = Upstream::start();
    let broken = json!({
        "inject_headers": {"X-1": OVERFLOWS, "X-2": "{{ var:n | upcase }}", "X-3": OVERFLOWS},
        "method_configs": [{"method": "PUT", "inject_headers": {"X-4": OVERFLOWS}}],
    });
    let output = check(&broken_in_staging(&upstream, broken));
    assert_eq!(output.code, 2, "{}", output.stdout);
    let lines: Vec<&str> = output.stderr.lines().collect();
    let fields = [
        "the template inject_headers.x-1 of",
        "the template inject_headers.x-3 of",
        "the template method_configs.PUT.inject_headers.x-4 of",
    ];
    for (field, line) in fields.iter().zip(&lines) {
        for words in [field, "`Echo`", "`staging` (mend it, or the values"] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
    assert_eq!(lines.len(), fields.len() + 1, "{}", output.stderr);
}

#[test]
fn a_reload_with_such_a_template_is_refused_and_the_old_one_serves() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let broken = json!({"inject_headers": {"X-Quotient": OVERFLOWS}});
    gateway.rewrite(&broken_in_staging(&upstream, broken));
    eventually("the refusal", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 0.0);
    for environment in ["production", "staging"] {
        gateway
            .send(&Request::get("/").environment(environment))
            .assert_served();
        assert_eq!(upstream.last_request().header("x-quotient"), None);
    }
    let log = gateway.process().stderr();
    for word in ["inject_headers.x-quotient", "`Echo`", "`staging`"] {
        assert!(log.contains(word), "{word}: {log}");
    }

    let good = json!({"inject_headers": {"X-Quotient": "{{ var:n | divided_by: 2 }}"}});
    gateway.rewrite_and_wait(&broken_in_staging(&upstream, good));
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 1.0);
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_served();
    assert_eq!(
        upstream.last_request().header("x-quotient"),
        Some("-4611686018427387904")
    );
}

#[test]
fn a_template_that_only_a_request_breaks_fails_that_request_alone() {
    let upstream = Upstream::start();
    // Only the request knows that it has an id, and which client sends it.
    let template = format!("{{% if client.name == '' %}}{OVERFLOWS}{{% endif %}}ok");
    let mut gateway = Gateway::start(&number(&upstream, "production").edit_route(
        "echo",
        json!({"inject_headers": {"X-Quotient": template}, "environments": {}}),
    ));
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(Request::get("/").bytes());
        let refused = client.read();
        refused.assert_refused(500, "internal_error");
        assert!(refused.keeps_alive(), "{:?}", refused.head);
        client.send(Request::get("/").key(knoxcall_tests::keys::CLIENT).bytes());
        client.read().assert_served();
        assert_eq!(upstream.last_request().header("x-quotient"), Some("ok"));
    }
    assert_eq!(upstream.requests().len(), 3);
    assert!(gateway.process().exited().is_none());
}

#[test]
fn a_template_that_doubles_what_it_has_is_refused_at_once() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let output = check(&config.clone().edit_route(
        "echo",
        json!({"inject_headers": {"X-Grows": growing("'x'")}, "environments": {}}),
    ));
    assert_eq!(output.code, 2, "{}", output.stdout);
    assert!(
        output.stderr.contains("inject_headers.x-grows"),
        "{}",
        output.stderr
    );
    let too_many = "{% assign a = 'x' %}".repeat(65);
    let output = check(&config.edit_route("echo", json!({"inject_headers": {"X-Many": too_many}})));
    assert_eq!(output.code, 2, "{}", output.stdout);
    assert!(output.stderr.contains("more than 64"), "{}", output.stderr);
}

#[test]
fn a_template_that_doubles_at_each_request_stays_small() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({
            "inject_body": {"a": growing("request_id"), "b": growing("client.name")},
            "environments": {},
        }),
    ));
    gateway.get("/").assert_served();
    let before = resident_kib(gateway.process().id());
    for _ in 0..20 {
        gateway
            .send(&Request::new("POST", "/").json(&json!({})))
            .assert_refused(500, "internal_error");
    }
    let after = resident_kib(gateway.process().id());
    // Unbounded, a single one of these would have more bytes than there are.
    assert!(
        after < before + 64 * 1024,
        "grew from {before} to {after} KiB"
    );
    gateway.get("/").assert_served();
}

/// `echo` with `n`, which is an ordinary number in production only.
fn broken_in_staging(upstream: &Upstream, fields: Value) -> Config {
    number(upstream, "staging").edit_route("echo", fields)
}

/// With a variable `n` that is the smallest number in one environment.
fn number(upstream: &Upstream, environment: &str) -> Config {
    let mut values = json!({"production": "8", "staging": "8", "sandbox": "8"});
    values[environment] = json!(i64::MIN.to_string());
    Config::new(upstream.address()).variable("n", values)
}

/// Three times as long by each of its 60 steps.
fn growing(first: &str) -> String {
    let tripled = "{% assign a = a | append: a | append: a %}".repeat(60);
    format!("{{% assign a = {first} | append: 'x' %}}{tripled}{{{{ a | size }}}}")
}

/// `FILE:LINE: `, of which the file has more than one.
fn has_a_line(mistake: &str) -> bool {
    let line = mistake.split(':').nth(1).and_then(|line| line.parse().ok());
    line.is_some_and(|line: usize| line > 1)
}

fn check(config: &Config) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let config = config
        .clone()
        .set("/listeners", json!([{"address": "127.0.0.1:0"}]));
    std::fs::write(directory.path().join("config.yaml"), config.text()).unwrap();
    Cli::new(["config", "check", "config.yaml"])
        .env_of(&config)
        .current_dir(directory.path())
        .run()
}

/// What a process has of memory, by `/proc`.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.unwrap().split_whitespace().nth(1).unwrap();
    digits.parse().unwrap()
}
