//! Request records: one for each request, whatever became of it.

use knoxcall_tests::{Config, Gateway, Request, Upstream, eventually, keys};
use serde_json::json;

#[test]
fn a_served_request_is_recorded_in_full() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.send(
        &Request::post("/a/b?x=1", "12345")
            .key(keys::CLIENT)
            .header("user-agent", "test/1")
            .header("x-knoxcall-origin", "sdk-intercept"),
    );
    response.assert_served();
    let record = gateway.record_of(&response);
    for (field, value) in [
        ("method", json!("POST")),
        ("path", json!("/a/b?x=1")),
        ("host", json!("gw.test")),
        ("protocol", json!("HTTP/1.1")),
        ("status_code", json!(200)),
        ("upstream_status", json!(200)),
        ("upstream_address", json!(upstream.address().to_string())),
        ("route", json!("echo")),
        ("environment", json!("production")),
        ("sandbox", json!(false)),
        ("src_ip", json!("127.0.0.1")),
        ("peer_ip", json!("127.0.0.1")),
        ("user_agent", json!("test/1")),
        ("client_name", json!("backend")),
        ("key_id", json!("tk_live_client01")),
        ("client_origin", json!("sdk_intercept")),
        ("authorized", json!(true)),
        ("rate_limited", json!(false)),
        ("signature_valid", json!(null)),
        ("error", json!(null)),
        ("attempts", json!(1)),
        ("request_bytes", json!(5)),
        ("response_bytes", json!(2)),
        ("ended_by", json!("upstream")),
        ("secrets_used", json!([])),
    ] {
        assert_eq!(record.0[field], value, "{field} in {}", record.0);
    }
    for id in ["tenant_id", "route_id", "matched_client_id"] {
        assert_eq!(record.text(id).map(str::len), Some(36), "{id}");
    }
    let [connect, first_byte, total] = ["connect_ms", "first_byte_ms", "latency_ms"]
        .map(|field| record.number(field).expect(field));
    assert!(
        connect <= first_byte && first_byte <= total,
        "{connect} {first_byte} {total}"
    );
    assert!(record.text("ts").is_some_and(|ts| ts.ends_with('Z')));
    assert!(record.0.get("country").is_none(), "there is no GeoIP yet");
}

#[test]
fn a_refused_request_is_recorded_with_its_reason() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address()).edit_route("echo", json!({"allowed_methods": ["GET"]})),
    );
    for (request, error, authorized) in [
        (Request::get("/").key(keys::UNKNOWN), "unauthorized", false),
        (Request::get("/").route("missing"), "route_not_found", false),
        (
            Request::get("/").host("evil.test"),
            "misdirected_request",
            false,
        ),
        (Request::post("/", "x"), "method_not_allowed", false),
        (Request::get("/.."), "invalid_path", false),
    ] {
        let response = gateway.send(&request);
        let record = gateway.record_of(&response);
        assert_eq!(record.text("error"), Some(error));
        assert_eq!(
            record.number("status_code"),
            Some(f64::from(response.status))
        );
        assert_eq!(record.text("ended_by"), Some("gateway"));
        assert_eq!(record.number("attempts"), Some(0.0));
        if error != "invalid_path" {
            assert_eq!(record.flag("authorized"), Some(authorized), "{error}");
        }
    }
    assert_eq!(gateway.records().len(), 5);
}

#[test]
fn every_request_has_exactly_one_record() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    let mut ids = std::collections::BTreeSet::new();
    let mut client = gateway.connect();
    for number in 0..200 {
        let request = match number % 4 {
            0 => Request::get("/"),
            1 => Request::post("/", "x"),
            2 => Request::get("/").route("missing"),
            _ => Request::get("/").key("x"),
        };
        client.send(request.bytes());
        let response = client.read();
        ids.insert(response.request_id());
        if !response.keeps_alive() {
            client = gateway.connect();
        }
    }
    drop(client);
    assert!(gateway.stop().success());
    let recorded: Vec<_> = gateway
        .records()
        .iter()
        .map(|record| record.text("request_id").unwrap().to_owned())
        .collect();
    assert_eq!(recorded.len(), 200);
    assert_eq!(
        recorded
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>(),
        ids
    );
}

