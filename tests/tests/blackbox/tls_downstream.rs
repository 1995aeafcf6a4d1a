//! TLS towards clients: which certificate they get, what is refused, sessions
//! that instances share, certificates that change while connections are open.

use std::path::{Path, PathBuf};

use knoxcall_tests::{
    Authority, Config, Dialled, Gateway, RawClient, Request, TlsConnection, Upstream, dial,
    eventually, free_port,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const HANDSHAKES: &str = "knoxcall_tls_handshakes_total";
const SHORT: u64 = 600;

fn pair((certificate, key): (PathBuf, PathBuf)) -> Value {
    json!({"cert_file": certificate, "key_file": key})
}

fn config(upstream: &Upstream, tls: Value) -> Config {
    Config::new(upstream.address()).listener(json!({ "tls": tls }))
}

fn ask(gateway: &Gateway, arguments: &[&str]) -> Dialled {
    dial(gateway.address(), arguments, &Request::get("/"))
}

fn handshakes(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(HANDSHAKES, &[("result", result)])
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let gateway = Gateway::start(&config(
        &upstream,
        json!({"certificates": [
            pair(authority.issue_as("first", "DNS:gw.test")),
            pair(authority.issue_as("wild", "DNS:*.wild.test,DNS:wild.test")),
            pair(authority.issue_as("exact", "DNS:a.wild.test")),
        ]}),
    ));
    for (name, certificate) in [
        ("gw.test", "first"),
        ("wild.test", "wild"),
        ("b.wild.test", "wild"),
        ("B.WILD.test", "wild"),
        ("a.wild.test", "exact"),
        ("x.b.wild.test", "first"),
        ("unknown.test", "first"),
    ] {
        let answer = ask(&gateway, &["-servername", name]);
        assert_eq!(answer.certificate(), certificate, "{name}");
        assert_eq!(answer.status(), 200, "{name}");
    }
    let nameless = ask(&gateway, &["-noservername"]);
    assert_eq!(nameless.certificate(), "first");
}

#[test]
fn a_client_gets_the_kind_of_key_that_it_knows() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let gateway = Gateway::start(&config(
        &upstream,
        json!({"certificates": [
            pair(authority.issue_as("ecdsa", "DNS:gw.test")),
            pair(authority.issue_rsa("rsa", "DNS:gw.test")),
        ]}),
    ));
    let ecdsa_only = ["-sigalgs", "ecdsa_secp256r1_sha256"];
    let rsa_only = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"];
    let old_rsa = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];
    assert_eq!(ask(&gateway, &[]).certificate(), "ecdsa");
    assert_eq!(ask(&gateway, &ecdsa_only).certificate(), "ecdsa");
    assert_eq!(ask(&gateway, &rsa_only).certificate(), "rsa");
    assert_eq!(ask(&gateway, &old_rsa).certificate(), "rsa");
}

#[test]
fn versions_before_the_floor_are_refused() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let weak = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let gateway = Gateway::start(&config(
        &upstream,
        json!({"certificates": [certificate.clone()]}),
    ));
    // The test's own look whether the port is open is a failed one too.
    let before = eventually("the look to be counted", || {
        Some(handshakes(&gateway, "failed")).filter(|failed| *failed >= 1.0)
    });
    assert!(!ask(&gateway, &weak).is_connected);
    eventually("the refusal to be counted", || {
        (handshakes(&gateway, "failed") > before).then_some(())
    });
    assert!(ask(&gateway, &["-tls1_2"]).is_connected);
    assert!(ask(&gateway, &["-tls1_3"]).is_connected);

    let strict = json!({"certificates": [certificate], "min_version": "1.3"});
    let strict = Gateway::start(&config(&upstream, strict));
    assert!(!ask(&strict, &["-tls1_2"]).is_connected);
    assert!(ask(&strict, &["-tls1_3"]).is_connected);
}

#[test]
fn a_request_over_tls_is_told_to_the_upstream_as_one() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let gateway = Gateway::start(&config(&upstream, json!({"certificates": [certificate]})));
    assert_eq!(ask(&gateway, &[]).status(), 200);
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn protocols_are_agreed_on_by_alpn() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let tls = json!({"certificates": [certificate]});
    let both = Gateway::start(&config(&upstream, tls.clone()));
    let only_one = Gateway::start(
        &Config::new(upstream.address()).listener(json!({"tls": tls, "http2": false})),
    );
    let agreed = |gateway: &Gateway, offered: &str| {
        let answer = ask(gateway, &["-alpn", offered]);
        let agreed = answer.text.split_once("ALPN protocol: ");
        agreed.map(|(_, rest)| rest.lines().next().unwrap().to_owned())
    };
    assert_eq!(agreed(&both, "http/1.1").as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&both, "http/1.1,h2").as_deref(), Some("h2"));
    assert_eq!(
        agreed(&only_one, "h2,http/1.1").as_deref(),
        Some("http/1.1")
    );
    assert_eq!(agreed(&only_one, "h2"), None);
}

