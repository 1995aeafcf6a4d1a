//! What makes Liquid panic or grow fails the request that needs it, and
//! nothing else.

use super::*;
use crate::FailingTemplate;

/// `tenant` with the variable `n`, the smallest number there is.
fn with_number() -> Tenant {
    let mut tenant = tenant();
    let smallest = (sample::name("production"), i64::MIN.to_string().into());
    tenant.variables.push(Variable {
        key: sample::name("n"),
        values: [smallest].into(),
    });
    tenant
}

const PANICKING: [&str; 3] = [
    "{{ var:n | divided_by: -1 }}",
    "{{ var:n | modulo: -1 }}",
    "{{ -9223372036854775808 | divided_by: -1 }}",
];

#[test]
fn a_template_that_makes_liquid_panic_fails_each_request_and_not_the_compiler() {
    for text in PANICKING {
        let injector = injector(&with_number(), text);
        for _ in 0..2 {
            assert_eq!(
                header_of(&injector, &at(NOW)),
                Err(Refusal::Internal),
                "{text}"
            );
        }
        let failing: Vec<_> = injector.failing().collect();
        assert_eq!(failing, ["inject_headers.x-test"], "{text}");
    }
}

#[test]
fn a_template_that_panics_only_with_the_request_fails_only_then() {
    let text = "{% if request_id contains '-' %}{{ var:n | divided_by: -1 }}{% endif %}x";
    let injector = injector(&with_number(), text);
    assert_eq!(injector.failing().count(), 0);
    assert_eq!(header_of(&injector, &at(NOW)), Err(Refusal::Internal));
    let mut plain = at(NOW);
    plain.request_id = "request1";
    assert_eq!(header_of(&injector, &plain).unwrap(), "x");
}

#[test]
fn no_number_ends_more_than_its_request() {
    for text in [
        "{{ var:n | abs }}",
        "{{ var:n | times: -1 }}",
        "{{ var:n | minus: 1 }}",
        "{{ 'abcdef' | slice: 5, 9223372036854775807 }}",
        "{{ 'abcdef' | slice: -9223372036854775808, 1 }}",
        "{{ 1.5 | round: 9223372036854775807 }}",
    ] {
        let answer = rendered(&with_number(), text);
        assert!(matches!(answer, Ok(_) | Err(Refusal::Internal)), "{text}");
    }
}

#[test]
fn the_members_of_a_body_that_cannot_be_rendered_are_told() {
    let failing = |body: Value| {
        let injector = compile(&with_number(), &[], Some(body));
        injector.failing().collect::<Vec<_>>()
    };
    let text = PANICKING[0];
    assert_eq!(failing(json!({"a": [{"b": text}]})), ["inject_body"]);
    assert!(failing(json!({"a": ["{{ var:n | plus: 1 }}"]})).is_empty());
}

#[test]
fn a_missing_secret_is_no_failing_template() {
    let tenant = without_token_in(with_number(), "production");
    let injector = injector(&tenant, "{{ secret:token | upcase }}");
    assert_eq!(injector.failing().count(), 0);
}

#[test]
fn a_text_that_doubles_with_the_request_fails() {
    let doubled = "{% assign a = a | append: a %}".repeat(21);
    let text = format!("{{% assign a = request_id %}}{doubled}{{{{ a | size }}}}");
    assert_eq!(rendered(&tenant(), &text), Err(Refusal::Internal));
}

#[test]
fn a_table_tells_where_templates_fail() {
    let mut tenant = with_number();
    let failing = Template::parse(PANICKING[0]).unwrap();
    let headers = vec![(HeaderName::from_static("x-test"), failing)];
    let route = &mut tenant.routes[0].environments[0];
    route.injection.headers = headers.clone();
    route.method_configs = vec![knoxcall_bundle::MethodConfig {
        method: Method::POST,
        target: None,
        headers: Some(headers),
        body: None,
        rate_limit: None,
    }];
    let found = sample::table(tenant).failing_templates();
    let told: Vec<_> = found.iter().map(FailingTemplate::place).collect();
    let expected = [
        "inject_headers.x-test",
        "method_configs.POST.inject_headers.x-test",
    ];
    assert_eq!(told, expected.map(|field| ("Route 1", "production", field)));
}
