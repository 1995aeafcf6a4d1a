use http::Method;
use knoxcall_bundle::{Secret, Tenant, Variable};
use proptest::prelude::*;

use super::*;
use crate::inject::{Injector, RequestValues};
use crate::sample::{self, NOW, Request};
use crate::testing::tenant_with;

const NASTY: &str = "a\"b\\c&d<e>'f g";

/// Two secrets, of which routes allow the first.
fn tenant(value: &str) -> Tenant {
    let mut tenant = tenant_with(sample::environment("production"));
    tenant.secrets = vec![
        secret(1, "allowed", value),
        secret(2, "forbidden", "hidden"),
    ];
    tenant.variables.push(Variable {
        key: sample::name("region"),
        values: [(sample::name("production"), "eu".into())].into(),
    });
    tenant
}

fn secret(number: usize, name: &str, value: &str) -> Secret {
    let value = SecretValue::new(value.to_owned());
    Secret {
        id: SecretId(sample::id(3, number)),
        name: sample::name(name),
        values: [(sample::name("production"), value)].into(),
    }
}

fn sent_from(tenant: &Tenant, kind: &str, body: &str) -> Result<Option<String>, Refusal> {
    let allowed = [tenant.secrets[0].id];
    let production = sample::name("production");
    let injector = Injector::compile(tenant, &tenant.routes[0], &production, &[], None, &allowed);
    let request = Request::get("/")
        .by(Method::POST)
        .header("content-type", kind);
    let values = RequestValues {
        client: None,
        now: NOW,
        request_id: "request-1",
    };
    let new = injector.body(&request.head(), body.as_bytes(), &values)?;
    Ok(new.map(|new| String::from_utf8(new.content.into()).unwrap()))
}

/// What goes on in place of `body`; `None` where the body does.
fn sent(kind: &str, body: &str) -> Result<Option<String>, Refusal> {
    sent_from(&tenant(NASTY), kind, body)
}

fn changed(kind: &str, body: &str) -> String {
    sent(kind, body).unwrap().unwrap()
}

#[test]
fn fills_in_an_allowed_secret_by_name_and_by_id() {
    let id = sample::id(3, 1);
    for placeholder in [
        "{{secret:allowed}}".to_owned(),
        "{{ secret:allowed }}".to_owned(),
        "{{secret: allowed}}".to_owned(),
        format!("{{{{secret_id:{id}}}}}"),
    ] {
        assert_eq!(
            changed("text/plain", &format!("<{placeholder}>")),
            format!("<{NASTY}>")
        );
    }
}

#[test]
fn fills_in_variables() {
    assert_eq!(changed("text/plain", "in {{var:region}}!"), "in eu!");
}

#[test]
fn fills_in_each_of_several() {
    let body = "{{var:region}}{{var:region}} {{{var:region}}} {{var:region}}";
    assert_eq!(changed("text/plain", body), "eueu {eu} eu");
}

#[test]
fn refuses_what_is_not_allowed_whether_or_not_it_exists() {
    let forbidden = sample::id(3, 2);
    for placeholder in [
        "{{secret:forbidden}}".to_owned(),
        "{{secret:nobody}}".to_owned(),
        "{{secret:}}".to_owned(),
        "{{secret:no such \"name\"}}".to_owned(),
        "{{secret:Allowed}}".to_owned(),
        format!("{{{{secret_id:{forbidden}}}}}"),
        "{{secret_id:not-an-id}}".to_owned(),
        "{{var:unknown}}".to_owned(),
        "{{secret:allowed}} {{secret:forbidden}}".to_owned(),
    ] {
        for kind in [
            "application/json",
            "text/plain",
            "application/x-www-form-urlencoded",
        ] {
            let answer = sent(kind, &format!("\"{placeholder}\""));
            assert_eq!(
                answer,
                Err(Refusal::SecretNotAllowed),
                "{placeholder} in {kind}"
            );
        }
    }
}

