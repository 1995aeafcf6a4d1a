use super::*;
use crate::model::{BodyEdit, NotJson, ResponseDecoding};

const RULES: &str = "environments: [{name: production}, {name: staging}]
routes:
  - slug: a
    target_base_url: http://x.example
    response_headers:
      remove: [Server]
      rename: {X-Old: X-New}
      set: {Cache-Control: no-store, Set-Cookie: session=hunter2}
    response_body:
      - {remove: $..password}
      - {replace: $.plan, with: null}
      - {replace: $.limits, with: {max: 1.5, list: [null, x]}}
      - {mask: '$.items[*].card', keep_last: 4.0}
    response_decoding: decode
    environments:
      staging: {response_body: [{mask: $.card}], response_not_json: pass}
";

#[test]
fn rules_on_answers_hold_and_an_environment_replaces_them_one_by_one() {
    let loaded = with(RULES).loaded();
    let here = |name: &str| {
        let mut environments = only_tenant(&loaded).routes[0].environments.iter();
        let found = environments.find(|here| here.environment.as_str() == name);
        found.unwrap().response.clone()
    };
    let (production, staging) = (here("production"), here("staging"));
    let edits: Vec<_> = production.body.iter().map(|rule| &rule.edit).collect();
    assert_eq!(
        edits,
        [
            &BodyEdit::Remove,
            &BodyEdit::Replace("null".into()),
            &BodyEdit::Replace(r#"{"max":1.5,"list":[null,"x"]}"#.into()),
            &BodyEdit::Mask { keep_last: 4 },
        ]
    );
    assert_eq!(production.not_json, NotJson::Refuse);
    assert_eq!(staging.body.len(), 1);
    assert_eq!(staging.not_json, NotJson::Pass);
    assert_eq!(staging.headers, production.headers);
    assert_eq!(staging.decoding, ResponseDecoding::Decode);
}

#[test]
fn rules_on_answers_are_shown_with_their_nulls_and_without_credentials() {
    let shown = with(RULES).with(effective).unwrap();
    let route = &shown["routes"][0];
    assert!(!shown.to_string().contains("hunter2"));
    assert_eq!(
        route["response_headers"]["set"]["Cache-Control"],
        "no-store"
    );
    let rules = route["response_body"].as_array().unwrap();
    assert!(rules[1].as_object().unwrap().contains_key("with"));
    assert_eq!(
        rules[3],
        serde_json::json!({"mask": "$.items[*].card", "keep_last": 4})
    );
    assert_eq!(route["response_not_json"], "refuse");
    assert_eq!(route["response_decoding"], "decode");
    let plain = with("routes: [{slug: a, target_base_url: 'http://x.example'}]\n");
    let shown = plain.with(effective).unwrap();
    assert_eq!(shown["routes"][0]["response_decoding"], "identity");
    assert!(shown["routes"][0].get("response_not_json").is_none());
}

#[test]
fn every_mistake_in_rules_on_answers_is_told_with_its_line() {
    let report = with(
        "environments: [{name: production}, {name: staging}]
routes:
  - slug: a
    target_base_url: http://x.example
    response_headers:
      remove: [Content-Length]
      set:
        X-Knox-A: a
        x-b: '{{secret:b}}'
    response_body:
      - {remove: user.ssn}
      - {mask: $.a, keep_last: 17}
      - {replace: $.a, with: 007}
      - {}
    environments: {staging: {response_body: [{replace: $.b, whith: 1}]}}
  - slug: b
    target_base_url: http://x.example
    response_not_json: pass
",
    )
    .report();
    for line in [
        "config.yaml:7: routes[0].response_headers.remove[0]: cannot be changed",
        "config.yaml:9: routes[0].response_headers.set.X-Knox-A: cannot be changed",
        "config.yaml:10: routes[0].response_headers.set.x-b: is a template",
        "config.yaml:12: routes[0].response_body[0].remove: is not a JSON path",
        "config.yaml:13: routes[0].response_body[1].keep_last: is too large (at most 16)",
        "config.yaml:14: routes[0].response_body[2].with: is a number that would be sent in \
         another spelling",
        "config.yaml:15: routes[0].response_body[3]: is not one rule",
        "config.yaml:16: routes[0].environments.staging.response_body[0].whith: is not a known field",
        "config.yaml:19: routes[1].response_not_json: has nothing to decide",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}
