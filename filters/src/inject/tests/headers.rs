use super::*;

#[test]
fn fill_in_secrets_and_variables() {
    let id = sample::id(3, 1);
    for (text, value) in [
        (
            "Bearer {{secret:token}}".to_owned(),
            format!("Bearer {TOKEN}"),
        ),
        (format!("{{{{secret_id:{id}}}}}"), TOKEN.to_owned()),
        ("{{var:region}}".to_owned(), "eu-west".to_owned()),
        ("plain".to_owned(), "plain".to_owned()),
    ] {
        assert_eq!(rendered(&tenant(), &text), Ok(value), "{text}");
    }
}

#[test]
fn fill_in_what_the_request_knows() {
    let client = client();
    let request = RequestValues {
        client: Some(&client),
        ..at(NOW)
    };
    let text = "{{client.id}} {{client.name}} {{timestamp}} {{request_id}} {{environment}} \
                {{route.id}} {{route.name}} {{route.slug}} {{tenant_id}} {{tenant.slug}}";
    let value = header_of(&injector(&tenant(), text), &request).unwrap();
    let expected = "00000000-0000-0002-0000-000000000001 warehouse 1800000000 request-1 \
                    production 00000000-0000-0001-0000-000000000001 Route 1 route-1 \
                    00000000-0000-0000-0000-000000000001 acme";
    assert_eq!(value, expected);
}

#[test]
fn leave_an_unknown_client_empty() {
    assert_eq!(
        rendered(&tenant(), "<{{client.name}}>"),
        Ok("<>".to_owned())
    );
}

#[test]
fn are_rendered_once_where_nothing_can_change() {
    for text in [
        "Bearer {{secret:token}}",
        "{% if environment == 'production' %}{{secret:token}}{% endif %}",
        "{{ secret:token | upcase }}",
    ] {
        let source = &injector(&tenant(), text).headers[0].1;
        assert!(
            matches!(source, HeaderSource::Fixed(_)),
            "{text}: {source:?}"
        );
    }
}

#[test]
fn are_rendered_each_time_where_the_request_is_read() {
    for text in [
        "{{request_id}}",
        "{{ timestamp | plus: 60 }}",
        "{% if client.name == 'warehouse' %}a{% else %}b{% endif %}",
    ] {
        let source = &injector(&tenant(), text).headers[0].1;
        assert!(
            matches!(source, HeaderSource::OfRequest(_)),
            "{text}: {source:?}"
        );
    }
}

#[test]
fn render_liquid_by_the_request() {
    let liquid =
        "{% if client.name == 'warehouse' %}{{ secret:token | upcase }}{% else %}none{% endif %}";
    let injector = injector(&tenant(), liquid);
    let client = client();
    let known = RequestValues {
        client: Some(&client),
        ..at(NOW)
    };
    assert_eq!(
        header_of(&injector, &known).unwrap(),
        TOKEN.to_uppercase().as_str()
    );
    assert_eq!(header_of(&injector, &at(NOW)).unwrap(), "none");
}

#[test]
fn fail_where_the_secret_has_no_value_here() {
    let tenant = without_token_in(tenant(), "production");
    for text in [
        "Bearer {{secret:token}}",
        "{{ secret:token | upcase }}",
        "{% if secret:token %}a{% endif %}",
        "{{timestamp}}{{secret:token}}",
        "{% if client.id == '' %}{{secret:token}}{% endif %}",
        "{{var:absent}}",
    ] {
        assert_eq!(
            rendered(&tenant, text),
            Err(Refusal::SecretUnavailable),
            "{text}"
        );
    }
}

#[test]
fn never_borrow_a_secret_of_another_environment() {
    let tenant = without_token_in(tenant(), "production");
    assert!(!tenant.secrets[0].values.is_empty());
    let answer = rendered(&tenant, "{{secret:token}}");
    assert_eq!(answer, Err(Refusal::SecretUnavailable));
}

