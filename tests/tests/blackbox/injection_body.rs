//! Injected bodies, and placeholders in the client's own.

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, Request, Response, Upstream};
use serde_json::{Value, json};

#[test]
fn a_json_body_is_merged_deeply() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(
        &upstream,
        json!({"auth": {"token": "{{secret:token}}"}, "list": [1], "flag": true, "none": null}),
    ));
    for method in ["POST", "PUT", "PATCH"] {
        let mine = json!({"auth": {"user": "me", "token": "theirs"}, "list": [2, 3], "flag": "x", "kept": 1.50});
        gateway
            .send(&Request::new(method, "/").json(&mine))
            .assert_served();
        assert_eq!(
            upstream.last_request().json(),
            json!({"auth": {"user": "me", "token": TOKEN}, "list": [1], "flag": true, "kept": 1.50, "none": null}),
            "{method}"
        );
    }
}

#[test]
fn what_is_not_overridden_keeps_its_very_bytes() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(&upstream, json!({"token": "x"})));
    let mine = r#"{"big": 123456789012345678901234567890, "one": 1.0, "exp": 1E400, "text": "\u00e9\/", "a":{"z":1,"b":2}}"#;
    gateway
        .send(&Request::post("/", mine).header("Content-Type", "application/json"))
        .assert_served();
    let sent = upstream.only_request().text();
    for part in [
        "123456789012345678901234567890",
        "1.0",
        "1E400",
        r#""\u00e9\/""#,
        r#"{"z":1,"b":2}"#,
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
}

#[test]
fn a_body_that_another_reader_could_take_otherwise_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(&upstream, json!({"key": "{{secret:token}}"})));
    for (kind, body) in [
        ("application/json", "{\"\u{212a}ey\":1}"),
        ("application/json", r#"{"\u212aey":1}"#),
        ("application/json; charset=utf-16", "{}"),
        ("application/json; charset=utf-7", "{}"),
    ] {
        gateway
            .send(&Request::post("/", body).header("Content-Type", kind))
            .assert_refused(422, "body_not_json");
    }
    upstream.assert_untouched();
    let utf8 = Request::post("/", "{}").header("Content-Type", "application/json; charset=UTF-8");
    gateway.send(&utf8).assert_served();
}

#[test]
fn a_method_override_does_not_pass_by_an_injected_body() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(&upstream, json!({"key": "{{secret:token}}"})));
    gateway
        .send(&Request::get("/").header("X-HTTP-Method-Override", "POST"))
        .assert_served();
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-http-method-override"), None);
}

#[test]
fn an_empty_body_becomes_the_template() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(&upstream, json!({"token": "{{secret:token}}"})));
    for request in [
        Request::new("POST", "/"),
        Request::post("/", ""),
        Request::new("POST", "/").chunked("", 1),
    ] {
        gateway.send(&request).assert_served();
        let seen = upstream.last_request();
        assert_eq!(seen.json(), json!({"token": TOKEN}));
        assert_eq!(seen.header("content-type"), Some("application/json"));
    }
}

#[test]
fn other_methods_keep_their_body() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(&upstream, json!({"token": "{{secret:token}}"})));
    gateway
        .send(&Request::new("DELETE", "/").json(&json!({"a": 1})))
        .assert_served();
    assert_eq!(upstream.last_request().text(), r#"{"a":1}"#);
    gateway.get("/").assert_served();
    assert_eq!(upstream.last_request().text(), "");
}