#[test]
fn a_silent_handshake_is_cut_and_counted() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let gateway = Gateway::start(
        &config(&upstream, json!({"certificates": [certificate]}))
            .limit("tls_handshake_timeout_ms", SHORT),
    );
    let mut silent = gateway.connect();
    let mut begun = gateway.connect();
    begun.send(b"\x16\x03\x01\x02\x00\x01");
    eventually("both to be counted from the beginning", || {
        (gateway.metric("knoxcall_connections_open", &[]) >= 2.0).then_some(())
    });
    assert!(silent.is_closed());
    assert!(begun.is_closed());
    // A connection is closed a moment before it is counted.
    eventually("both to be counted as cut", || {
        let cut = handshakes(&gateway, "timeout");
        let open = gateway.metric("knoxcall_connections_open", &[]);
        (cut == 2.0 && open == 0.0).then_some(())
    });
}

#[test]
fn a_request_in_clear_is_closed_without_an_answer_in_clear() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let gateway = Gateway::start(&config(&upstream, json!({"certificates": [certificate]})));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let answer = client.read_to_end();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    upstream.assert_untouched();
}

#[test]
fn connections_over_the_limit_are_closed_before_their_handshake() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let gateway = Gateway::start(
        &config(&upstream, json!({"certificates": [certificate]}))
            .limit("max_connections_per_address", 1),
    );
    eventually("the probe of the start to be gone", || {
        (gateway.metric("knoxcall_connections_open", &[]) == 0.0).then_some(())
    });
    let mut held = TlsConnection::open(gateway.address(), "gw.test");
    assert!(held.ask(&Request::get("/")).starts_with("http/1.1 200"));
    let mut refused = RawClient::connect(gateway.address());
    assert!(refused.is_closed());
    assert!(held.ask(&Request::get("/")).starts_with("http/1.1 200"));
}

fn ticket_key(directory: &Path, name: &str, length: usize, fill: u8) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = directory.join(name);
    let material: Vec<u8> = (0..length).map(|n| fill ^ (n as u8)).collect();
    std::fs::write(&file, material).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// What a client keeps in order to go on later.
struct Session {
    directory: TempDir,
    version: &'static str,
}

impl Session {
    fn begin(gateway: &Gateway, version: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let session = Self { directory, version };
        let first = ask(gateway, &[version, "-sess_out", &session.file()]);
        assert!(first.is_connected && !first.is_resumed(), "{first:?}");
        session
    }

    fn goes_on(&self, gateway: &Gateway) -> bool {
        let again = ask(gateway, &[self.version, "-sess_in", &self.file()]);
        assert!(again.is_connected, "{again:?}");
        again.is_resumed()
    }

    fn file(&self) -> String {
        self.directory.path().join("session").display().to_string()
    }
}

/// Begins a session there, and tells whether it goes on here.
fn is_resumed(there: &Gateway, here: &Gateway, version: &'static str) -> bool {
    Session::begin(there, version).goes_on(here)
}

#[test]
fn a_session_goes_on_at_another_instance_with_the_same_key() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let keys = tempfile::tempdir().unwrap();
    let key = |name, length, fill| ticket_key(keys.path(), name, length, fill);
    let (old, new) = (key("old", 48, 1), key("new", 80, 2));
    let start = |keys: Value| {
        let tls = json!({"certificates": [certificate.clone()], "ticket_key_files": keys});
        Gateway::start(&config(&upstream, tls))
    };
    let before = start(json!([old]));
    let between = start(json!([old, new]));
    let after = start(json!([new, old]));
    let alone = start(json!([]));
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(is_resumed(&before, &before, version));
        assert!(is_resumed(&before, &after, version), "an older key");
        assert!(is_resumed(&after, &between, version), "a newer key");
        assert!(!is_resumed(&after, &before, version), "an unknown key");
        assert!(is_resumed(&alone, &alone, version));
        assert!(!is_resumed(&alone, &after, version));
    }
    assert!(handshakes(&between, "resumed") >= 2.0);
}

