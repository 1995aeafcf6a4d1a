//! Listeners that ask something of connections: the PROXY protocol, TLS.

use boring::asn1::Asn1Time;
use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509, X509NameBuilder};

use super::*;
use crate::model::CertificateName;
use crate::settings::{ClientAuth, Listener, MOST_LISTENERS, TlsVersion};

fn ecdsa(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn pem(key: &PKey<Private>) -> String {
    String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

fn certificate(key: &PKey<Private>, names: &[&str]) -> String {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", "test").unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&to.unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    if !names.is_empty() {
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            alternatives.dns(name);
        }
        let extension = {
            let context = builder.x509v3_context(None, None);
            alternatives.build(&context).unwrap()
        };
        builder.append_extension(&extension).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

/// A listener with TLS by `one.pem` and `one.key`, and what `rest` adds.
fn secure(rest: &str) -> Setup {
    let key = ecdsa(Nid::X9_62_PRIME256V1);
    let text = format!(
        "listeners:\n  - address: 127.0.0.1:8443\n    tls:\n      certificates:\n        \
         - {{cert_file: one.pem, key_file: one.key}}\n{rest}"
    );
    with(&text)
        .file(
            "one.pem",
            &certificate(&key, &["A.test", "*.b.test"]),
            0o644,
        )
        .file("one.key", &pem(&key), 0o600)
}

fn only(setup: &Setup) -> Listener {
    let [listener] = &setup.loaded().settings.listeners[..] else {
        panic!("one listener");
    };
    listener.clone()
}

#[test]
fn a_plain_listener_speaks_both_versions_in_clear() {
    let listener = only(&with("listeners: [{address: 127.0.0.1:80}]\n"));
    assert_eq!(listener, Listener::plain("127.0.0.1:80".parse().unwrap()));
    assert!(listener.http2 && !listener.has_rules());
}

#[test]
fn refuses_more_listeners_than_an_upgrade_hands_over() {
    let listeners = |count: u16| {
        let entries = (1..=count).map(|port| format!("  - address: 127.0.0.1:{port}\n"));
        with(&format!("listeners:\n{}", entries.collect::<String>()))
    };
    let loaded = listeners(256).loaded();
    assert_eq!(loaded.settings.listeners.len(), MOST_LISTENERS);
    let report = listeners(257).report();
    assert!(
        report.contains("listeners: has 257 entries, of 256 at most"),
        "{report}"
    );
}

#[test]
fn tls_has_safe_defaults_and_the_names_of_its_certificates() {
    let tls = only(&secure("")).tls.unwrap();
    assert_eq!(tls.certificates[0].names, ["a.test", "*.b.test"]);
    assert_eq!(tls.min_version, TlsVersion::Tls12);
    assert_eq!(tls.client_auth, ClientAuth::None);
    assert_eq!(tls.ticket_keys, []);
}

#[test]
fn files_of_tls_are_watched() {
    let setup = secure("      client_ca_file: ca.pem\n      ticket_key_files: [t.key]\n")
        .file("ca.pem", &certificate(&ecdsa(Nid::SECP384R1), &[]), 0o644)
        .file("t.key", &"k".repeat(48), 0o600);
    let watched = setup.loaded().watched;
    for name in ["one.pem", "one.key", "ca.pem", "t.key"] {
        assert!(watched.contains(&setup.folder.path().join(name)), "{name}");
    }
    let tls = only(&setup).tls.unwrap();
    assert!(matches!(tls.client_auth, ClientAuth::Optional { .. }));
    assert_eq!(tls.ticket_keys.len(), 1);
}

#[test]
fn every_mistake_of_tls_is_told_at_its_place() {
    let other = pem(&ecdsa(Nid::X9_62_PRIME256V1));
    let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let nameless = ecdsa(Nid::X9_62_PRIME256V1);
    let setup = secure(
        "        - {cert_file: one.pem, key_file: other.key}\n        \
         - {cert_file: weak.pem, key_file: weak.key}\n        \
         - {cert_file: nameless.pem, key_file: nameless.key}\n        \
         - {cert_file: none.pem, key_file: open.key}\n        \
         - {cert_file: one.key, key_file: one.pem}\n      \
         client_auth: optional\n      ticket_key_files: [short.key, open.key]\n",
    )
    .file("other.key", &other, 0o600)
    .file("weak.pem", &certificate(&weak, &["w.test"]), 0o644)
    .file("weak.key", &pem(&weak), 0o600)
    .file("nameless.pem", &certificate(&nameless, &[]), 0o644)
    .file("nameless.key", &pem(&nameless), 0o600)
    .file("open.key", &other, 0o644)
    .file("short.key", &"k".repeat(47), 0o600);
    let report = setup.report();
    for told in [
        "certificates[1].key_file: is not the key of this certificate",
        "certificates[2].key_file: is an RSA key of 1024 bits",
        "certificates[3].cert_file: has no DNS name that a client could ask for",
        "certificates[4].cert_file: the file cannot be read",
        "certificates[4].key_file: others may use the file (mode 0644)",
        "certificates[5].cert_file: the file holds no certificates in PEM",
        "client_ca_file: is missing",
        "ticket_key_files[0]: the file holds neither 48 nor 80 bytes",
        "ticket_key_files[1]: others may use the file (mode 0644)",
    ] {
        assert!(
            report.contains(&format!("listeners[0].tls.{told}")),
            "{told}\n{report}"
        );
    }
    assert!(!report.contains("PRIVATE"), "{report}");
}

#[test]
fn refuses_a_key_that_is_none_and_a_list_without_certificates() {
    let setup = secure("").file("one.key", "no key", 0o600);
    let report = setup.report();
    assert!(
        report.contains("key_file: the file holds no private key in PEM"),
        "{report}"
    );
    let empty = with("listeners: [{address: 127.0.0.1:80, tls: {certificates: []}}]\n");
    let report = empty.report();
    assert!(report.contains("tls.certificates: is empty"), "{report}");
}

#[test]
fn the_proxy_protocol_wants_to_know_from_whom() {
    let from = |ranges: &str| {
        with(&format!(
            "listeners: [{{address: 127.0.0.1:80, proxy_protocol: {{from: {ranges}}}}}]\n"
        ))
    };
    let proxies = only(&from("[10.0.0.0/8, '::1']")).proxy_protocol.unwrap();
    assert_eq!(proxies.len(), 2);
    for (ranges, told) in [
        ("[]", "from: names nobody"),
        ("[0.0.0.0/0]", "from[0]: trusts every address"),
        (
            "[10.0.0.1/8]",
            "from[0]: the range has bits beyond its prefix",
        ),
    ] {
        let report = from(ranges).report();
        assert!(report.contains(told), "{report}");
    }
}

#[test]
fn what_is_in_effect_names_files_and_shows_none() {
    let setup = secure("      min_version: '1.3'\n");
    let shown = setup.with(|path, options| effective(path, options).unwrap());
    let listener = &shown["listeners"][0];
    assert_eq!(listener["http2"], true);
    assert_eq!(listener["tls"]["min_version"], "1.3");
    assert_eq!(listener["tls"]["client_auth"], "none");
    assert_eq!(listener["tls"]["certificates"][0]["key_file"], "one.key");
    assert!(!shown.to_string().contains("BEGIN"));
}

#[test]
fn certificates_may_change_in_a_running_process_and_protocols_may_not() {
    let before = only(&secure(""));
    let renewed = only(&secure(""));
    assert_ne!(before, renewed);
    assert!(renewed.may_replace(&before));
    let plain = Listener::plain(before.address);
    assert!(!plain.may_replace(&before) && !before.may_replace(&plain));
    let other = Listener {
        http2: false,
        ..before.clone()
    };
    assert!(!other.may_replace(&before));
    let other = Listener {
        proxy_protocol: Some(Vec::new()),
        ..before.clone()
    };
    assert!(!other.may_replace(&before));
}

fn clients(of_one: &str, of_other: &str) -> Setup {
    with(&format!(
        "routes: [{{slug: echo, target_base_url: 'https://api.example.com'}}]\n\
         clients:\n  \
         - {{name: one, assignments: [{{route: echo}}], certificates: {of_one}}}\n  \
         - {{name: other, assignments: [{{}}], certificates: {of_other}}}\n"
    ))
}

#[test]
fn a_client_may_have_names_of_certificates() {
    let names = "[{san_dns: B.test}, {san_uri: 'spiffe://x'}, {san_email: a@b}, {subject: CN=a}]";
    let loaded = clients(names, "[{san_dns: c.test}]").loaded();
    let client = &only_tenant(&loaded).clients[0];
    assert_eq!(
        client.certificates,
        [
            CertificateName::Dns("b.test".to_owned()),
            CertificateName::Uri("spiffe://x".to_owned()),
            CertificateName::Email("a@b".to_owned()),
            CertificateName::Subject("CN=a".to_owned()),
        ]
    );
}

#[test]
fn refuses_names_of_certificates_that_are_not_one_name_of_one_client() {
    for wrong in ["{}", "{san_dns: a, subject: CN=a}", "{san_uri: ''}"] {
        let report = clients(&format!("[{wrong}]"), "[]").report();
        assert!(
            report.contains("clients[0].certificates[0]: does not have exactly one name"),
            "{report}"
        );
    }
    let report = clients("[{san_dns: a.test}]", "[{san_dns: A.test}]").report();
    let told = "clients[1].certificates: is shared, on the same route, with clients[0]";
    assert!(report.contains(told), "{report}");
}

/// Two listeners with TLS by these lines each, and a client known by its
/// certificate.
fn two_listeners(one: &str, other: &str) -> Setup {
    let key = ecdsa(Nid::X9_62_PRIME256V1);
    let listener = |port, rest| {
        format!(
            "  - address: 127.0.0.1:{port}\n    tls: {{certificates: [{{cert_file: one.pem, \
             key_file: one.key}}], {rest}}}\n"
        )
    };
    let text = format!(
        "listeners:\n{}{}{}clients: [{{name: backend, certificates: [{{san_dns: backend.test}}], \
         assignments: [{{}}]}}]\n",
        "  - address: 127.0.0.1:8080\n",
        listener(8443, one),
        listener(8444, other)
    );
    let authority = certificate(&ecdsa(Nid::X9_62_PRIME256V1), &[]);
    with(&text)
        .file("one.pem", &certificate(&key, &["a.test"]), 0o644)
        .file("one.key", &pem(&key), 0o600)
        .file("partners.pem", &authority, 0o644)
        .file("internal.pem", &authority, 0o644)
}

#[test]
fn refuses_clients_by_certificate_where_listeners_believe_different_authorities() {
    let setup = two_listeners(
        "client_ca_file: partners.pem",
        "client_ca_file: internal.pem",
    );
    let report = setup.report();
    let told = "listeners[2].tls.client_ca_file: is another one than that of listeners[1]";
    assert!(report.contains(told), "{report}");
    assert!(report.contains("clients.certificates"), "{report}");
}

#[test]
fn listeners_that_believe_the_same_authorities_or_ask_for_nothing_know_clients() {
    let partners = "client_ca_file: partners.pem";
    for other in [
        partners,
        "min_version: \"1.3\"",
        "client_ca_file: internal.pem, client_auth: none",
    ] {
        two_listeners(partners, other).loaded();
    }
}