#[test]
fn never_send_an_empty_credential() {
    for value in ["", "   ", " \n", "\t", "\u{3000}"] {
        let tenant = with_token(value);
        for text in [
            "{{secret:token}}",
            "Bearer {{secret:token}}",
            "{{secret:token | strip}}",
        ] {
            let answer = rendered(&tenant, text);
            assert_eq!(answer, Err(Refusal::SecretUnavailable), "{text} {value:?}");
        }
    }
}

#[test]
fn do_not_miss_a_secret_that_is_not_read() {
    let tenant = without_token_in(tenant(), "production");
    let text = "{% if environment == 'staging' %}{{secret:token}}{% else %}none{% endif %}";
    assert_eq!(rendered(&tenant, text), Ok("none".to_owned()));
}

#[test]
fn refuse_values_that_would_break_the_head() {
    for bad in [
        "a\r\nx-evil: 1",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\u{7f}b",
        "\u{1b}[0m",
    ] {
        let tenant = with_token(bad);
        for text in [
            "{{secret:token}}",
            "{{timestamp}}{{secret:token}}",
            "{{secret:token | append: 'x'}}",
        ] {
            let answer = rendered(&tenant, text);
            assert_eq!(answer, Err(Refusal::SecretUnavailable), "{bad:?} in {text}");
        }
    }
}

#[test]
fn never_read_a_value_as_a_template() {
    let text = "{{request_id}}{% assign x = 1 %}{{secret:other}}";
    let tenant = with_token(text);
    for template in [
        "{{secret:token}}",
        "{{secret:token | append: ''}}",
        "{{secret:token}}{{client.id}}",
    ] {
        assert_eq!(
            rendered(&tenant, template),
            Ok(text.to_owned()),
            "{template}"
        );
    }
}

#[test]
fn stop_at_a_bound_of_what_liquid_writes() {
    let text = "{{secret:token | append: secret:token}}";
    let tenant = |length| with_token(&"v".repeat(length));
    assert!(rendered(&tenant(32 * 1024), text).is_ok());
    assert_eq!(
        rendered(&tenant(32 * 1024 + 1), text),
        Err(Refusal::Internal)
    );
}

#[test]
fn show_no_value_in_debug_output() {
    let text = "{{secret:token}}";
    let body = json!({"key": text, "id": "{{request_id}}{{secret:token}}"});
    for header in [
        text,
        "{{timestamp}}{{secret:token}}",
        "{{secret:token | append: client.id}}",
    ] {
        let tenant = tenant();
        let name = HeaderName::from_static("x-test");
        let injector = compile(
            &tenant,
            &[(name, Template::parse(header).unwrap())],
            Some(body.clone()),
        );
        let shown = format!("{injector:?} {:?}", header_of(&injector, &at(NOW)));
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}

#[test]
fn name_the_secrets_they_hold() {
    let injector = injector(&tenant(), "{{secret:token}}{{secret:token}}{{timestamp}}");
    let names: Vec<&str> = injector.secrets().iter().map(|name| &**name).collect();
    assert_eq!(names, ["token"]);
}

proptest! {
    #[test]
    fn hold_a_secret_as_it_is_or_not_at_all(secret in any::<String>(), before in "[ -z]{0,8}") {
        let text = format!("{before}{{{{secret:token}}}}");
        match rendered_bytes(&with_token(&secret), &text) {
            Ok(value) => {
                prop_assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
                prop_assert_eq!(value, format!("{before}{secret}").into_bytes());
            }
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::SecretUnavailable);
                let unfit = HeaderValue::from_bytes(secret.as_bytes()).is_err();
                prop_assert!(secret.trim().is_empty() || unfit);
            }
        }
    }
}

fn rendered_bytes(tenant: &Tenant, text: &str) -> Result<Vec<u8>, Refusal> {
    header_of(&injector(tenant, text), &at(NOW)).map(|value| value.as_bytes().to_vec())
}