#[test]
fn refuses_a_secret_without_a_value_here() {
    for blank in ["", "   ", "\t", "\u{a0}"] {
        assert_eq!(
            sent_from(&tenant(blank), "text/plain", "{{secret:allowed}}"),
            Err(Refusal::SecretUnavailable),
            "{blank:?}"
        );
    }
    let mut absent = tenant("");
    absent.secrets[0].values.clear();
    assert_eq!(
        sent_from(&absent, "text/plain", "{{secret:allowed}}"),
        Err(Refusal::SecretUnavailable)
    );
}

#[test]
fn leaves_all_other_braces_alone() {
    for body in [
        "",
        "{{",
        "}}",
        "{{}}",
        "{{secret",
        "{{secret:allowed",
        "{{secret:allowed}",
        "{secret:allowed}",
        "{{allowed}}",
        "{{client.id}}",
        "{% if true %}x{% endif %}",
        "{{ 'a' | upcase }}",
        "{\"a\":{\"b\":{}}}",
        "{{secret:allowed\n{{ }",
    ] {
        assert_eq!(sent("application/json", body), Ok(None), "{body:?}");
    }
}

#[test]
fn never_reads_a_value_again() {
    let whole = tenant("{{secret:forbidden}}{{var:region}}");
    let sent = sent_from(&whole, "text/plain", "{{secret:allowed}}")
        .unwrap()
        .unwrap();
    assert_eq!(sent, "{{secret:forbidden}}{{var:region}}");
    let half = tenant("{{secret:");
    let sent = sent_from(&half, "text/plain", "{{secret:allowed}}forbidden}}")
        .unwrap()
        .unwrap();
    assert_eq!(sent, "{{secret:forbidden}}");
}

