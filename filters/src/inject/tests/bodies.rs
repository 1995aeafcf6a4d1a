use super::*;

fn post(content_type: Option<&str>) -> Request {
    let request = Request::get("/").by(Method::POST);
    match content_type {
        Some(value) => request.header("content-type", value),
        None => request,
    }
}

fn sent(
    tenant: &Tenant,
    ours: Value,
    request: &Request,
    body: &str,
) -> Result<Option<String>, Refusal> {
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
        merged(
            json!({"a": "ours", "b": null, "c": [1]}),
            r#"{"c":[2,3],"a":{"x":1},"b":2,"z":0}"#
        )
        .unwrap(),
        r#"{"c":[1],"a":"ours","b":null,"z":0}"#
    );
}

#[test]
fn are_merged_object_by_object() {
    assert_eq!(
        merged(
            json!({"auth": {"key": "k", "deep": {"er": true}}}),
            r#"{"auth":{"user":"u","key":"x"}}"#
        )
        .unwrap(),
        r#"{"auth":{"user":"u","key":"k","deep":{"er":true}}}"#
    );
    assert_eq!(
        merged(json!({"auth": {"key": "k"}}), r#"{"auth":"none"}"#).unwrap(),
        r#"{"auth":{"key":"k"}}"#
    );
}

#[test]
fn keep_the_clients_numbers_and_texts_to_the_letter() {
    let rest = r#"{"big":123456789012345678901234567890,"one":1.0,"exp":1E+2,"zero":-0,"text":"\u00e9\/","deep":{"a" : [1.50 ]}}"#;
    let sent = merged(json!({"own": 1}), rest).unwrap();
    assert_eq!(
        sent,
        format!(r#"{},"own":1}}"#, rest.strip_suffix('}').unwrap())
    );
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
        let sent = sent(
            &tenant(),
            json!({"a": {"b": "{{request_id}}"}}),
            &post(kind),
            "",
        );
        assert_eq!(sent, Ok(Some(r#"{"a":{"b":"request-1"}}"#.to_owned())));
    }
}

#[test]
fn may_be_of_any_json_type() {
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.api+json",
    ] {
        let sent = sent(&tenant(), json!({"a": 1}), &post(Some(kind)), "{}");
        assert_eq!(sent, Ok(Some(r#"{"a":1}"#.to_owned())), "{kind}");
    }
}

#[test]
fn are_refused_in_another_charset_than_utf_8() {
    for (parameters, taken) in [
        ("charset=utf-8", true),
        ("CHARSET=\"UTF-8\"", true),
        ("charset=utf8; v=1", true),
        ("profile=x", true),
        ("charset=utf-16", false),
        ("charset=utf-7", false),
        ("v=1;Charset = \"utf-16le\"", false),
        ("charset=utf-8; charset=utf-16", false),
        ("charset*=utf-16''x", false),
        ("charset=", false),
    ] {
        for kind in ["application/json", "application/vnd.api+json"] {
            let request = post(Some(&format!("{kind}; {parameters}")));
            let sent = sent(&tenant(), json!({"a": 1}), &request, "{}");
            assert_eq!(sent.is_ok(), taken, "{kind} {parameters}");
            assert!(taken || sent == Err(Refusal::BodyNotJson), "{parameters}");
        }
    }
}

#[test]
fn refuse_a_name_that_folds_to_ours() {
    for (ours, theirs) in [
        ("api_key", "api_\u{212A}ey"),
        ("secret", "\u{17F}ecret"),
        ("\u{e9}t\u{e9}", "\u{c9}t\u{e9}"),
        ("stra\u{df}e", "STRASSE"),
        ("key", "\\u212aey"),
    ] {
        let nested = json!({"in": {ours: 1}});
        let body = format!(r#"{{"in":{{"{theirs}":2}}}}"#);
        assert_eq!(merged(nested, &body), Err(Refusal::BodyNotJson), "{theirs}");
    }
    assert!(merged(json!({"\u{e9}": 1}), "{\"\u{e8}\":2}").is_ok());
}

#[test]
fn are_refused_where_they_are_not_json() {
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
        Some(""),
    ] {
        let answer = sent(&tenant(), json!({"a": 1}), &post(kind), r#"{"b":1}"#);
        assert_eq!(answer, Err(Refusal::BodyNotJson), "{kind:?}");
    }
    let compressed = post(Some("application/json")).header("content-encoding", "gzip");
    assert_eq!(
        sent(&tenant(), json!({"a": 1}), &compressed, "{}"),
        Err(Refusal::BodyNotJson)
    );
}

#[test]
fn are_refused_where_they_are_no_object_or_not_well_formed() {
    for client in [
        "[]",
        "1",
        "null",
        "\"{}\"",
        " ",
        "{",
        "{}{}",
        "{} x",
        r#"{"a":1,}"#,
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        "\u{feff}{}",
        r#"{"a":"\x"}"#,
        r#"{"a":nul}"#,
    ] {
        assert_eq!(
            merged(json!({"a": 1}), client),
            Err(Refusal::BodyNotJson),
            "{client:?}"
        );
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
    for client in [
        r#"{"Key":1}"#,
        r#"{"key":1,"KEY":2}"#,
        r#"{"auth":{"TOKEN":1}}"#,
    ] {
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
        assert_eq!(
            sent(&tenant(), json!({"a": 1}), &request, "{}"),
            Ok(None),
            "{method}"
        );
    }
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let request = post(Some("application/json")).by(method.clone());
        assert!(
            sent(&tenant(), json!({"a": 1}), &request, "{}")
                .unwrap()
                .is_some(),
            "{method}"
        );
    }
}

#[test]
fn fail_where_a_secret_has_no_value_here() {
    let tenant = without_token_in(tenant(), "production");
    for ours in [
        json!({"a": "{{secret:token}}"}),
        json!({"a": [{"b": "{{timestamp}}{{secret:token}}"}]}),
    ] {
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
