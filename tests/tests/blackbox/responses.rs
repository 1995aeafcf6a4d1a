//! Answers on their way to the client: what a route's rules make of them, and
//! what the leak guard masks.

use std::io::Write;

use knoxcall_tests::config::TOKEN;
use knoxcall_tests::{Config, Gateway, Http2Client, Http2Upstream, Request, Session, Upstream};
use serde_json::{Value, json};

fn stars() -> String {
    "*".repeat(TOKEN.len())
}

fn config(upstream: std::net::SocketAddr, fields: Value) -> Config {
    Config::new(upstream)
        .edit_route(
            "echo",
            json!({"inject_headers": {"authorization": "Bearer {{secret:token}}"}, "environments": {}}),
        )
        .edit_route("echo", fields)
}

/// Answers each request with these bytes.
fn upstream(answer: impl Into<Vec<u8>>) -> Upstream {
    let answer = answer.into();
    Upstream::scripted(move |session: &mut Session| {
        while session.request()?.is_some() {
            session.send(&answer)?;
        }
        Ok(())
    })
}

fn plain(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn a_secret_that_comes_back_is_masked_in_head_and_body() {
    let body = format!("before {TOKEN} after");
    let upstream = upstream(plain(&format!("X-Echo: Bearer {TOKEN}\r\n"), &body));
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let response = gateway.get("/");
    assert_eq!(response.text(), format!("before {} after", stars()));
    assert!(!response.header("x-echo").unwrap().contains(TOKEN));
    let record = gateway.record_of(&response);
    assert!(record.number("secrets_masked").unwrap() >= 2.0);
    assert_eq!(record.0["secrets_masked_in"], json!(["headers", "body"]));
    assert!(gateway.metric("knoxcall_secrets_masked_total", &[("place", "body")]) >= 1.0);
    assert!(gateway.metric("knoxcall_secrets_masked_total", &[("place", "headers")]) >= 1.0);
    assert!(!gateway.record_text().contains(TOKEN));
}

#[test]
fn a_secret_in_pieces_is_masked_wherever_it_is_cut() {
    for cut in 1..TOKEN.len() {
        let (one, two) = TOKEN.split_at(cut);
        let upstream = Upstream::scripted(move |session: &mut Session| {
            while session.request()?.is_some() {
                session.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                session.send(format!("{:x}\r\n{one}\r\n", one.len()))?;
                session.send(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len()))?;
            }
            Ok(())
        });
        let gateway = Gateway::start(&config(upstream.address(), json!({})));
        assert_eq!(gateway.get("/").text(), stars(), "cut at {cut}");
    }
}

#[test]
fn a_clean_answer_stays_as_it_is() {
    let upstream = upstream(plain("ETag: \"1\"\r\n", "nothing to see"));
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let response = gateway.get("/");
    assert_eq!(response.text(), "nothing to see");
    assert_eq!(response.header("etag"), Some("\"1\""));
    assert_eq!(gateway.record_of(&response).number("secrets_masked"), None);
}

#[test]
fn a_masked_body_keeps_its_length_and_loses_what_vouches_for_it() {
    let body = format!("{TOKEN}!");
    let upstream = upstream(plain("ETag: \"1\"\r\nContent-MD5: x\r\n", &body));
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let response = gateway.get("/");
    assert_eq!(
        response.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    assert_eq!(response.header("etag"), None);
    assert_eq!(response.header("content-md5"), None);
}

#[test]
fn an_upstream_is_asked_for_what_can_be_inspected() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let request = Request::get("/")
        .header("accept-encoding", "gzip, br")
        .header("range", "bytes=0-1");
    gateway.send(&request).assert_served();
    let arrived = upstream.last_request();
    assert_eq!(arrived.header("accept-encoding"), Some("identity"));
    assert_eq!(arrived.header("range"), None);
}