#[test]
fn hostile_bytes_stay_inside_their_line() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let hostile = "\u{1b}[31m\u{9b}\u{202e}\"}\\u0000 <script>";
    let mut client = gateway.connect();
    let mut bytes = b"GET /a HTTP/1.1\r\nHost: gw.test\r\nx-knoxcall-route: echo\r\n".to_vec();
    bytes.extend(format!("x-knoxcall-key: {}\r\n", keys::LIVE).bytes());
    bytes.extend(b"User-Agent: \"}\t\\n \xff\xfe\r\nX-Request-Id: ");
    bytes.extend(hostile.replace('\u{1b}', "").bytes());
    bytes.extend(b"\r\n\r\n");
    client.send(bytes);
    let response = client.read();
    gateway.record_of(&response);
    let text = gateway.record_text();
    assert!(
        text.trim_end()
            .bytes()
            .all(|byte| byte >= b' ' || byte == b'\n')
    );
    assert!(!text.contains('\u{202e}') && !text.contains('\u{9b}'));
}

#[test]
fn credentials_in_records_are_masked() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route(
                "echo",
                json!({"inject_body": {"added": 1}, "environments": {}}),
            )
            .set(
                "/logging/requests/capture_headers",
                json!(["authorization", "cookie", "x-mine", "x-plain"]),
            )
            .set("/logging/requests/capture_body", json!(true))
            .set(
                "/logging/obfuscate",
                json!({
                    "headers": ["X-Mine"],
                    "query": ["pin"],
                    "json_paths": ["$.user.ssn", "$.cards[*].number"],
                    "patterns": ["\\b4[0-9]{15}\\b"],
                }),
            ),
    );
    let hidden = [
        "bearer-hidden",
        "cookie-hidden",
        "mine-hidden",
        "pin-hidden",
        "token-hidden",
        "ssn-hidden",
        "card-hidden",
        "4111111111111111",
    ];
    let response = gateway.send(
        &Request::new(
            "POST",
            "/p?pin=pin-hidden&access_token=token-hidden&q=shown-query&n=4111111111111111",
        )
        .header("Authorization", "Bearer bearer-hidden")
        .header("Cookie", "session=cookie-hidden")
        .header("X-Mine", "mine-hidden")
        .header("X-Plain", "shown-header")
        .json(&json!({
            "user": {"ssn": "ssn-hidden", "name": "shown-body"},
            "cards": [{"number": "card-hidden"}],
            "note": "4111111111111111",
        })),
    );
    response.assert_served();
    let record = gateway.record_of(&response).0.to_string();
    for value in hidden {
        assert!(!record.contains(value), "{value} in {record}");
    }
    for value in ["shown-query", "shown-header", "shown-body"] {
        assert!(record.contains(value), "{value} is not in {record}");
    }
}

#[test]
fn files_rotate_and_no_record_is_lost() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/logging/requests/rotate_bytes", json!(65_536))
            .set("/logging/requests/keep_files", json!(100)),
    );
    let mut client = gateway.connect();
    let agent = "a".repeat(4000);
    for number in 0..60 {
        client.send(
            Request::get(&format!("/{number}"))
                .header("user-agent", &agent)
                .bytes(),
        );
        client.read().assert_served();
    }
    drop(client);
    assert!(gateway.stop().success());
    let mut files = 0;
    let mut lines = 0;
    for entry in std::fs::read_dir(gateway.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("requests.jsonl")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            lines += text
                .lines()
                .filter(|line| !line.contains("/healthz"))
                .count();
            files += 1;
        }
    }
    assert_eq!(lines, 60);
    assert!(files > 2, "{files} files");
}

#[test]
fn a_log_that_cannot_be_written_never_fails_a_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address()).set("/logging/requests/path", json!("/dev/full")),
    );
    for _ in 0..10 {
        gateway.get("/").assert_served();
    }
    eventually("the errors to be counted", || {
        (gateway.metric("knoxcall_record_errors_total", &[]) > 0.0).then_some(())
    });
    gateway.get("/").assert_served();
}