#[test]
fn a_body_that_cannot_be_merged_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&merging(
        &upstream,
        json!({"token": "{{secret:token}}", "deep": {"a": 1}}),
    ));
    let json = "application/json";
    for (body, kind) in [
        ("[1]", json),
        ("1", json),
        ("\"text\"", json),
        ("null", json),
        ("{", json),
        ("{}x", json),
        ("{'a':1}", json),
        ("{\"a\":1,}", json),
        (r#"{"token":1,"token":2}"#, json),
        (r#"{"deep":{"a":1,"a":2}}"#, json),
        (r#"{"tok\u0065n":1,"token":2}"#, json),
        ("a=b", "application/x-www-form-urlencoded"),
        ("{}", "text/plain"),
        ("\u{feff}{}", json),
    ] {
        let response = gateway.send(&Request::post("/", body).header("Content-Type", kind));
        assert_eq!(
            (response.status, response.error().as_str()),
            (422, "body_not_json"),
            "{body}"
        );
    }
    let nested = format!(
        "{{\"deep\":{}1{}}}",
        "{\"deep\":".repeat(5000),
        "}".repeat(5000)
    );
    let response = gateway.send(&Request::post("/", nested).header("Content-Type", json));
    assert!(matches!(response.status, 200 | 422), "{}", response.status);
    gateway.send(&Request::get("/")).assert_served();
}

#[test]
fn values_are_escaped_for_json() {
    let upstream = Upstream::start();
    let awkward = "a\"b\\c\nd\u{e9}\u{1}\",\"evil\":\"1";
    let gateway = Gateway::start(
        &merging(&upstream, json!({"v": "<{{secret:awkward}}>"}))
            .secret("awkward", json!({"production": awkward})),
    );
    gateway
        .send(&Request::post("/", "{}").header("Content-Type", "application/json"))
        .assert_served();
    assert_eq!(
        upstream.only_request().json(),
        json!({"v": format!("<{awkward}>")})
    );
}

#[test]
fn a_client_may_place_the_secrets_its_route_allows() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &allowing(&upstream, json!(["token"])).variable("region", json!({"production": "eu"})),
    );
    let ask = |body: &str| {
        gateway.send(&Request::post("/", body).header("Content-Type", "application/json"))
    };
    ask(r#"{"t":"{{secret:token}}","r":"{{ var:region }}","l":"{% if true %}{{environment}}"}"#)
        .assert_served();
    assert_eq!(
        upstream.last_request().json(),
        json!({"t": TOKEN, "r": "eu", "l": "{% if true %}{{environment}}"}),
        "placeholders are filled in, Liquid is not run"
    );
}

#[test]
fn any_other_secret_in_a_clients_body_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&allowing(&upstream, json!(["token"])));
    let mut answers = Vec::new();
    for body in [
        r#"{"t":"{{secret:signing}}"}"#,
        r#"{"t":"{{ secret:signing }}"}"#,
        r#"{"t":"{{secret:nothing_of_that_name}}"}"#,
        r#"{"t":"{{secret_id:00000000-0000-4000-8000-000000000000}}"}"#,
        r#"{"t":"{{secret:token}} {{secret:signing}}"}"#,
    ] {
        let response =
            gateway.send(&Request::post("/", body).header("Content-Type", "application/json"));
        response.assert_refused(403, "secret_not_allowed");
        answers.push(message(&response));
    }
    answers.dedup();
    assert_eq!(
        answers.len(),
        1,
        "the answer tells which secrets exist: {answers:?}"
    );
    upstream.assert_untouched();
}

#[test]
fn without_allowed_secrets_a_body_is_left_alone() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let body = r#"{"t":"{{secret:token}}"}"#;
    gateway
        .send(&Request::post("/", body).header("Content-Type", "application/json"))
        .assert_served();
    assert_eq!(upstream.only_request().text(), body);
}

#[test]
fn a_body_to_be_changed_has_a_limit() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &merging(&upstream, json!({"token": "x"})).limit("max_inspected_body_bytes", 1000),
    );
    let body = json!({"a": "x".repeat(2000)});
    let mut client = gateway.connect();
    client.try_send(Request::new("POST", "/").json(&body).bytes());
    client.read().assert_refused(413, "body_too_large");
    // Where nothing is changed, nothing is held.
    gateway
        .send(&Request::new("DELETE", "/").json(&body))
        .assert_served();
}

fn merging(upstream: &Upstream, body: Value) -> Config {
    Config::new(upstream.address())
        .edit_route("echo", json!({"inject_body": body, "environments": {}}))
}

fn allowing(upstream: &Upstream, secrets: Value) -> Config {
    Config::new(upstream.address())
        .edit_route("echo", json!({"body_secrets": secrets, "environments": {}}))
}

fn message(response: &Response) -> String {
    response.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}
