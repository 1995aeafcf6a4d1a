use http::HeaderMap;
use http::header::CONTENT_TYPE;
use knoxcall_bundle::ids::ClientId;
use knoxcall_bundle::{RouteEnvironment, SecretValue, UnixSeconds, Variable};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cidr::CidrSet;
use crate::head::Head;
use crate::sample::{self, NOW, Request, TOKEN};
use crate::table::ClientEntry;
use crate::testing::{tenant_with, without_token_in};

fn tenant() -> Tenant {
    let mut tenant = tenant_with(sample::environment("production"));
    let eu = (sample::name("production"), "eu-west".into());
    tenant.variables.push(Variable {
        key: sample::name("region"),
        values: [eu].into(),
    });
    tenant
}

fn with_token(text: &str) -> Tenant {
    let mut tenant = tenant();
    for value in tenant.secrets[0].values.values_mut() {
        *value = SecretValue::new(text.to_owned());
    }
    tenant
}

fn compile(tenant: &Tenant, headers: &[(HeaderName, Template)], body: Option<Value>) -> Injector {
    let body = body.as_ref().map(template);
    Injector::compile(
        tenant,
        &tenant.routes[0],
        &sample::name("production"),
        headers,
        body.as_ref(),
        &[],
    )
}

fn template(value: &Value) -> JsonTemplate {
    match value {
        Value::Null => JsonTemplate::Null,
        Value::Bool(bool) => JsonTemplate::Bool(*bool),
        Value::Number(number) => JsonTemplate::Number(number.clone()),
        Value::String(text) => JsonTemplate::String(Template::parse(text).unwrap()),
        Value::Array(items) => JsonTemplate::Array(items.iter().map(template).collect()),
        Value::Object(members) => {
            let members = members.iter();
            JsonTemplate::Object(members.map(|(name, value)| (name.clone(), template(value))).collect())
        }
    }
}

fn client() -> ClientEntry {
    ClientEntry {
        id: ClientId(sample::id(2, 1)),
        name: sample::name("warehouse"),
        addresses: CidrSet::default(),
        signing_secrets: Box::default(),
        limit: None,
    }
}

fn at(now: UnixSeconds) -> RequestValues<'static> {
    RequestValues {
        client: None,
        now,
        request_id: "request-1",
    }
}

/// The header `x-test` made from `text`.
fn header_of(injector: &Injector, request: &RequestValues<'_>) -> Result<HeaderValue, Refusal> {
    let mut headers = injector.headers(request);
    headers.next().unwrap().map(|(_, value)| value)
}

fn injector(tenant: &Tenant, text: &str) -> Injector {
    let name = HeaderName::from_static("x-test");
    compile(tenant, &[(name, Template::parse(text).unwrap())], None)
}

fn rendered(tenant: &Tenant, text: &str) -> Result<String, Refusal> {
    let value = header_of(&injector(tenant, text), &at(NOW))?;
    Ok(value.to_str().unwrap().to_owned())
}

mod headers {
    use super::*;

