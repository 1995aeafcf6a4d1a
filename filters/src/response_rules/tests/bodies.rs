//! JSON bodies: what each rule does, and which bodies are refused.

use super::*;

fn transformed(rules: Vec<BodyRule>, body: &str) -> String {
    let (body, _) = answered(&on_bodies(rules), &[JSON], body.as_bytes()).unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn removes_members_and_elements_with_their_commas() {
    let removed = |path, body| transformed(vec![remove(path)], body);
    let body = r#"{"a":1,"b":2,"c":3}"#;
    assert_eq!(removed("$.a", body), r#"{"b":2,"c":3}"#);
    assert_eq!(removed("$.b", body), r#"{"a":1,"c":3}"#);
    assert_eq!(removed("$.c", body), r#"{"a":1,"b":2}"#);
    assert_eq!(removed("$.*", body), "{}");
    assert_eq!(removed("$.d", body), body);
    assert_eq!(removed("$[0]", "[1, 2, 3]"), "[2, 3]");
    assert_eq!(removed("$[1]", "[1, 2, 3]"), "[1, 3]");
    assert_eq!(removed("$[2]", "[1, 2, 3]"), "[1, 2]");
    assert_eq!(removed("$[*]", "[1, 2, 3]"), "[]");
    assert_eq!(
        removed("$[0].a", r#"[{"a":[{}]},{"a":1}]"#),
        r#"[{},{"a":1}]"#
    );
}

#[test]
fn removes_a_name_at_every_depth() {
    assert_eq!(
        transformed(
            vec![remove("$..pin")],
            r#"{"pin":1,"a":[{"pin":{"pin":2},"b":3},{"c":{"pin":4}}],"pins":5}"#
        ),
        r#"{"a":[{"b":3},{"c":{}}],"pins":5}"#
    );
}

#[test]
fn removes_several_neighbours_at_once() {
    let rules = || vec![remove("$.b"), remove("$.c"), remove("$.e")];
    assert_eq!(
        transformed(rules(), r#"{ "a":1 , "b":2 , "c":3 , "d":4 , "e":5 }"#),
        r#"{ "a":1 , "d":4 }"#
    );
    assert_eq!(
        transformed(rules(), r#"{ "b":2 , "c":3 , "d":4 }"#),
        r#"{ "d":4 }"#
    );
}

#[test]
fn replaces_what_is_there_and_adds_nothing() {
    let rules = || vec![replace("$.user.role", r#"{"name":"guest"}"#)];
    assert_eq!(
        transformed(rules(), r#"{"user":{"role":"root","id":7}}"#),
        r#"{"user":{"role":{"name":"guest"},"id":7}}"#
    );
    assert_eq!(
        transformed(rules(), r#"{"user":{"id":7}}"#),
        r#"{"user":{"id":7}}"#
    );
}

#[test]
fn masks_texts_by_their_length_and_all_else_by_three() {
    assert_eq!(
        transformed(
            vec![mask("$.card", 4), mask("$.rest[*]", 0)],
            r#"{"card":"4111111111111234","rest":["äö",12,true,null,{"a":"b"},["c"]]}"#
        ),
        r#"{"card":"************1234","rest":["**","***","***","***","***","***"]}"#
    );
}

#[test]
fn what_no_rule_names_stays_byte_for_byte() {
    let body = "{ \"n\" : 1.10e2 ,\n\t\"big\":123456789012345678901234567890, \
                \"u\":\"\\u00e9\\/\", \"x\" : 1 , \"f\":[ 0.10 , -0 ] }";
    let removed = body.replace(", \"x\" : 1 ,", " ,");
    assert_eq!(transformed(vec![remove("$.x")], body), removed);
}

#[test]
fn a_name_is_found_however_it_is_written() {
    let rules = || vec![remove("$.ssn")];
    assert_eq!(
        transformed(rules(), r#"{"\u0073sn":1,"a":2}"#),
        r#"{"a":2}"#
    );
    assert_eq!(transformed(rules(), r#"{"SSN":1}"#), r#"{"SSN":1}"#);
    assert_eq!(
        transformed(vec![remove(r"$['a\b']")], r#"{"a\\b":1,"a\b":2}"#),
        r#"{"a\b":2}"#
    );
}

#[test]
fn a_name_that_stands_twice_is_changed_twice() {
    assert_eq!(
        transformed(vec![remove("$.a")], r#"{"a":1,"b":2,"a":3}"#),
        r#"{"b":2}"#
    );
    assert_eq!(
        transformed(vec![mask("$.a", 0)], r#"{"a":"x","a":"y"}"#),
        r#"{"a":"*","a":"*"}"#
    );
}

#[test]
fn refuses_a_name_that_could_be_read_as_another() {
    let rules = on_bodies(vec![remove("$.a")]);
    let error = answered(&rules, &[JSON], br#"{"\ud800":1}"#).unwrap_err();
    assert_eq!(error, TransformError::Malformed);
}

#[test]
fn of_two_rules_at_one_value_the_first_counts() {
    let body = r#"{"a":"x","b":"y"}"#;
    let rules = vec![replace("$.a", "1"), remove("$.*")];
    assert_eq!(transformed(rules, body), r#"{"a":1}"#);
    let rules = vec![remove("$.*"), replace("$.a", "1")];
    assert_eq!(transformed(rules, body), "{}");
}

#[test]
fn paths_are_those_of_the_body_as_it_came() {
    let rules = vec![remove("$[0]"), remove("$[0]"), mask("$[1]", 0)];
    assert_eq!(transformed(rules, r#"["a","b","c"]"#), r#"["*","c"]"#);
    let rules = vec![replace("$.a", r#"{"b":"shown"}"#), mask("$..b", 0)];
    assert_eq!(
        transformed(rules, r#"{"a":{"b":"x"}}"#),
        r#"{"a":{"b":"shown"}}"#
    );
}

#[test]
fn follows_names_at_any_depth_below_others() {
    let rules = vec![mask("$..user..key", 0), remove("$.list[*][1]")];
    assert_eq!(
        transformed(
            rules,
            r#"{"key":"a","x":{"user":[{"y":{"key":"b"}}]},"list":[[1,2],[3]]}"#
        ),
        r#"{"key":"a","x":{"user":[{"y":{"key":"*"}}]},"list":[[1],[3]]}"#
    );
}

#[test]
fn refuses_what_is_not_the_json_it_says_it_is() {
    let rules = on_bodies(vec![remove("$.a")]);
    for body in [
        &b"{"[..],
        b"<html>",
        b"{\"a\":1}{\"a\":1}",
        b"{\"a\":1,}",
        b"{\"a\":01}",
        b"\xef\xbb\xbf{\"a\":1}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\n\"}",
        b"  ",
    ] {
        let error = answered(&rules, &[JSON], body).unwrap_err();
        assert_eq!(error, TransformError::Malformed, "{body:?}");
    }
}

#[test]
fn a_deep_body_is_refused_where_a_path_leads_and_skipped_where_none_does() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let everywhere = on_bodies(vec![remove("$..a")]);
    answered(&everywhere, &[JSON], deep(128).as_bytes()).unwrap();
    let error = answered(&everywhere, &[JSON], deep(129).as_bytes()).unwrap_err();
    assert_eq!(error, TransformError::TooDeep);
    let body = format!("{{\"deep\":{},\"a\":1}}", deep(30_000));
    let expected = format!("{{\"deep\":{}}}", deep(30_000));
    assert_eq!(transformed(vec![remove("$.a")], &body), expected);
}

#[test]
fn refuses_a_body_that_is_too_large_before_or_after() {
    let rules = on_bodies(vec![replace("$.*", &"1".repeat(LIMIT))]);
    let too_large = vec![b' '; LIMIT + 1];
    let error = answered(&rules, &[JSON], &too_large).unwrap_err();
    assert_eq!(error, TransformError::TooLarge);
    let error = answered(&rules, &[JSON], br#"{"a":1}"#).unwrap_err();
    assert_eq!(error, TransformError::TooLarge);
}

#[test]
fn a_collected_body_without_a_byte_is_none() {
    let (body, headers) = answered(&on_bodies(vec![remove("$.a")]), &[JSON], b"").unwrap();
    assert!(body.is_empty());
    assert_eq!(headers["content-length"], "0");
}
