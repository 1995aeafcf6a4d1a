//! One full run, with everything that can go wrong, and then a search of every
//! output for every secret value and key: as it is, and as it could be encoded.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use knoxcall_tests::config::{OLD_SIGNING_SECRET, SIGNING_SECRET, STAGING_TOKEN, TOKEN};
use knoxcall_tests::{
    Cli, Config, Gateway, Redis, Request, Response, Upstream, eventually, free_port, keys, signing,
};
use serde_json::json;

const INLINE: &str = "s3cr3t-inline-Tb62";
const BROKEN: &str = "s3cr3t-broken-Xy31\r\nX-Evil: 1";
const FILED: &str = "s3cr3t-filed-Hr58/=";
const REDIS_PASSWORD: &str = "s3cr3t-redis-Vn26";

const SECRETS: [&str; 8] = [
    TOKEN,
    STAGING_TOKEN,
    SIGNING_SECRET,
    OLD_SIGNING_SECRET,
    INLINE,
    "s3cr3t-broken-Xy31",
    FILED,
    REDIS_PASSWORD,
];
const KEYS: [&str; 6] = [
    keys::LIVE,
    keys::TEST,
    keys::CLIENT,
    keys::SCOPED,
    keys::EXPIRED,
    keys::UNKNOWN,
];

/// What was printed or sent, by where.
type Outputs = BTreeMap<&'static str, String>;

#[test]
fn no_output_of_a_full_run_holds_a_secret() {
    let upstream = upstream();
    let mut redis = Redis::start_with_password(REDIS_PASSWORD);
    let folder = tempfile::tempdir().unwrap();
    let config = config(&upstream, &redis, folder.path());
    let mut gateway = Gateway::start(&config);
    let mut outputs = Outputs::new();

    let mut answers: Vec<Response> = requests()
        .iter()
        .map(|request| gateway.send(request))
        .collect();
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert!(answers.iter().any(|answer| answer.status >= 500));
    assert_eq!(gateway.metric("knoxcall_redis_up", &[]), 1.0);
    assert_was_sent(
        &upstream,
        &[TOKEN, STAGING_TOKEN, INLINE, FILED, REDIS_PASSWORD],
    );

    redis.stop();
    answers.push(gateway.send(&signed(SIGNING_SECRET)));
    answers
        .last()
        .unwrap()
        .assert_refused(503, "dependency_unavailable");
    outputs.insert("answers", answers.iter().map(everything).collect());

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
    let upstreams = gateway.ask_admin("GET", "/upstreams");
    assert!(
        upstreams.text().contains("localhost"),
        "{}",
        upstreams.text()
    );
    outputs.insert("upstreams", everything(&upstreams));
    of_commands(&gateway, &config, &mut outputs);
    let status = gateway.stop();
    assert!(status.success(), "{status}");
    outputs.insert("records", gateway.record_text());
    outputs.insert("stdout", gateway.process().stdout());
    outputs.insert("stderr", gateway.process().stderr());
    assert!(gateway.records().len() >= answers.len());

    for (name, text) in &outputs {
        assert_holds_none(name, text, &SECRETS);
        assert_holds_none(name, text, &KEYS);
    }
}

#[test]
fn a_new_key_is_printed_once_and_nothing_else_of_worth() {
    for kind in ["live", "test", "access-key"] {
        let output = Cli::new(["keys", "new", "--kind", kind])
            .env("DEMO", TOKEN)
            .run();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        let key = output.stdout.lines().nth(1).expect("the key");
        assert_eq!(output.stdout.matches(key).count(), 1, "{}", output.stdout);
        let random = key.rsplit_once('_').expect("KEYID_RANDOM").1;
        assert_eq!(output.stdout.matches(random).count(), 1);
        assert_holds_none("keys new", &output.stdout, &SECRETS);
    }
}