    #[test]
    fn fill_in_secrets_and_variables() {
        let id = sample::id(3, 1);
        for (text, value) in [
            ("Bearer {{secret:token}}".to_owned(), format!("Bearer {TOKEN}")),
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
        assert_eq!(rendered(&tenant(), "<{{client.name}}>"), Ok("<>".to_owned()));
    }

    #[test]
    fn are_rendered_once_where_nothing_can_change() {
        for text in [
            "Bearer {{secret:token}}",
            "{% if environment == 'production' %}{{secret:token}}{% endif %}",
            "{{ secret:token | upcase }}",
        ] {
            let source = &injector(&tenant(), text).headers[0].1;
            assert!(matches!(source, HeaderSource::Fixed(_)), "{text}: {source:?}");
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
            assert!(matches!(source, HeaderSource::OfRequest(_)), "{text}: {source:?}");
        }
    }

    #[test]
    fn render_liquid_by_the_request() {
        let liquid = "{% if client.name == 'warehouse' %}{{ secret:token | upcase }}{% else %}none{% endif %}";
        let injector = injector(&tenant(), liquid);
        let client = client();
        let known = RequestValues { client: Some(&client), ..at(NOW) };
        assert_eq!(header_of(&injector, &known).unwrap(), TOKEN.to_uppercase().as_str());
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
            assert_eq!(rendered(&tenant, text), Err(Refusal::SecretUnavailable), "{text}");
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
        let tenant = with_token("");
        for text in ["{{secret:token}}", "Bearer {{secret:token}}", "{{secret:token | strip}}"] {
            assert_eq!(rendered(&tenant, text), Err(Refusal::SecretUnavailable), "{text}");
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
        for bad in ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "a\u{7f}b", "\u{1b}[0m"] {
            let tenant = with_token(bad);
            for text in ["{{secret:token}}", "{{timestamp}}{{secret:token}}", "{{secret:token | append: 'x'}}"] {
                let answer = rendered(&tenant, text);
                assert_eq!(answer, Err(Refusal::SecretUnavailable), "{bad:?} in {text}");
            }
        }
    }

    #[test]
    fn never_read_a_value_as_a_template() {
        let text = "{{request_id}}{% assign x = 1 %}{{secret:other}}";
        let tenant = with_token(text);
        for template in ["{{secret:token}}", "{{secret:token | append: ''}}", "{{secret:token}}{{client.id}}"] {
            assert_eq!(rendered(&tenant, template), Ok(text.to_owned()), "{template}");
        }
    }

    #[test]
    fn stop_at_a_bound_of_what_liquid_writes() {
        let text = "{{secret:token | append: secret:token}}";
        let tenant = |length| with_token(&"v".repeat(length));
        assert!(rendered(&tenant(32 * 1024), text).is_ok());
        assert_eq!(rendered(&tenant(32 * 1024 + 1), text), Err(Refusal::Internal));
    }

    #[test]
    fn show_no_value_in_debug_output() {
        let text = "{{secret:token}}";
        let body = json!({"key": text, "id": "{{request_id}}{{secret:token}}"});
        for header in [text, "{{timestamp}}{{secret:token}}", "{{secret:token | append: client.id}}"] {
            let tenant = tenant();
            let name = HeaderName::from_static("x-test");
            let injector = compile(&tenant, &[(name, Template::parse(header).unwrap())], Some(body.clone()));
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
                    prop_assert!(secret.is_empty() || unfit);
                }
            }
        }
    }

    fn rendered_bytes(tenant: &Tenant, text: &str) -> Result<Vec<u8>, Refusal> {
        header_of(&injector(tenant, text), &at(NOW)).map(|value| value.as_bytes().to_vec())
    }
}

mod bodies {
    use super::*;

    fn post(content_type: Option<&str>) -> Request {
        let request = Request::get("/").by(Method::POST);
        match content_type {
            Some(value) => request.header("content-type", value),
            None => request,
        }
    }

    fn sent(tenant: &Tenant, ours: Value, request: &Request, body: &str) -> Result<Option<String>, Refusal> {
        let injector = compile(tenant, &[], Some(ours));
        let new = injector.body(&request.head(), body.as_bytes(), &at(NOW))?;
        Ok(new.map(|new| String::from_utf8(new.content.into()).unwrap()))
    }

    fn merged(ours: Value, client: &str) -> Result<String, Refusal> {
        let json = post(Some("application/json"));
        Ok(sent(&tenant(), ours, &json, client)?.unwrap())
    }

