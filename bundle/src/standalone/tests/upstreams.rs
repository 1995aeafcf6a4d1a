//! How routes reach their upstreams: identity, pools, protocol, time-outs.

use boring::asn1::Asn1Time;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::X509;

use super::*;
use crate::model::{Balance, ClientCertificate, HashKey, HealthProbe, RouteEnvironment};

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn key_pem(key: &PKey<Private>) -> String {
    String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

fn certificate(key: &PKey<Private>) -> String {
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    let (now, later) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&now.unwrap()).unwrap();
    builder.set_not_after(&later.unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

/// A route with a certificate and key from the secrets `c` and `k`.
fn identified(certificate: &str, key: &str) -> Setup {
    with(
        "secrets: [{name: c, from_file: c.pem}, {name: k, from_file: k.pem}]
routes:
  - slug: a
    target_base_url: https://x.example
    client_certificate: {certificate: c, key: '{{secret:k}}'}
",
    )
    .file("c.pem", certificate, 0o600)
    .file("k.pem", key, 0o600)
}

fn first_environment(setup: &Setup) -> RouteEnvironment {
    let loaded = setup.loaded();
    only_tenant(&loaded).routes[0].environments[0].clone()
}

/// What is told of a route with these settings.
fn told(settings: &str) -> String {
    let text = format!("routes: [{{slug: a, {settings}}}]\n");
    let report = with(&text).load();
    report.map_or_else(|report| report.to_string(), |_| String::new())
}

#[test]
fn a_client_certificate_comes_of_two_secrets_or_of_a_file_and_a_secret() {
    let key = key();
    let setup = identified(&certificate(&key), &key_pem(&key));
    let held = first_environment(&setup).upstream.client_certificate;
    let Some(ClientCertificate::Held(of_secrets)) = held else {
        panic!("{held:?}");
    };
    let text = "secrets: [{name: k, from_file: k.pem}]
routes:
  - slug: a
    target_base_url: https://x.example
    client_certificate: {certificate_file: c.pem, key: k}
";
    let setup = with(text).file("c.pem", &of_secrets.chain, 0o644).file(
        "k.pem",
        of_secrets.key.expose(),
        0o600,
    );
    let held = first_environment(&setup).upstream.client_certificate;
    let Some(ClientCertificate::Held(of_file)) = held else {
        panic!("{held:?}");
    };
    assert_eq!(of_file.key, of_secrets.key);
}

#[test]
fn refuses_a_pair_that_does_not_belong_together_or_cannot_be_read() {
    let (one, other) = (key(), key());
    let report = identified(&certificate(&one), &key_pem(&other)).report();
    assert!(
        report.contains("client_certificate.key: is not the key of the first certificate"),
        "{report}"
    );
    let report = identified("HUNTER2", "HUNTER3").report();
    assert!(
        report.contains("client_certificate.certificate: holds no certificates"),
        "{report}"
    );
    assert!(
        report.contains("client_certificate.key: holds no private key"),
        "{report}"
    );
    assert!(!report.contains("HUNTER"), "{report}");
}

#[test]
fn refuses_a_certificate_from_two_places_or_none_and_secrets_nobody_declared() {
    for field in ["key: k", "certificate: c, certificate_file: c.pem, key: k"] {
        let report = told(&format!(
            "target_base_url: 'https://x.example', client_certificate: {{{field}}}"
        ));
        assert!(
            report.contains("needs exactly one of certificate and certificate_file"),
            "{report}"
        );
        assert!(
            report.contains("client_certificate.key: names no declared secret"),
            "{report}"
        );
    }
}

#[test]
fn a_key_without_a_value_is_a_mistake_unless_its_secret_is_optional() {
    let key = key();
    let text = |optional: bool| {
        format!(
            "environments: [{{name: production}}, {{name: staging}}]
secrets: [{{name: k, optional: {optional}, environments: {{staging: {{from_file: k.pem}}}}}}]
routes:
  - slug: a
    target_base_url: https://x.example
    client_certificate: {{certificate_file: c.pem, key: k}}
"
        )
    };
    let setup = |optional| {
        with(&text(optional))
            .file("c.pem", &certificate(&key), 0o644)
            .file("k.pem", &key_pem(&key), 0o600)
    };
    let report = setup(false).report();
    assert!(
        report.contains("client_certificate.key: the secret has no value in `production`"),
        "{report}"
    );
    assert_eq!(
        first_environment(&setup(true)).upstream.client_certificate,
        Some(ClientCertificate::Unavailable)
    );
}

#[test]
fn targets_stand_in_the_place_of_a_base_url() {
    let setup = with(
        "routes:
  - slug: a
    targets: [{url: 'https://a.example/v1'}, {url: 'https://b.example:444/v1', weight: 3}]
    balance: consistent_hash
    hash_header: X-Session
    environments: {production: {target_base_url: 'https://c.example/v1'}, staging: {}}
environments: [{name: production}, {name: staging}]
",
    );
    let loaded = setup.loaded();
    let environments = &only_tenant(&loaded).routes[0].environments;
    let weights = |at: usize| -> Vec<u32> {
        let targets = environments[at].upstream.pool.targets.iter();
        targets.map(|target| target.weight.get()).collect()
    };
    assert_eq!(weights(0), [0; 0], "the environment's own stands for both");
    assert_eq!(weights(1), [1, 3]);
    assert_eq!(
        environments[1].upstream.pool.targets[0].target,
        environments[1].target
    );
    let hash = HashKey::Header(http::HeaderName::from_static("x-session"));
    assert_eq!(
        environments[1].upstream.pool.balance,
        Balance::ConsistentHash(hash)
    );
}

#[test]
fn refuses_targets_that_are_not_alike_or_twice_there() {
    let report = told("targets: [{url: 'https://a.example/v1'}, {url: 'http://a.example/v2'}]");
    assert!(
        report.contains("targets[1].url: has another scheme"),
        "{report}"
    );
    assert!(
        report.contains("targets[1].url: has another path"),
        "{report}"
    );
    let report = told("targets: [{url: 'https://a.example'}, {url: 'https://A.example:443/'}]");
    assert!(
        report.contains("targets[1].url: is listed twice"),
        "{report}"
    );
    let report =
        told("targets: [{url: 'https://a.example'}], target_base_url: 'https://b.example'");
    assert!(
        report.contains("targets: stands beside target_base_url"),
        "{report}"
    );
    let report = told("targets: [{url: 'http://169.254.169.254'}]");
    assert!(
        report.contains("targets[0].url: is a link-local"),
        "{report}"
    );
    let report = told("targets: [{url: 'http://127.0.0.1:8080'}]");
    assert!(
        report.contains("targets[0].url: is a listener of this gateway"),
        "{report}"
    );
}

#[test]
fn refuses_settings_of_a_pool_that_would_do_nothing() {
    let base = "target_base_url: 'https://a.example'";
    for (settings, expected) in [
        (
            "hash_header: x-a",
            "hash_header: has no effect without balance: consistent_hash",
        ),
        (
            "hash_header: x-a, balance: round_robin",
            "hash_header: has no effect without balance: consistent_hash",
        ),
        (
            "balance: least_connections, environments: {production: {hash_header: x-a}}",
            "environments.production.hash_header: has no effect without",
        ),
        (
            "balance: consistent_hash, hash_header: 'a b'",
            "hash_header: is not a header name",
        ),
        (
            "max_pending_per_target: 3",
            "max_pending_per_target: has no effect by itself",
        ),
        (
            "health_check: {type: tcp, path: /x}",
            "health_check.path: has no effect",
        ),
        (
            "health_check: {type: tcp, expected_status: [204]}",
            "health_check.expected_status: has no effect",
        ),
        (
            "health_check: {type: http, path: 'x y'}",
            "health_check.path: is not a path",
        ),
    ] {
        let report = told(&format!("{base}, {settings}"));
        assert!(report.contains(expected), "{settings}: {report}");
    }
}

#[test]
fn an_environment_may_balance_in_another_way_than_by_its_routes_header() {
    let route = "target_base_url: 'https://a.example', balance: consistent_hash, \
         hash_header: x-a, environments: {production: {balance: round_robin}}";
    assert_eq!(told(route), "");
}

#[test]
fn defaults_of_checks_ejection_and_time_outs() {
    let setup = with(
        "routes:
  - slug: a
    target_base_url: https://a.example
    read_timeout_ms: 7000
    max_connections_per_target: 9
    health_check: {type: http}
    ejection: {}
",
    );
    let upstream = first_environment(&setup).upstream;
    let check = upstream.pool.health_check.unwrap();
    let HealthProbe::Http { path, expected } = check.probe else {
        panic!("{check:?}");
    };
    assert_eq!((&*path, expected.len()), ("/", 0));
    assert_eq!(check.interval.as_secs(), 10);
    let ejection = upstream.pool.ejection.unwrap();
    assert_eq!(ejection.consecutive_failures.get(), 5);
    assert_eq!(*ejection.statuses, [502, 503, 504]);
    assert_eq!(upstream.pool.max_pending, 9);
    assert_eq!(upstream.timeouts.first_byte.as_secs(), 7);
    assert_eq!(upstream.timeouts.total, None);
}