#[test]
fn an_encoded_answer_is_refused_or_passed_as_the_route_says() {
    let upstream = upstream(plain("Content-Encoding: gzip\r\n", "not looked into"));
    let strict = Gateway::start(&config(upstream.address(), json!({})));
    let refused = strict.get("/");
    assert_eq!(refused.status, 502);
    assert!(!refused.text().contains("not looked into"));
    let lenient = Gateway::start(&config(
        upstream.address(),
        json!({"leak_guard": "lenient"}),
    ));
    assert_eq!(lenient.get("/").text(), "not looked into");
    assert_eq!(
        lenient.metric("knoxcall_answers_uninspected_total", &[]),
        1.0
    );
}

#[test]
fn off_is_off() {
    let upstream = upstream(plain("", TOKEN));
    let gateway = Gateway::start(&config(upstream.address(), json!({"leak_guard": "off"})));
    assert_eq!(gateway.get("/").text(), TOKEN);
}

#[test]
fn bodies_and_trailers_over_http2_are_masked() {
    let upstream = Http2Upstream::start();
    let gateway = Gateway::start(&config(upstream.address(), json!({"protocol": "http2"})));
    let client = Http2Client::connect(gateway.address());
    for path in ["/", "/trailers"] {
        let response = client.send(&Request::post(path, format!("a{TOKEN}b")));
        assert_eq!(response.text(), format!("a{}b", stars()), "{path}");
    }
    let over_http1 = gateway.send(&Request::post("/trailers", format!("a{TOKEN}b")));
    assert_eq!(
        over_http1.text(),
        format!("a{}b", stars()),
        "nothing is lost at the end"
    );
}

#[test]
fn a_secret_in_a_trailer_is_masked_and_counted() {
    let upstream = Http2Upstream::start();
    let gateway = Gateway::start(&config(upstream.address(), json!({"protocol": "http2"})));
    let client = Http2Client::connect(gateway.address());
    let response = client.send(&Request::post("/telling-trailers", TOKEN));
    assert_eq!(response.trailers.unwrap()["x-said"], stars());
    let counted = gateway.metric("knoxcall_secrets_masked_total", &[("place", "trailers")]);
    assert_eq!(counted, 1.0);
}

/// What has left of it was masked, and is told.
#[test]
fn a_secret_in_an_answer_that_breaks_off_is_counted() {
    let begun = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{TOKEN} and more");
    let upstream = Upstream::scripted(move |session: &mut Session| {
        session.request()?;
        session.send(&begun)
    });
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let (_, begun) = client.read_broken();
    assert!(!String::from_utf8_lossy(&begun).contains(TOKEN));
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(record.number("secrets_masked"), Some(1.0));
}

#[test]
fn headers_are_removed_renamed_and_set() {
    let upstream = upstream(plain(
        "Server: secretive/1\r\nX-Old: 1\r\nX-Kept: 2\r\n",
        "ok",
    ));
    let rules = json!({"response_headers": {
        "remove": ["server"], "rename": {"x-old": "x-new"}, "set": {"x-frame-options": "DENY"},
    }});
    let gateway = Gateway::start(&config(upstream.address(), rules));
    let response = gateway.get("/");
    assert_eq!(response.header("server"), None);
    assert_eq!(response.header("x-old"), None);
    assert_eq!(response.header("x-new"), Some("1"));
    assert_eq!(response.header("x-kept"), Some("2"));
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert!(response.header("x-request-id").is_some());
}

fn body_rules() -> Value {
    json!({"response_body": [
        {"remove": "$.internal"}, {"replace": "$.plan", "with": "hidden"}, {"mask": "$.card", "keep_last": 4},
    ]})
}

