//! TLS to real servers: version, certificate and name are verified, always.

use boring::ssl::SslVersion;
use knoxcall_tests::{Authority, Config, Gateway, Nginx, Response, TlsUpstream, free_port};
use serde_json::{Value, json};

#[test]
fn a_certificate_for_the_name_from_a_trusted_authority_is_accepted() {
    let authority = Authority::new();
    let nginx = serve(&authority, "DNS:localhost");
    let response = ask(
        &nginx,
        "localhost",
        json!({"custom_ca_file": authority.certificate()}),
    );
    response.assert_served();
    assert!(
        response.text().contains("sni=localhost"),
        "{}",
        response.text()
    );
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let nginx = serve(&authority, "DNS:other.test");
    ask(
        &nginx,
        "localhost",
        json!({"custom_ca_file": authority.certificate()}),
    )
    .assert_refused(502, "upstream_tls");
}

#[test]
fn a_server_name_may_differ_from_the_targets_host() {
    let authority = Authority::new();
    let nginx = serve(&authority, "DNS:api.test");
    let trust = json!({"custom_ca_file": authority.certificate(), "server_name": "api.test"});
    let response = ask(&nginx, "127.0.0.1", trust);
    response.assert_served();
    assert!(
        response.text().contains("sni=api.test"),
        "{}",
        response.text()
    );
}

#[test]
fn an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let nginx = serve(&authority, "DNS:localhost");
    ask(&nginx, "localhost", json!({})).assert_refused(502, "upstream_tls");
    let stranger = Authority::new();
    ask(
        &nginx,
        "localhost",
        json!({"custom_ca_file": stranger.certificate()}),
    )
    .assert_refused(502, "upstream_tls");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue_expired("DNS:localhost");
    let nginx = Nginx::tls(&certificate, &key);
    let trust = json!({"custom_ca_file": authority.certificate()});
    ask(&nginx, "localhost", trust).assert_refused(502, "upstream_tls");
}

#[test]
fn a_certificate_that_vouches_for_itself_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let nginx = Nginx::tls(&stranger.certificate(), &stranger.key());
    let trust = json!({"custom_ca_file": authority.certificate()});
    ask(&nginx, "localhost", trust).assert_refused(502, "upstream_tls");
}

#[test]
fn an_address_is_not_verified_by_a_name_or_another_address() {
    let authority = Authority::new();
    for names in ["IP:127.0.0.2", "DNS:localhost", "DNS:*.0.0.1"] {
        let nginx = serve(&authority, names);
        let trust = json!({"custom_ca_file": authority.certificate()});
        let response = ask(&nginx, "127.0.0.1", trust);
        assert_eq!(response.status, 502, "{names}: {}", response.text());
        assert_eq!(response.error(), "upstream_tls");
    }
}

#[test]
fn a_server_that_does_not_speak_tls_is_refused() {
    let nginx = Nginx::plain();
    ask(&nginx, "localhost", json!({})).assert_refused(502, "upstream_tls");
}

#[test]
fn a_server_that_speaks_nothing_newer_than_tls_1_1_is_sent_nothing() {
    let authority = Authority::new();
    // The connector has ciphers of the old versions for these keys alone.
    let (certificate, key) = authority.issue_rsa("leaf", "DNS:localhost");
    let answer = |version| {
        let upstream = TlsUpstream::start_speaking(version, &certificate, &key);
        let route = json!({
            "target_base_url": upstream.url("localhost"),
            "custom_ca_file": authority.certificate(),
        });
        let config = Config::new(upstream.address()).edit_route("echo", route);
        let response = Gateway::start(&config).get("/");
        (response, upstream.asked().len())
    };
    for old in [SslVersion::TLS1, SslVersion::TLS1_1] {
        let (response, asked) = answer(old);
        response.assert_refused(502, "upstream_tls");
        assert_eq!(asked, 0, "{old:?}");
    }
    // Nothing else is wrong with it.
    for sound in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        answer(sound).0.assert_served();
    }
}

#[test]
fn a_route_that_trusts_less_does_not_borrow_a_verified_connection() {
    let authority = Authority::new();
    let nginx = serve(&authority, "DNS:localhost");
    let target = format!("https://localhost:{}", nginx.port());
    let gateway = Gateway::start(
        &Config::new(nginx.address())
            .edit_route(
                "echo",
                json!({"target_base_url": target, "custom_ca_file": authority.certificate()}),
            )
            .route(json!({"slug": "strict", "target_base_url": target})),
    );
    for _ in 0..2 {
        gateway.get("/").assert_served();
        gateway
            .send(&knoxcall_tests::Request::get("/").route("strict"))
            .assert_refused(502, "upstream_tls");
    }
}

#[test]
fn nobody_listening_is_not_a_tls_error() {
    let gateway = Gateway::start(&Config::new("127.0.0.1:1".parse().unwrap()).edit_route(
        "echo",
        json!({"target_base_url": format!("https://localhost:{}", free_port())}),
    ));
    gateway.get("/").assert_refused(502, "upstream_unreachable");
}

fn serve(authority: &Authority, names: &str) -> Nginx {
    let (certificate, key) = authority.issue(names);
    Nginx::tls(&certificate, &key)
}

fn ask(nginx: &Nginx, host: &str, fields: Value) -> Response {
    let target = format!("https://{host}:{}", nginx.port());
    let gateway = Gateway::start(
        &Config::new(nginx.address())
            .edit_route("echo", json!({"target_base_url": target}))
            .edit_route("echo", fields),
    );
    gateway.get("/")
}
