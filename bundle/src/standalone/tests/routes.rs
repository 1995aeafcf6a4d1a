use super::*;

#[test]
fn signature_headers_are_neither_framing_nor_ours_and_three_as_servers_read_them() {
    let report = |fields: &str| {
        with(&format!(
            "secrets: [{{name: s, from_env: S}}]
clients: [{{name: c, signing_secrets: [s], assignments: [{{}}]}}]
routes: [{{slug: a, target_base_url: 'http://x.example', require_signature: true, {fields}}}]
"
        ))
        .env("S", "secret")
        .load()
        .map_or_else(|report| report.to_string(), |_| String::new())
    };
    for (field, name) in [
        ("signature_header", "x-knoxcall-key"),
        ("signature_header", "X_Knoxcall_Route"),
        ("timestamp_header", "content-length"),
        ("timestamp_header", "Host"),
        ("nonce_header", "x-request-id"),
        ("nonce_header", "x-forwarded-for"),
    ] {
        let told = report(&format!("{field}: {name}"));
        let expected = format!("routes[0].{field}: cannot carry it");
        assert!(told.contains(&expected), "{name}: {told}");
    }
    let told = report("timestamp_header: x_nonce");
    assert!(told.contains("are not three different names"), "{told}");
    assert_eq!(report("signature_header: X-My-Signature"), "");
}

#[test]
fn refuses_a_rule_on_the_gateways_own_probes() {
    for prefix in ["/healthz", "/livez"] {
        let text = format!(
            "routes: [{{slug: a, target_base_url: 'http://x.example', match: [{{path_prefix: {prefix}}}]}}]\n"
        );
        let report = with(&text).report();
        assert!(
            report.contains("routes[0].match[0].path_prefix: is answered by the gateway itself"),
            "{report}"
        );
    }
}

/// A route with one header, and a secret and variable to use in it.
fn header(value: &str) -> Setup {
    with(&format!(
        "secrets: [{{name: s, from_env: S}}]
variables: [{{key: v, value: \"a\\nb\"}}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers:
      x-a: {value}
"
    ))
    .env("S", "hunter2-and-3\n")
}

#[test]
fn refuses_a_header_with_a_line_break_around_liquid() {
    for value in [
        "|\n        {% if environment == 'production' %}a{% endif %}\n",
        "|\n        {{ environment | upcase }}\n",
        "|\n        {%- if environment == 'production' %}\n        a\n        {%- endif -%}\n",
    ] {
        let report = header(value).report();
        assert!(
            report.contains(
                "config.yaml:8: routes[0].inject_headers.x-a: has a line break or control character"
            ),
            "{value}: {report}"
        );
    }
    for value in [
        "|-\n        {% if environment == 'production' %}a{% endif %}\n",
        "|\n        {%- if environment == 'production' -%}\n        a\n        {%- endif -%}\n",
    ] {
        assert!(header(value).load().is_ok(), "{value}");
    }
}

#[test]
fn refuses_a_value_with_a_line_break_in_a_header() {
    for (value, name) in [
        ("Bearer {{secret:s}}", "secret `s`"),
        ("'{{var:v}}'", "variable `v`"),
    ] {
        let report = header(value).report();
        assert!(
            report.contains(&format!(
                "config.yaml:8: routes[0].inject_headers.x-a: the {name} has a line break or \
                 control character in `production`"
            )),
            "{report}"
        );
        assert!(!report.contains("hunter2"), "{report}");
    }
    assert!(header("\"{{ secret:s | strip }}\"").load().is_ok());
    let body = with(
        "secrets: [{name: s, from_env: S}]
routes: [{slug: a, target_base_url: 'http://x.example', inject_body: {a: '{{secret:s}}'}}]
",
    );
    assert!(body.env("S", "line one\nline two").load().is_ok());
}

#[test]
fn refuses_metadata_services_as_targets() {
    for host in ["100.100.100.200", "[64:ff9b::a9fe:a9fe]"] {
        let text = format!("routes: [{{slug: a, target_base_url: 'http://{host}'}}]\n");
        let report = with(&text).report();
        assert!(report.contains("reserved address"), "{report}");
    }
}

#[test]
fn refuses_two_rules_that_are_one_when_paths_are_compared() {
    let text = "routes:
  - {slug: a, target_base_url: 'http://x.example', match: [{path_prefix: /a@b}]}
  - {slug: b, target_base_url: 'http://x.example', match: [{path_prefix: /a%40b}]}
";
    let report = with(text).report();
    assert!(
        report.contains("routes[1].match[0]: the same host and prefix are matched by routes[0]"),
        "{report}"
    );
}
