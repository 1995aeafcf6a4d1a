use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sample;
use crate::{BodyKind, EndedBy, Rules};

fn line(record: &RequestRecord) -> String {
    let mut out = Vec::new();
    Encoder::default().encode(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn parsed(record: &RequestRecord) -> Value {
    serde_json::from_str(&line(record)).unwrap()
}

#[test]
fn writes_every_field_of_a_full_record() {
    let expected = [
        r#"{"request_id":"00000000-0000-0000-0000-000000000001","#,
        r#""tenant_id":"00000000-0000-0000-0000-000000000002","#,
        r#""route_id":"00000000-0000-0000-0000-000000000003","#,
        r#""matched_client_id":"00000000-0000-0000-0000-000000000004","#,
        r#""identification_method":"api_key","method":"POST","status_code":502,"#,
        r#""src_ip":"203.0.113.7","environment":"production","sandbox":true,"#,
        r#""ts":"2026-09-21T14:13:20.042Z","path":"/v1/orders?page=2&token=[redacted]","#,
        r#""latency_ms":12.345,"upstream_host":"api.internal","error":"upstream_failed","#,
        r#""rate_limited":true,"client_origin":"sdk_intercept","route":"orders","#,
        r#""host":"a1b2c3d4.acme.example.com","protocol":"HTTP/1.1","upstream_status":500,"#,
        r#""upstream_address":"[2001:db8::1]:8443","attempts":2,"request_bytes":1024,"#,
        r#""response_bytes":2048,"error_detail":"connection reset","ended_by":"upstream","#,
        r#""authorized":true,"client_name":"Warehouse","key_id":"key-7","signature_valid":true,"#,
        r#""secrets_used":["STRIPE_KEY","CRM_TOKEN"],"peer_ip":"2001:db8::7","#,
        r#""user_agent":"curl/8.5 \"quoted\"","client_request_id":"abc-1","#,
        r#""connect_ms":0.800,"first_byte_ms":11.000,"#,
        r#""headers":[["accept","*/*"],["Authorization","[redacted]"]],"#,
        r#""body":"{\"a\":1}\n","body_truncated":true}"#,
        "\n",
    ];
    assert_eq!(line(&sample::full()), expected.concat());
}

#[test]
fn says_of_leaks_and_traces_where_there_are_any() {
    let mut record = sample::full();
    record.secrets_masked = Masked {
        headers: 1,
        body: 0,
        trailers: 2,
    };
    record.trace_id = Some("4bf9".into());
    let written = parsed(&record);
    assert_eq!(written["secrets_masked"], 3);
    assert_eq!(written["secrets_masked_in"], json!(["headers", "trailers"]));
    assert_eq!(written["trace_id"], "4bf9");
}

#[test]
fn has_the_same_members_when_nothing_is_known() {
    let names = |record: &RequestRecord| -> Vec<String> {
        parsed(record)
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let mut full = names(&sample::full());
    full.retain(|name| !["headers", "body", "body_truncated"].contains(&name.as_str()));
    assert_eq!(names(&sample::bare()), full);
}

#[test]
fn writes_null_for_what_is_not_known() {
    let record = parsed(&sample::bare());
    for name in [
        "tenant_id",
        "status_code",
        "src_ip",
        "connect_ms",
        "signature_valid",
        "error",
    ] {
        assert_eq!(record[name], Value::Null, "{name}");
    }
    assert_eq!(record["ended_by"], "gateway");
}

#[test]
fn documents_every_field() {
    let page = include_str!("../../docs/records.md");
    for name in parsed(&sample::full()).as_object().unwrap().keys() {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "{name} is not in docs/records.md"
        );
    }
}

#[test]
fn shows_a_secret_in_no_text_of_the_record() {
    let secret = "s3cr\"et/value";
    let mut record = sample::with_secrets(&[secret]);
    let text = || Some(Text::from(format!("a {secret} b")));
    record.method = secret.into();
    record.host = secret.into();
    record.path = "/x/s3cr%22et%2Fvalue?q=czNjciJldC92YWx1ZQ==".into();
    record.user_agent = text();
    record.client_request_id = text();
    record.error_detail = text();
    record.route = Some(secret.into());
    record.environment = Some(secret.into());
    record.upstream_host = Some(secret.into());
    record.client_name = Some(secret.into());
    record.key_id = Some(secret.into());
    record.secrets_used = [secret.into()].into();
    record.headers = vec![
        (secret.into(), secret.into()),
        ("x-note".into(), secret.into()),
    ];
    record.body = Some(Body {
        bytes: serde_json::to_vec(&secret).unwrap().into(),
        kind: BodyKind::Json,
        truncated: false,
    });
    let line = line(&record);
    assert!(!line.contains("s3cr") && !line.contains("czNj"), "{line}");
    assert_eq!(line.matches(crate::MASK).count(), 17, "{line}");
}

#[test]
fn keeps_a_line_whole_whose_grammar_equals_a_secret() {
    let mut record = sample::with_secrets(&["null", "\":\"", "true", "request_id", "2026"]);
    record.path = "/null/2026".into();
    let record = parsed(&record);
    assert_eq!(record["path"], "/[redacted]/[redacted]");
    assert_eq!(record["ts"], "2026-09-21T14:13:20.042Z");
    assert_eq!(record["tenant_id"], Value::Null);
}

#[test]
fn applies_patterns_to_texts_but_not_to_our_own_names() {
    let rules = Rules {
        patterns: vec!["[0-9]{4}".to_owned()],
        ..Rules::default()
    };
    let mut record = sample::masked_by(Obfuscator::new(&rules, std::iter::empty()).unwrap());
    record.path = "/pin/1234".into();
    record.route = Some("orders-2026".into());
    let record = parsed(&record);
    assert_eq!(record["path"], "/pin/[redacted]");
    assert_eq!(record["route"], "orders-2026");
}

#[test]
fn names_who_ended_a_request() {
    for (ended_by, expected) in [
        (EndedBy::Upstream, "upstream"),
        (EndedBy::Gateway, "gateway"),
        (EndedBy::Client, "client"),
        (EndedBy::Panic, "panic"),
    ] {
        let mut record = sample::bare();
        record.ended_by = ended_by;
        assert_eq!(parsed(&record)["ended_by"], expected);
    }
}

proptest! {
    #[test]
    fn any_record_is_exactly_one_line_of_valid_json(
        method: Vec<u8>, path: Vec<u8>, agent: Vec<u8>, header: Vec<u8>, body: Vec<u8>, name: String,
    ) {
        let mut record = sample::with_secrets(&["aaaa", "\\\\\\\\", "    "]);
        record.method = method.into();
        record.path = path.into();
        record.user_agent = Some(agent.into());
        record.headers = vec![(header.clone().into(), header.into())];
        record.client_name = Some(name.into());
        record.body = Some(Body { bytes: body.into(), kind: BodyKind::Form, truncated: false });
        let line = line(&record);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        prop_assert!(!line.trim_end_matches('\n').contains(char::is_control));
        prop_assert!(serde_json::from_str::<Value>(&line).unwrap().is_object());
    }

    #[test]
    fn a_secret_never_appears_wherever_a_client_puts_it(
        secret in "[A-Za-z0-9/+?&=%\"\\\\ é-]{2}[#-9]{8}[A-Za-z0-9]{2}",
        before in "[ -~]{0,10}",
        after in "[ -~]{0,10}",
    ) {
        let mut record = sample::with_secrets(&[&secret]);
        record.path = format!("/{before}{secret}{after}").into();
        record.user_agent = Some(format!("{before}{secret}{after}").into());
        let read = parsed(&record);
        for field in ["path", "user_agent"] {
            prop_assert!(!read[field].as_str().unwrap().contains(secret.trim()), "{}", read[field]);
        }
    }
}