#[test]
fn writes_values_by_the_rules_of_the_body() {
    for (kind, expected) in [
        ("application/json", r#"a\"b\\c&d<e>'f g"#),
        ("application/vnd.api+json", r#"a\"b\\c&d<e>'f g"#),
        (
            "application/x-www-form-urlencoded",
            "a%22b%5Cc%26d%3Ce%3E%27f%20g",
        ),
        (
            "application/soap+xml",
            "a&quot;b\\c&amp;d&lt;e&gt;&apos;f g",
        ),
        (
            "text/xml; charset=utf-8",
            "a&quot;b\\c&amp;d&lt;e&gt;&apos;f g",
        ),
        ("text/plain", NASTY),
    ] {
        assert_eq!(
            changed(kind, "={{secret:allowed}};"),
            format!("={expected};"),
            "{kind}"
        );
    }
}

#[test]
fn finds_what_a_form_has_encoded() {
    let form = "application/x-www-form-urlencoded";
    for body in [
        "a=%7B%7Bvar%3Aregion%7D%7D&b=1",
        "a=%7b%7bvar:region%7d%7d&b=1",
        "a={{var%3Aregion}}&b=1",
        "a=%7B{+var:region+}%7D&b=1",
    ] {
        assert_eq!(changed(form, body), "a=eu&b=1", "{body}");
    }
    assert_eq!(
        sent(form, "a=%7B%7Bsecret%3Aforbidden%7D%7D"),
        Err(Refusal::SecretNotAllowed)
    );
    assert_eq!(sent(form, "a=%7B%7Bvar%3Aregion%7D"), Ok(None));
    assert_eq!(sent("text/plain", "a=%7B%7Bvar%3Aregion%7D%7D"), Ok(None));
}

#[test]
fn refuses_a_line_break_where_the_rules_are_not_known() {
    for value in ["a\r\nb", "a\nb", "a\rb", "a\0b"] {
        let tenant = tenant(value);
        let raw = sent_from(
            &tenant,
            "multipart/form-data; boundary=x",
            "{{secret:allowed}}",
        );
        assert_eq!(raw, Err(Refusal::SecretUnavailable), "{value:?}");
        assert!(sent_from(&tenant, "application/json", "{{secret:allowed}}").is_ok());
    }
}

#[test]
fn leaves_compressed_bodies_alone() {
    let tenant = tenant(NASTY);
    let production = sample::name("production");
    let allowed = [tenant.secrets[0].id];
    let injector = Injector::compile(&tenant, &tenant.routes[0], &production, &[], None, &allowed);
    let request = Request::get("/")
        .by(Method::POST)
        .header("content-encoding", "gzip");
    let values = RequestValues {
        client: None,
        now: NOW,
        request_id: "",
    };
    let new = injector
        .body(&request.head(), b"{{secret:forbidden}}", &values)
        .unwrap();
    assert!(new.is_none());
}

#[test]
fn refuses_a_body_that_would_grow_out_of_bounds() {
    let tenant = tenant(&"v".repeat(64 * 1024));
    let body = "{{secret:allowed}}".repeat(1000);
    assert_eq!(
        sent_from(&tenant, "text/plain", &body),
        Err(Refusal::BodyTooLarge)
    );
    let few = "{{secret:allowed}}".repeat(10);
    assert_eq!(
        sent_from(&tenant, "text/plain", &few)
            .unwrap()
            .unwrap()
            .len(),
        640 * 1024
    );
}

#[test]
fn merges_into_what_was_filled_in() {
    let tenant = tenant("{{var:region}}\"}");
    let ours = knoxcall_bundle::JsonTemplate::Object(vec![(
        "own".to_owned(),
        knoxcall_bundle::JsonTemplate::Bool(true),
    )]);
    let production = sample::name("production");
    let allowed = [tenant.secrets[0].id];
    let injector = Injector::compile(
        &tenant,
        &tenant.routes[0],
        &production,
        &[],
        Some(&ours),
        &allowed,
    );
    let request = Request::get("/")
        .by(Method::POST)
        .header("content-type", "application/json");
    let values = RequestValues {
        client: None,
        now: NOW,
        request_id: "",
    };
    let body = br#"{"a":"{{secret:allowed}}"}"#;
    let new = injector
        .body(&request.head(), body, &values)
        .unwrap()
        .unwrap();
    assert_eq!(new.content, r#"{"a":"{{var:region}}\"}","own":true}"#);
    assert_eq!(new.secrets.len(), 1);
}

proptest! {
    /// The body's own structure is the same with any value.
    #[test]
    fn a_value_stays_inside_of_its_string(value in "[^\\x00]{0,12}[!-z][^\\x00]{0,11}") {
        let tenant = tenant(&value);
        let json = sent_from(&tenant, "application/json", r#"{"a":"<{{secret:allowed}}>","b":1}"#);
        let json: serde_json::Value = serde_json::from_str(&json.unwrap().unwrap()).unwrap();
        prop_assert_eq!(json, serde_json::json!({"a": format!("<{value}>"), "b": 1}));
        let form = sent_from(&tenant, "application/x-www-form-urlencoded", "a={{secret:allowed}}&b=1");
        let form = form.unwrap().unwrap();
        prop_assert_eq!(form.matches('&').count(), 1);
        prop_assert_eq!(form.matches('=').count(), 2);
    }

    #[test]
    fn nothing_but_an_allowed_name_is_ever_filled_in(body in "[{}%7bBdD:a-z ]{0,64}") {
        for kind in ["application/x-www-form-urlencoded", "application/json"] {
            if let Ok(Some(sent)) = sent(kind, &body) {
                prop_assert!(sent.contains("eu") || body.contains("allowed"), "{} of {}", sent, body);
            }
        }
    }

    #[test]
    fn any_bytes_are_searched_without_harm(body in any::<Vec<u8>>()) {
        for kind in [BodyType::Form, BodyType::Json, BodyType::Unnamed] {
            if let Some(found) = scan::next(&body, kind) {
                prop_assert!(found.before.len() + found.after.len() < body.len());
            }
        }
    }
}
