//! One full run, with everything that can go wrong, and then a search of every
//! output for every secret value and key: as it is, and as it could be encoded.

use std::collections::BTreeMap;

use knoxcall_tests::config::{OLD_SIGNING_SECRET, SIGNING_SECRET, STAGING_TOKEN, TOKEN};
use knoxcall_tests::{
    Cli, Config, Gateway, Request, Response, Upstream, eventually, keys, signing,
};
use serde_json::json;

const INLINE: &str = "s3cr3t-inline-Tb62";
const BROKEN: &str = "s3cr3t-broken-Xy31\r\nX-Evil: 1";

#[test]
fn no_output_of_a_full_run_holds_a_secret() {
    let upstream = Upstream::scripted(|session| {
        while let Some(request) = session.request()? {
            match request.target.as_str() {
                "/hang" => return session.hang(),
                "/garbage" => return session.send("what?\r\n\r\n"),
                _ => session.answer("ok")?,
            }
        }
        Ok(())
    });
    let config = config(&upstream);
    let mut gateway = Gateway::start(&config);
    let mut outputs = BTreeMap::new();

    let answers: Vec<Response> = requests()
        .iter()
        .map(|request| gateway.send(request))
        .collect();
    outputs.insert("answers", answers.iter().map(everything).collect());
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert!(answers.iter().any(|answer| answer.status >= 500));
    let sent: String = upstream
        .requests()
        .iter()
        .map(|request| {
            format!(
                "{}{}",
                String::from_utf8_lossy(&request.head.raw),
                request.text()
            )
        })
        .collect();
    for expected in [TOKEN, STAGING_TOKEN, INLINE] {
        assert!(
            sent.contains(expected),
            "{expected} was never sent: this run shows nothing"
        );
    }

    gateway.rewrite(
        &config
            .clone()
            .edit_route("echo", json!({"inject_headers": {"x": "{{secret:tokn}}"}})),
    );
    eventually("the refused reload", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    gateway.rewrite_and_wait(&config);
    outputs.insert("metrics", gateway.metrics());
    outputs.insert("health", everything(&gateway.ask_admin("GET", "/healthz")));
    for (name, arguments) in [
        (
            "config show",
            ["config", "show", "knoxcall.yaml", "--allow-inline-secrets"].as_slice(),
        ),
        (
            "config check",
            &["config", "check", "knoxcall.yaml", "--allow-inline-secrets"],
        ),
        (
            "config check without the flag",
            &["config", "check", "knoxcall.yaml"],
        ),
        (
            "explain",
            &[
                "explain",
                "--config",
                "knoxcall.yaml",
                "--allow-inline-secrets",
                "--",
                "-H",
                "x-knoxcall-route: echo",
                "-H",
                &format!("x-knoxcall-key: {}", keys::LIVE),
                "-X",
                "POST",
                "-d",
                "{}",
                "http://gw.test/",
            ],
        ),
        ("help", &["serve", "--help"]),
    ] {
        let output = Cli::new(arguments)
            .env_of(&config)
            .current_dir(gateway.directory())
            .run();
        outputs.insert(name, output.stdout + &output.stderr);
    }
    let status = gateway.stop();
    assert!(status.success(), "{status}");
    outputs.insert("records", gateway.record_text());
    outputs.insert("stdout", gateway.process().stdout());
    outputs.insert("stderr", gateway.process().stderr());
    assert!(gateway.records().len() >= answers.len());

    for (name, text) in &outputs {
        for secret in [
            TOKEN,
            STAGING_TOKEN,
            SIGNING_SECRET,
            OLD_SIGNING_SECRET,
            INLINE,
            "s3cr3t-broken-Xy31",
        ] {
            for form in forms(secret) {
                assert!(
                    !text.contains(&form),
                    "{name} holds {secret} as {form}:\n{text}"
                );
            }
        }
        for key in [keys::LIVE, keys::CLIENT, keys::UNKNOWN, keys::SCOPED] {
            assert!(!text.contains(key), "{name} holds the key {key}:\n{text}");
        }
    }
}

fn config(upstream: &Upstream) -> Config {
    Config::new(upstream.address())
        .set("/logging/level", json!("trace"))
        .set("/logging/requests/capture_headers", json!(["x-mine", "authorization", "x-token", "x-knoxcall-key"]))
        .set("/logging/requests/capture_body", json!(true))
        .argument("--allow-inline-secrets")
        .set(
            "/secrets/2",
            json!({"name": "inline", "environments": {"production": {"value": INLINE}, "staging": {"value": INLINE}}}),
        )
        .secret("broken", json!({"production": BROKEN}))
        .edit_route(
            "echo",
            json!({
                "inject_headers": {"X-Token": "{{secret:token}}", "X-Inline": "{{secret:inline}}"},
                "inject_body": {"token": "{{secret:token}}"},
                "body_secrets": ["inline"],
                "read_timeout_ms": 300,
                "environments": {"staging": {}},
            }),
        )
        .edit_client("backend", json!({"assignments": [{}]}))
        .route(json!({"slug": "signed", "target_base_url": upstream.url(), "require_signature": true}))
        .route(json!({
            "slug": "broken", "target_base_url": upstream.url(),
            "inject_headers": {"x-a": "{{secret:broken | append: request_id}}"},
        }))
        .route(json!({
            "slug": "liquid", "target_base_url": upstream.url(),
            "inject_headers": {"x-a": "{% if client.name %}{{secret:token}}{% endif %}"},
        }))
        .route(json!({
            "slug": "nowhere", "target_base_url": "https://localhost:1", "inject_headers": {"x-a": "{{secret:token}}"},
        }))
}

fn requests() -> Vec<Request> {
    let json = |body| Request::new("POST", "/").json(&body);
    let now = signing::timestamp();
    let sign = |secret: &str| {
        Request::post("/", "x")
            .route("signed")
            .key(keys::CLIENT)
            .header("x-timestamp", &now.to_string())
            .header("x-signature", &signing::v1(secret, now, "POST", "/", b"x"))
    };
    vec![
        Request::get("/"),
        Request::get("/").environment("staging"),
        json(json!({"mine": "{{secret:inline}}"})),
        json(json!({"mine": "{{secret:token}}"})),
        json(json!([])),
        Request::get("/hang"),
        Request::get("/garbage"),
        Request::get("/").route("broken"),
        Request::get("/").route("liquid"),
        Request::get("/").route("nowhere"),
        Request::get("/").route("missing"),
        Request::get("/").key(keys::UNKNOWN),
        Request::get("/").key(keys::SCOPED).environment("staging"),
        Request::get("/").host("evil.test"),
        sign(SIGNING_SECRET),
        sign(SIGNING_SECRET),
        sign("wrong"),
        // A client that has learnt a value and sends it where it is logged.
        Request::get(&format!("/{}", percent(TOKEN)))
            .header("User-Agent", TOKEN)
            .header("X-Mine", STAGING_TOKEN),
        Request::get(&format!("/?q={}&x={SIGNING_SECRET}", percent(TOKEN))),
        Request::get("/")
            .header("X-Request-Id", INLINE)
            .header("Authorization", &format!("Bearer {TOKEN}")),
        json(json!({"echo": TOKEN, "more": [INLINE, SIGNING_SECRET]})),
        Request::get("/").route(TOKEN),
        Request::get("/").environment(STAGING_TOKEN),
        Request::new(SIGNING_SECRET, "/"),
        Request::get("/").host(&format!("{INLINE}.test")),
        Request::get("/").header("X-KnoxCall-Origin", SIGNING_SECRET),
    ]
}

fn everything(response: &Response) -> String {
    format!(
        "{}{}\n",
        String::from_utf8_lossy(&response.head.raw),
        response.text()
    )
}

/// The value, and what encoders make of it.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        percent(secret),
        percent(secret)
            .replace("%2B", "%2b")
            .replace("%2F", "%2f")
            .replace("%3D", "%3d"),
        boring::base64::encode_block(secret.as_bytes()),
        knoxcall_tests::config::hex(secret.as_bytes()),
        serde_json::to_string(secret)
            .unwrap()
            .trim_matches('"')
            .to_owned(),
    ];
    forms.dedup();
    forms
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
