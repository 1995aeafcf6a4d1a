//! What a real nginx sees of us: the route's own certificate, and never
//! another route's.

use knoxcall_tests::{Authority, Cli, Config, Gateway, Nginx, Request};
use serde_json::{Value, json};

/// An nginx that asks for certificates of the authority which made its own.
fn serve(authority: &Authority) -> Nginx {
    let (certificate, key) = authority.issue("DNS:localhost");
    Nginx::mutual_tls(&certificate, &key, &authority.certificate())
}

fn route(nginx: &Nginx, authority: &Authority, certificate: Value) -> Value {
    json!({
        "target_base_url": format!("https://localhost:{}", nginx.port()),
        "custom_ca_file": authority.certificate(),
        "client_certificate": certificate,
        "environments": {},
    })
}

/// With the secrets `NAME_certificate` and `NAME_key`, in production.
fn with_pair(config: Config, authority: &Authority, name: &str, serial: u32) -> Config {
    let (certificate, key) = authority.issue_client(name, serial);
    config
        .secret(
            &format!("{name}_certificate"),
            json!({"production": certificate}),
        )
        .secret(&format!("{name}_key"), json!({"production": key}))
}

fn of(name: &str) -> Value {
    json!({"certificate": format!("{name}_certificate"), "key": format!("{name}_key")})
}

fn c_and_k() -> Value {
    json!({"certificate": "c", "key": "k"})
}

#[test]
fn a_routes_certificate_is_shown_to_whoever_asks_for_one() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let config = with_pair(Config::new(nginx.address()), &authority, "alice", 7);
    let config = config.edit_route("echo", route(&nginx, &authority, of("alice")));
    let answer = Gateway::start(&config).get("/");
    answer.assert_served();
    assert!(
        answer.text().contains("client=CN=alice"),
        "{}",
        answer.text()
    );
}

#[test]
fn an_upstream_that_asks_for_a_certificate_and_gets_none_serves_nothing() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let mut plain = route(&nginx, &authority, Value::Null);
    plain.as_object_mut().unwrap().remove("client_certificate");
    let config = Config::new(nginx.address()).edit_route("echo", plain);
    let answer = Gateway::start(&config).get("/");
    assert_eq!(answer.status, 400, "{}", answer.text());
}

/// Pingora's own key of its pool knows certificates by their serial numbers.
#[test]
fn certificates_of_the_same_serial_number_never_share_a_connection() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let mut config = Config::new(nginx.address());
    for name in ["alice", "bob"] {
        config = with_pair(config, &authority, name, 7);
        let mut fields = route(&nginx, &authority, of(name));
        fields["slug"] = json!(name);
        config = config.route(fields);
    }
    let gateway = Gateway::start(&config);
    for _ in 0..3 {
        for name in ["alice", "bob"] {
            let answer = gateway.send(&Request::get("/").route(name));
            answer.assert_served();
            let seen = answer.text();
            assert!(
                seen.contains(&format!("client=CN={name}")),
                "{name}: {seen}"
            );
        }
    }
}

#[test]
fn a_route_without_a_certificate_does_not_borrow_anothers_connection() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let config = with_pair(Config::new(nginx.address()), &authority, "alice", 7);
    let mut bare = route(&nginx, &authority, Value::Null);
    bare["slug"] = json!("bare");
    bare.as_object_mut().unwrap().remove("client_certificate");
    let config = config
        .edit_route("echo", route(&nginx, &authority, of("alice")))
        .route(bare);
    let gateway = Gateway::start(&config);
    for _ in 0..2 {
        gateway.get("/").assert_served();
        let answer = gateway.send(&Request::get("/").route("bare"));
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
}

#[test]
fn environments_show_certificates_of_their_own() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let (live, live_key) = authority.issue_client("live", 7);
    let (test, test_key) = authority.issue_client("staging", 7);
    let config = Config::new(nginx.address())
        .secret("c", json!({"production": live, "staging": test}))
        .secret("k", json!({"production": live_key, "staging": test_key}))
        .edit_route("echo", route(&nginx, &authority, c_and_k()))
        .edit_route("echo", json!({"environments": {"staging": {}}}));
    let gateway = Gateway::start(&config);
    for _ in 0..2 {
        let seen = gateway.get("/").text();
        assert!(seen.contains("client=CN=live"), "{seen}");
        let seen = gateway
            .send(&Request::get("/").environment("staging"))
            .text();
        assert!(seen.contains("client=CN=staging"), "{seen}");
    }
}

#[test]
fn a_key_that_has_no_value_here_refuses_the_request() {
    let authority = Authority::new();
    let nginx = serve(&authority);
    let (certificate, key) = authority.issue_client("alice", 7);
    let config = Config::new(nginx.address())
        .secret(
            "c",
            json!({"production": certificate, "staging": certificate}),
        )
        .secret("k", json!({"production": key}))
        .edit_secret("k", json!({"optional": true}))
        .edit_route("echo", route(&nginx, &authority, c_and_k()))
        .edit_route("echo", json!({"environments": {"staging": {}}}));
    let gateway = Gateway::start(&config);
    gateway.get("/").assert_served();
    gateway
        .send(&Request::get("/").environment("staging"))
        .assert_refused(503, "secret_unavailable");
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_a_mistake_and_not_quoted() {
    let authority = Authority::new();
    let (certificate, _) = authority.issue_client("alice", 7);
    let (_, key) = authority.issue_client("bob", 8);
    let config = Config::new("127.0.0.1:1".parse().unwrap())
        .secret("c", json!({"production": certificate}))
        .secret("k", json!({"production": key}))
        .edit_route(
            "echo",
            json!({
                "target_base_url": "https://localhost",
                "environments": {},
                "client_certificate": {"certificate": "c", "key": "k"},
            }),
        );
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("knoxcall.yaml");
    std::fs::write(&file, config.text()).unwrap();
    let told = Cli::new(["config", "check"])
        .env_of(&config)
        .env("KNOXCALL_CONFIG", file.to_str().unwrap())
        .run();
    assert_eq!(told.code, 2);
    assert!(
        told.stderr
            .contains("client_certificate.key: is not the key of the first certificate"),
        "{}",
        told.stderr
    );
    assert!(!told.stderr.contains("BEGIN"), "{}", told.stderr);
}