#[test]
fn members_of_a_json_body_are_removed_replaced_and_masked() {
    let body = r#"{"internal":1,"plan":"gold","card":"4111111111111111","a":2}"#;
    let upstream = upstream(plain(
        "Content-Type: application/json\r\nETag: \"1\"\r\n",
        body,
    ));
    let gateway = Gateway::start(&config(upstream.address(), body_rules()));
    let response = gateway.get("/");
    assert_eq!(
        response.json(),
        json!({"plan": "hidden", "card": "************1111", "a": 2})
    );
    assert_eq!(response.header("etag"), None);
    assert_eq!(
        response.header("content-length"),
        Some(response.body.len().to_string().as_str())
    );
}

#[test]
fn a_body_that_cannot_be_changed_does_not_leave() {
    for (headers, body) in [
        ("Content-Type: application/json\r\n", "{\"internal\":"),
        ("Content-Type: text/html\r\n", "<html>internal</html>"),
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            "internal",
        ),
    ] {
        let upstream = upstream(plain(headers, body));
        let gateway = Gateway::start(&config(upstream.address(), body_rules()));
        let response = gateway.get("/");
        response.assert_refused(502, "transform_failed");
        assert!(!response.text().contains("internal"), "{headers}");
    }
}

#[test]
fn a_body_too_large_to_be_changed_does_not_leave() {
    let body = format!("{{\"internal\":\"{}\"}}", "x".repeat(5_000));
    for framing in [plain("Content-Type: application/json\r\n", &body), {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
    }] {
        let upstream = upstream(framing);
        let config =
            config(upstream.address(), body_rules()).limit("max_inspected_body_bytes", 2_000);
        let gateway = Gateway::start(&config);
        gateway.get("/").assert_refused(502, "transform_failed");
    }
}

#[test]
fn what_a_body_holds_once_it_is_decoded_counts() {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    coder.write_all(&vec![b' '; 1_500_000]).unwrap();
    let coded = coder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        coded.len()
    );
    let upstream = upstream([head.into_bytes(), coded].concat());
    let config = config(upstream.address(), json!({"response_decoding": "decode"}))
        .limit("max_inspected_body_bytes", 2_000_000);
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/").body.len(), 1_500_000);
    let gateway = Gateway::start(&config.limit("max_buffered_bytes", 1_048_576));
    gateway.get("/").assert_refused(503, "overloaded");
}

#[test]
fn rules_for_headers_do_not_hide_how_a_body_is_written() {
    for rules in [
        json!({"remove": ["Content-Type"]}),
        json!({"set": {"Content-Type": "text/plain"}}),
    ] {
        let written = plain("Content-Type: text/plain; charset=utf-16\r\n", "x");
        let upstream = upstream(written);
        let config = config(upstream.address(), json!({"response_headers": rules}));
        let gateway = Gateway::start(&config);
        let response = gateway.get("/");
        response.assert_refused(502, "response_uninspectable");
    }
}

#[test]
fn what_is_masked_in_an_early_hint_is_counted() {
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{TOKEN}>\r\n\r\n");
    let upstream = upstream([hint.as_bytes(), &plain("", "ok")].concat());
    let gateway = Gateway::start(&config(upstream.address(), json!({})));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let early = client.read_any("GET");
    assert_eq!(
        (early.status, early.header("link")),
        (103, Some(&*format!("<{}>", stars())))
    );
    client.read().assert_served();
    let record = gateway.wait_for_records(1).remove(0);
    assert_eq!(record.number("secrets_masked"), Some(1.0));
}

#[test]
fn what_all_bodies_hold_is_bounded() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address())
        .edit_route("echo", json!({"inject_body": {"a": 1}, "environments": {}}))
        .limit("max_inspected_body_bytes", 2_000_000)
        .limit("max_buffered_bytes", 1_048_576);
    let gateway = Gateway::start(&config);
    let large = format!("{{\"b\":\"{}\"}}", "x".repeat(1_200_000));
    let request = Request::post("/", large).header("content-type", "application/json");
    gateway.send(&request).assert_refused(503, "overloaded");
    let small = Request::post("/", "{}").header("content-type", "application/json");
    gateway.send(&small).assert_served();
}