/// As an operator does it: the new key comes first, and the old one goes when
/// its sessions are over.
#[test]
fn ticket_keys_rotate_by_reloads_of_a_running_gateway() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let keys = tempfile::tempdir().unwrap();
    let old = ticket_key(keys.path(), "old", 48, 1);
    let new = ticket_key(keys.path(), "new", 48, 2);
    let with = |keys: Value| {
        let tls = json!({"certificates": [certificate.clone()], "ticket_key_files": keys});
        config(&upstream, tls)
    };
    let gateway = Gateway::start(&with(json!([old])));
    let begin = || ["-tls1_2", "-tls1_3"].map(|version| Session::begin(&gateway, version));
    let olds = begin();
    gateway.rewrite_and_wait(&with(json!([new, old])));
    let news = begin();
    for session in olds.iter().chain(&news) {
        assert!(session.goes_on(&gateway), "{}", session.version);
    }
    gateway.rewrite_and_wait(&with(json!([new])));
    for (old, new) in olds.iter().zip(&news) {
        assert!(!old.goes_on(&gateway), "{}", old.version);
        assert!(new.goes_on(&gateway), "{}", new.version);
    }
}

#[test]
fn a_session_outlives_the_reload_of_something_else() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let config = config(&upstream, json!({"certificates": [certificate]}));
    let gateway = Gateway::start(&config);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let session = file.to_str().unwrap();
    assert!(ask(&gateway, &["-sess_out", session]).is_connected);
    gateway.rewrite_and_wait(&config.limit("keepalive_timeout_ms", 50_000));
    assert!(ask(&gateway, &["-sess_in", session]).is_resumed());
}

#[test]
fn a_certificate_that_is_replaced_is_served_and_no_connection_is_lost() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let live = ["live.pem", "live.key"].map(|name| directory.path().join(name));
    let put = |issued: (PathBuf, PathBuf)| {
        let [certificate, key] = &live;
        std::fs::copy(&issued.0, certificate).unwrap();
        std::fs::copy(&issued.1, key).unwrap();
    };
    put(authority.issue_as("before", "DNS:gw.test"));
    let [certificate, key] = live.clone();
    let tls = json!({"certificates": [pair((certificate, key))]});
    let gateway = Gateway::start(&config(&upstream, tls));
    let mut open = TlsConnection::open(gateway.address(), "gw.test");
    assert_eq!(open.certificate(), "before");
    assert!(open.ask(&Request::get("/")).starts_with("http/1.1 200"));

    put(authority.issue_as("after", "DNS:gw.test"));
    eventually("the new certificate", || {
        (ask(&gateway, &[]).certificate() == "after").then_some(())
    });
    assert!(open.ask(&Request::get("/")).starts_with("http/1.1 200"));

    let refused = gateway.reloads("refused");
    let (other, _) = authority.issue_as("other", "DNS:gw.test");
    std::fs::copy(other, &live[0]).unwrap();
    eventually("a key of another certificate to be refused", || {
        (gateway.reloads("refused") > refused).then_some(())
    });
    assert_eq!(ask(&gateway, &[]).certificate(), "after");
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 0.0);
    assert!(open.ask(&Request::get("/")).starts_with("http/1.1 200"));
}

#[test]
fn a_reload_cannot_turn_tls_off() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let secure = config(&upstream, json!({"certificates": [certificate]}));
    let mut gateway = Gateway::start(&secure);
    gateway.rewrite(&Config::new(upstream.address()));
    eventually("the reload to be refused", || {
        (gateway.reloads("refused") > 0.0).then_some(())
    });
    eventually("the reason to be told", || {
        let told = gateway.process().stderr();
        told.contains("listeners cannot change").then_some(())
    });
    assert!(ask(&gateway, &[]).is_connected);
}

#[test]
fn another_address_by_a_flag_keeps_the_tls_of_the_file() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let certificate = pair(authority.issue("DNS:gw.test"));
    let moved = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let secure = config(&upstream, json!({"certificates": [certificate]}));
    let flags = ["--listen".to_owned(), moved.to_string()];
    let gateway = Gateway::spawn(
        &flags
            .iter()
            .fold(secure, |config, flag| config.argument(flag)),
    );
    eventually("the gateway to listen there", || {
        std::net::TcpStream::connect(moved).is_ok().then_some(())
    });
    assert!(dial(moved, &[], &Request::get("/")).is_connected);
    drop(gateway);
}
