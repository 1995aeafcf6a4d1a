use super::*;

#[test]
fn a_whole_number_may_be_written_as_a_float() {
    let loaded = with(
        "limits: {head_fields: 5e1}
routes: [{slug: a, target_base_url: 'http://x.example', rate_limit_requests: 5.0, rate_limit_window_sec: 1e2}]
",
    )
    .loaded();
    assert_eq!(loaded.settings.limits.head_fields, 50);
    let limit = only_tenant(&loaded).routes[0].environments[0].rate_limit;
    let limit = limit.unwrap();
    assert_eq!(limit.requests.get(), 5);
    assert_eq!(limit.window.as_secs(), 100);
}

#[test]
fn a_float_that_is_not_whole_is_told_with_all_other_mistakes() {
    let report = with("limits: {head_fields: 50.5}\nworkers: -1.0\nnonsense: 1\n").report();
    for line in [
        "config.yaml:2: limits.head_fields: must be a whole number",
        "config.yaml:3: workers: is too small (at least 1)",
        "config.yaml:4: nonsense: is not a known field",
        "3 problems",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

fn injected(number: &str) -> Setup {
    with(&format!(
        "routes:
  - slug: a
    target_base_url: http://x.example
    environments: {{production: {{method_configs: [{{method: POST, inject_body: {{a: [{{n: {number}}}]}}}}]}}}}
"
    ))
}

#[test]
fn refuses_an_injected_number_that_would_be_sent_in_another_spelling() {
    for number in [
        "007",
        "1.10",
        "+12",
        "0x1F",
        "1e2",
        ".5",
        "-0",
        "0.12345678901234567890",
        "9007199254740993.0",
    ] {
        let report = injected(number).report();
        assert!(
            report.contains(
                "config.yaml:5: routes[0].environments.production.method_configs[0]\
                 .inject_body.a[0].n: is a number that would be sent in another spelling"
            ),
            "{number}: {report}"
        );
        assert!(!report.contains(number), "{report}");
    }
}

#[test]
fn an_injected_number_that_json_spells_alike_stays_as_it_is() {
    for number in ["0", "7", "-12", "1.5", "5.0", "18446744073709551615"] {
        let loaded = injected(number).loaded();
        let configs = &only_tenant(&loaded).routes[0].environments[0].method_configs;
        let body = format!("{:?}", configs[0].body);
        assert!(body.contains(&format!("Number({number})")), "{body}");
    }
    assert!(injected("'007'").load().is_ok(), "text is text");
}