/// It shows what a route injects, for that is what it is for; what the caller
/// proves itself by is not among it.
#[test]
fn the_demo_upstream_is_shown_no_key_and_no_signing_secret() {
    let upstream = upstream();
    let redis = Redis::start_with_password(REDIS_PASSWORD);
    let folder = tempfile::tempdir().unwrap();
    let demo = format!("127.0.0.1:{}", free_port());
    let shown = Cli::new(["demo-upstream", "--listen", &demo]).spawn();
    let url = format!("http://{demo}");
    let gateway = Gateway::start(
        &config(&upstream, &redis, folder.path())
            .edit_route("echo", json!({"target_base_url": url}))
            .edit_route("signed", json!({"target_base_url": url})),
    );
    eventually("the demo upstream", || {
        std::net::TcpStream::connect(&demo).ok()
    });
    // None in which the client itself writes a value: that would arrive.
    let requests = [
        Request::get("/"),
        Request::get("/").environment("staging"),
        Request::new("POST", "/").json(&json!({"mine": "{{secret:inline}}"})),
        Request::get("/").key(keys::SCOPED),
        Request::get("/")
            .key(keys::TEST)
            .header("X-Api-Key", keys::EXPIRED),
        Request::get("/").header("Authorization", &format!("Bearer {}", keys::TEST)),
        signed(SIGNING_SECRET),
        signed(OLD_SIGNING_SECRET),
    ];
    let answers: String = requests
        .iter()
        .map(|request| everything(&gateway.send(request)))
        .collect();
    assert!(answers.contains("\"upstream\":\"demo\""), "{answers}");
    assert_holds_none("answers", &answers, &SECRETS);
    assert_holds_none("answers", &answers, &KEYS);

    let shown = shown.stdout() + &shown.stderr();
    for injected in [TOKEN, INLINE, FILED] {
        assert!(shown.contains(injected), "{injected} never arrived");
    }
    assert_holds_none(
        "demo-upstream",
        &shown,
        &[SIGNING_SECRET, OLD_SIGNING_SECRET, REDIS_PASSWORD],
    );
    assert_holds_none("demo-upstream", &shown, &KEYS);
    for header in ["x-signature", "x-timestamp", "x-knoxcall-key"] {
        assert!(!shown.contains(header), "{header} in {shown}");
    }
}

fn upstream() -> Upstream {
    Upstream::scripted(|session| {
        while let Some(request) = session.request()? {
            match request.target.as_str() {
                "/hang" => return session.hang(),
                "/garbage" => return session.send("what?\r\n\r\n"),
                _ => session.answer("ok")?,
            }
        }
        Ok(())
    })
}

/// Where a value was never used, a search for it shows nothing.
#[track_caller]
fn assert_was_sent(upstream: &Upstream, values: &[&str]) {
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
    for value in values {
        assert!(sent.contains(value), "{value} was never sent");
    }
}

#[track_caller]
fn assert_holds_none(name: &str, text: &str, values: &[&str]) {
    for value in values {
        for form in forms(value) {
            assert!(
                !text.contains(&form),
                "{name} holds {value} as {form}:\n{text}"
            );
        }
    }
}

