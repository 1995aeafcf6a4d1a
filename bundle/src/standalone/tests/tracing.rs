use std::time::Duration;

use super::*;
use crate::settings::Tracing;

fn traced(setup: &Setup) -> Option<Tracing> {
    setup.load().unwrap().settings.tracing
}

#[test]
fn no_endpoint_is_no_tracing() {
    assert_eq!(traced(&with("")), None);
    assert_eq!(traced(&with("tracing: {sample_ratio: 0.5}\n")), None);
}

#[test]
fn an_endpoint_brings_the_defaults() {
    for endpoint in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"] {
        let tracing = traced(&with(&format!(
            "tracing: {{otlp_endpoint: '{endpoint}'}}\n"
        )));
        let expected = Tracing {
            traces_url: "http://127.0.0.1:4318/v1/traces".parse().unwrap(),
            service_name: "knoxcall".to_owned(),
            sample_ratio: 1.0,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            queue: 8192,
        };
        assert_eq!(tracing, Some(expected));
    }
}

#[test]
fn headers_come_from_the_environment_and_are_never_shown() {
    let text = "tracing: {otlp_endpoint: 'https://o.test/base', \
                headers_from_env: {authorization: OTLP}}\n";
    let setup = with(text).env("OTLP", "Bearer hunter2");
    let tracing = traced(&setup).unwrap();
    assert_eq!(tracing.traces_url, "https://o.test/base/v1/traces");
    let [(name, value)] = tracing.headers.as_slice() else {
        panic!("one header")
    };
    assert_eq!(
        (name.as_str(), value.expose()),
        ("authorization", "Bearer hunter2")
    );
    assert!(!format!("{tracing:?}").contains("hunter2"));
}

#[test]
fn refuses_an_endpoint_that_is_none() {
    for (endpoint, message) in [
        ("collector:4318", "is not an http or https URL"),
        ("grpc://collector:4317", "is not an http or https URL"),
        ("/v1/traces", "is not an http or https URL"),
        ("http://", "is not a URL"),
        (
            "http://hunter2@collector",
            "holds a user or password (use headers_from_env)",
        ),
        ("http://collector/?key=hunter2", "holds a query or fragment"),
        (
            "http://collector/v1/traces",
            "ends in /v1/traces (leave it out: it is added)",
        ),
    ] {
        let report = with(&format!("tracing: {{otlp_endpoint: '{endpoint}'}}\n")).report();
        let expected = format!("tracing.otlp_endpoint: {message}");
        assert!(report.contains(&expected), "{endpoint}: {report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn refuses_headers_that_cannot_be_sent() {
    for (name, value, message) in [
        ("content-type", Some("x"), "cannot be set"),
        ("host", Some("x"), "cannot be injected"),
        ("not a name", Some("x"), "is not a header name"),
        (
            "authorization",
            Some("two\nlines"),
            "has a value that no header may have",
        ),
        ("authorization", None, ""),
    ] {
        let text = format!(
            "tracing: {{otlp_endpoint: 'http://o', headers_from_env: {{'{name}': OTLP}}}}\n"
        );
        let setup = with(&text);
        let setup = match value {
            Some(value) => setup.env("OTLP", value),
            None => setup,
        };
        let report = setup.report();
        assert!(report.contains("tracing.headers_from_env"), "{report}");
        assert!(report.contains(message), "{name}: {report}");
    }
}

#[test]
fn refuses_numbers_out_of_range_and_a_service_without_a_name() {
    for (field, place) in [
        ("sample_ratio: 1.5", "sample_ratio: is too large (at most 1"),
        (
            "sample_ratio: -0.1",
            "sample_ratio: is too small (at least 0",
        ),
        ("timeout_ms: 0", "timeout_ms: is too small"),
        ("queue: 0", "queue: is too small"),
        ("service_name: ' '", "service_name: is empty"),
    ] {
        let text = format!("tracing: {{otlp_endpoint: 'http://o', {field}}}\n");
        let report = with(&text).report();
        assert!(report.contains(&format!("tracing.{place}")), "{report}");
    }
}