    #[test]
    fn gain_what_the_client_did_not_say() {
        assert_eq!(
            merged(json!({"key": "{{secret:token}}"}), r#"{"id": 1}"#).unwrap(),
            format!(r#"{{"id":1,"key":"{TOKEN}"}}"#)
        );
    }

    #[test]
    fn lose_what_the_client_said_in_our_place() {
        assert_eq!(
            merged(json!({"a": "ours", "b": null, "c": [1]}), r#"{"c":[2,3],"a":{"x":1},"b":2,"z":0}"#).unwrap(),
            r#"{"c":[1],"a":"ours","b":null,"z":0}"#
        );
    }

    #[test]
    fn are_merged_object_by_object() {
        assert_eq!(
            merged(json!({"auth": {"key": "k", "deep": {"er": true}}}), r#"{"auth":{"user":"u","key":"x"}}"#).unwrap(),
            r#"{"auth":{"user":"u","key":"k","deep":{"er":true}}}"#
        );
        assert_eq!(merged(json!({"auth": {"key": "k"}}), r#"{"auth":"none"}"#).unwrap(), r#"{"auth":{"key":"k"}}"#);
    }

    #[test]
    fn keep_the_clients_numbers_and_texts_to_the_letter() {
        let rest = r#"{"big":123456789012345678901234567890,"one":1.0,"exp":1E+2,"zero":-0,"text":"\u00e9\/","deep":{"a" : [1.50 ]}}"#;
        let sent = merged(json!({"own": 1}), rest).unwrap();
        assert_eq!(sent, format!(r#"{},"own":1}}"#, rest.strip_suffix('}').unwrap()));
    }

    #[test]
    fn escape_what_is_put_in() {
        let nasty = "quote \" slash \\ line \n brace }{ {{secret:token}} nul \0 end";
        let sent = sent(
            &with_token(nasty),
            json!({"fixed": "{{secret:token}}", "made": "{{timestamp}}{{secret:token}}"}),
            &post(Some("application/json")),
            r#"{"id":1}"#,
        );
        let value: Value = serde_json::from_str(&sent.unwrap().unwrap()).unwrap();
        assert_eq!(value["fixed"], nasty);
        assert_eq!(value["made"], format!("1800000000{nasty}"));
    }

    #[test]
    fn are_the_template_alone_where_the_client_sent_none() {
        for kind in [None, Some("application/json")] {
            let sent = sent(&tenant(), json!({"a": {"b": "{{request_id}}"}}), &post(kind), "");
            assert_eq!(sent, Ok(Some(r#"{"a":{"b":"request-1"}}"#.to_owned())));
        }
    }

    #[test]
    fn may_be_of_any_json_type() {
        for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
            let sent = sent(&tenant(), json!({"a": 1}), &post(Some(kind)), "{}");
            assert_eq!(sent, Ok(Some(r#"{"a":1}"#.to_owned())), "{kind}");
        }
    }

    #[test]
    fn are_refused_where_they_are_not_json() {
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx"), Some("")] {
            let answer = sent(&tenant(), json!({"a": 1}), &post(kind), r#"{"b":1}"#);
            assert_eq!(answer, Err(Refusal::BodyNotJson), "{kind:?}");
        }
        let compressed = post(Some("application/json")).header("content-encoding", "gzip");
        assert_eq!(sent(&tenant(), json!({"a": 1}), &compressed, "{}"), Err(Refusal::BodyNotJson));
    }

    #[test]
    fn are_refused_where_they_are_no_object_or_not_well_formed() {
        for client in [
            "[]", "1", "null", "\"{}\"", " ", "{", "{}{}", "{} x", r#"{"a":1,}"#, r#"{'a':1}"#, r#"{"a":01}"#,
            "\u{feff}{}", r#"{"a":"\x"}"#, r#"{"a":nul}"#,
        ] {
            assert_eq!(merged(json!({"a": 1}), client), Err(Refusal::BodyNotJson), "{client:?}");
        }
        let injector = compile(&tenant(), &[], Some(json!({"a": 1})));
        let json = post(Some("application/json"));
        let answer = injector.body(&json.head(), b"{\"b\":\"\xff\"}", &at(NOW));
        assert_eq!(answer.unwrap_err(), Refusal::BodyNotJson);
    }

    #[test]
    fn are_refused_where_a_name_stands_twice() {
        for client in [
            r#"{"x":1,"x":2}"#,
            r#"{"key":1,"key":2}"#,
            r#"{"key":1,"\u006bey":2}"#,
            r#"{"auth":{"a":1,"a":2}}"#,
        ] {
            let ours = json!({"key": "ours", "auth": {"b": 1}});
            assert_eq!(merged(ours, client), Err(Refusal::BodyNotJson), "{client}");
        }
    }

    #[test]
    fn are_refused_where_a_name_is_ours_in_another_case() {
        for client in [r#"{"Key":1}"#, r#"{"key":1,"KEY":2}"#, r#"{"auth":{"TOKEN":1}}"#] {
            let ours = json!({"key": "ours", "auth": {"token": 1}});
            assert_eq!(merged(ours, client), Err(Refusal::BodyNotJson), "{client}");
        }
    }

    #[test]
    fn may_be_nested_deeper_than_a_stack_is() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let sent = merged(json!({"a": 1}), &format!(r#"{{"deep":{deep}}}"#)).unwrap();
        assert_eq!(sent, format!(r#"{{"deep":{deep},"a":1}}"#));
    }

    #[test]
    fn are_left_alone_by_methods_without_content() {
        for method in [Method::GET, Method::DELETE, Method::HEAD, Method::OPTIONS] {
            let request = post(Some("application/json")).by(method.clone());
            assert_eq!(sent(&tenant(), json!({"a": 1}), &request, "{}"), Ok(None), "{method}");
        }
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            let request = post(Some("application/json")).by(method.clone());
            assert!(sent(&tenant(), json!({"a": 1}), &request, "{}").unwrap().is_some(), "{method}");
        }
    }

    #[test]
    fn fail_where_a_secret_has_no_value_here() {
        let tenant = without_token_in(tenant(), "production");
        for ours in [json!({"a": "{{secret:token}}"}), json!({"a": [{"b": "{{timestamp}}{{secret:token}}"}]})] {
            let answer = sent(&tenant, ours, &post(Some("application/json")), "{}");
            assert_eq!(answer, Err(Refusal::SecretUnavailable));
        }
    }

    #[test]
    fn name_the_secrets_they_hold() {
        let injector = compile(&tenant(), &[], Some(json!({"a": "{{secret:token}}"})));
        let post = post(None);
        let new = injector.body(&post.head(), b"", &at(NOW)).unwrap().unwrap();
        let names: Vec<&str> = new.secrets.iter().map(|name| &**name).collect();
        assert_eq!(names, ["token"]);
        assert!(injector.secrets().is_empty(), "those of the headers only");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -z\\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                any_object(inner),
            ]
        })
    }

    fn any_object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
        let members = prop::collection::btree_map("[a-d]", value, 0..4);
        members.prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    /// What merging means, on parsed values.
    fn expected(client: Value, ours: &Value) -> Value {
        match (client, ours) {
            (Value::Object(mut client), Value::Object(ours)) => {
                for (name, value) in ours {
                    let before = client.get(name).cloned().unwrap_or_default();
                    client.insert(name.clone(), expected(before, value));
                }
                Value::Object(client)
            }
            (_, ours) => ours.clone(),
        }
    }

    proptest! {
        #[test]
        fn merge_as_parsed_values_would(client in any_object(any_json()), ours in any_object(any_json())) {
            let sent = merged(ours.clone(), &client.to_string()).unwrap();
            let sent: Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(sent, expected(client, &ours));
        }

        #[test]
        fn never_become_anything_but_json(client in any::<String>()) {
            if let Ok(sent) = merged(json!({"a": {"b": 1}}), &client) {
                prop_assert!(serde_json::from_str::<Value>(&sent).is_ok() , "{}", sent);
            }
        }
    }
}

#[test]
fn an_injector_without_rules_does_nothing() {
    let injector = compile(&tenant(), &[], None);
    assert_eq!(injector.headers(&at(NOW)).count(), 0);
    assert!(!injector.rewrites_body(&Method::POST));
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let head = Head {
        method: &Method::POST,
        target: b"/",
        host: b"acme.example.test",
        version: http::Version::HTTP_11,
        headers: &headers,
    };
    assert!(injector.body(&head, b"anything", &at(NOW)).unwrap().is_none());
}

#[test]
fn a_clients_body_is_not_searched_where_no_secret_is_allowed() {
    let environment: RouteEnvironment = sample::environment("production");
    assert!(environment.body_secrets.is_empty());
    let injector = compile(&tenant(), &[], None);
    assert!(!injector.rewrites_body(&Method::POST));
}