/// What the other commands say of the configuration that the gateway serves.
fn of_commands(gateway: &Gateway, config: &Config, outputs: &mut Outputs) {
    let file = "knoxcall.yaml";
    let inline = "--allow-inline-secrets";
    let by_key = |key: &str| format!("x-knoxcall-key: {key}");
    let mut run = |name: &'static str, arguments: &[&str]| {
        let output = Cli::new(arguments)
            .env_of(config)
            .current_dir(gateway.directory())
            .run();
        outputs.insert(name, output.stdout + &output.stderr);
        output.code
    };
    assert_eq!(run("config show", &["config", "show", file, inline]), 0);
    assert_eq!(run("config check", &["config", "check", file, inline]), 0);
    assert_eq!(run("config check alone", &["config", "check", file]), 2);
    for (name, route, key) in [
        ("explain", "echo", keys::LIVE),
        ("explain signed", "signed", keys::CLIENT),
        ("explain test", "echo", keys::TEST),
        ("explain expired", "echo", keys::EXPIRED),
        ("explain broken", "broken", keys::LIVE),
    ] {
        let route = format!("x-knoxcall-route: {route}");
        let request = ["--", "-H", &route, "-H", &by_key(key), "-d", "{}"];
        let command = ["explain", "--config", file, inline];
        let url = ["http://gw.test/"];
        run(name, &[command.as_slice(), &request, &url].concat());
    }
    let sign = ["sign", "--secret-env", "SECRET_SIGNING_PRODUCTION"];
    let v2 = [
        "--version=v2",
        "--host=gw.test",
        "--route-id=0192f0c1-2b3c-7d4e-8f50-617283940a1b",
        "--environment=production",
    ];
    let target = ["--target", "/", "--body", TOKEN];
    assert_eq!(run("sign", &[sign.as_slice(), &target].concat()), 0);
    assert_eq!(run("sign v2", &[sign.as_slice(), &target, &v2].concat()), 0);
    assert_eq!(run("help", &["serve", "--help"]), 0);

    let with_password = format!("redis://:{REDIS_PASSWORD}@127.0.0.1/0");
    let in_clear = config
        .clone()
        .set("/listeners", json!([{"address": "127.0.0.1:0"}]))
        .set("/counters", json!({"redis_url": with_password}));
    std::fs::write(gateway.directory().join("clear.yaml"), in_clear.text()).unwrap();
    for (name, action) in [("clear check", "check"), ("clear show", "show")] {
        assert_eq!(run(name, &["config", action, "clear.yaml", inline]), 2);
    }
}

fn config(upstream: &Upstream, redis: &Redis, folder: &Path) -> Config {
    let filed = folder.join("filed");
    std::fs::write(&filed, FILED).unwrap();
    std::fs::set_permissions(&filed, std::fs::Permissions::from_mode(0o600)).unwrap();
    Config::new(upstream.address())
        .set("/logging/level", json!("trace"))
        .set("/logging/requests/capture_headers", json!(["x-mine", "authorization", "x-token", "x-knoxcall-key"]))
        .set("/logging/requests/capture_body", json!(true))
        .set("/counters/redis_url_from_env", json!("REDIS_URL"))
        .env("REDIS_URL", &redis.url())
        .argument("--allow-inline-secrets")
        .secret_from("inline", json!({"production": {"value": INLINE}, "staging": {"value": INLINE}}))
        .secret_from("filed", json!({"production": {"from_file": filed}, "staging": {"from_file": filed}}))
        .secret("broken", json!({"production": BROKEN}))
        .edit_route(
            "echo",
            json!({
                "inject_headers": {
                    "X-Token": "{{secret:token}}",
                    "X-Inline": "{{secret:inline}}",
                    "X-Filed": "{{secret:filed}}",
                },
                "inject_body": {"token": "{{secret:token}}", "filed": "{{secret:filed}}"},
                "body_secrets": ["inline"],
                "read_timeout_ms": 300,
                "environments": {"staging": {}},
            }),
        )
        .edit_client("backend", json!({"assignments": [{}], "signing_secrets": ["signing", "signing_old"]}))
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

fn signed(secret: &str) -> Request {
    let now = signing::timestamp();
    Request::post("/", "x")
        .route("signed")
        .key(keys::CLIENT)
        .header("x-timestamp", &now.to_string())
        .header("x-signature", &signing::v1(secret, now, "POST", "/", b"x"))
}

fn requests() -> Vec<Request> {
    let json = |body| Request::new("POST", "/").json(&body);
    let signed_once = signed(SIGNING_SECRET);
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
        signed_once.clone(),
        signed_once,
        signed(OLD_SIGNING_SECRET),
        signed("wrong"),
        Request::get("/").key(keys::TEST),
        Request::get("/").key(keys::TEST).environment("sandbox"),
        Request::get("/").key(keys::EXPIRED),
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
        Request::get(&format!("/?q={}", percent(FILED))),
        // What only the gateway itself should know.
        Request::get(&format!("/?q={REDIS_PASSWORD}")).header("X-Mine", REDIS_PASSWORD),
        json(json!({"password of redis": [REDIS_PASSWORD]})),
        // A key where no key belongs.
        Request::get("/").header("Authorization", &format!("Bearer {}", keys::TEST)),
        Request::get("/").header("X-Api-Key", keys::EXPIRED),
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
