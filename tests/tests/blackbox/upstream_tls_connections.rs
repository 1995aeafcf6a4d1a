//! Who shares a connection over TLS, as the upstream sees it: which connection
//! each request came on, and which certificate was shown there. And what
//! becomes of connections when a route's trust changes.

use std::collections::BTreeMap;

use knoxcall_tests::{Asked, Authority, Config, Gateway, Request, TlsUpstream, eventually};
use serde_json::{Value, json};

fn serve(authority: &Authority) -> TlsUpstream {
    let (certificate, key) = authority.issue("DNS:localhost");
    TlsUpstream::start(&certificate, &key)
}

/// One worker: another may come for a kept connection in the very moment in
/// which it is set free, and then opens one of its own.
fn config(upstream: &TlsUpstream) -> Config {
    Config::new(upstream.address()).set("/workers", json!(1))
}

/// Both certificates are trusted, whichever stands first.
fn bundle(name: &str, authorities: [&Authority; 2], folder: &tempfile::TempDir) -> Value {
    let text = authorities.map(|each| std::fs::read_to_string(each.certificate()).unwrap());
    let file = folder.path().join(name);
    std::fs::write(&file, text.concat()).unwrap();
    json!(file)
}

fn pair(name: &str) -> Value {
    json!({"certificate": format!("{name}_certificate"), "key": format!("{name}_key")})
}

/// Same address, same name: what differs is whom a route trusts, what it shows
/// and which environment it is in.
#[test]
fn routes_that_differ_in_anything_have_connections_of_their_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = serve(&authority);
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&upstream);
    // The same serial number in all of them.
    for (name, issuer) in [
        ("alice", &authority),
        ("bob", &authority),
        ("carol", &other),
    ] {
        let (certificate, key) = issuer.issue_client(name, 7);
        let everywhere = |value| json!({"production": value, "staging": value});
        config = config
            .secret(&format!("{name}_certificate"), everywhere(certificate))
            .secret(&format!("{name}_key"), everywhere(key));
    }
    let own = json!(authority.certificate());
    let both = bundle("both.pem", [&authority, &other], &folder);
    let turned = bundle("turned.pem", [&other, &authority], &folder);
    let routes = [
        ("plain", &own, Value::Null),
        ("trusts-more", &both, Value::Null),
        ("trusts-otherwise", &turned, Value::Null),
        ("alice", &own, pair("alice")),
        ("bob", &own, pair("bob")),
        ("carol", &own, pair("carol")),
        ("alice-trusts-more", &both, pair("alice")),
    ];
    for (slug, ca, certificate) in &routes {
        let mut route = json!({
            "slug": slug,
            "target_base_url": upstream.url("localhost"),
            "custom_ca_file": ca,
            "environments": {"staging": {}},
        });
        if !certificate.is_null() {
            route["client_certificate"] = certificate.clone();
        }
        config = config.route(route);
    }
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    for _ in 0..3 {
        for (slug, ..) in &routes {
            for environment in ["production", "staging"] {
                let target = format!("/{slug}/{environment}");
                let request = Request::get(&target).route(slug).environment(environment);
                client.send(request.bytes());
                client.read().assert_served();
            }
        }
    }

    let mut users: BTreeMap<usize, Vec<Asked>> = BTreeMap::new();
    for asked in upstream.asked() {
        assert_eq!(asked.server_name.as_deref(), Some("localhost"));
        let shown = match asked.target.split(['/', '-']).nth(1).unwrap() {
            name @ ("alice" | "bob" | "carol") => Some(name),
            _ => None,
        };
        assert_eq!(asked.certificate.as_deref(), shown, "{asked:?}");
        users.entry(asked.connection).or_default().push(asked);
    }
    for asked in users.values() {
        assert!(
            asked.iter().all(|each| each == &asked[0]),
            "a connection is shared: {asked:?}"
        );
    }
    // Each is kept all the same.
    assert_eq!(users.len(), 2 * routes.len());
}

fn trusting(upstream: &TlsUpstream, fields: Value) -> Config {
    let target = json!({"target_base_url": upstream.url("localhost"), "environments": {}});
    config(upstream)
        .edit_route("echo", target)
        .edit_route("echo", fields)
}

#[test]
fn an_authority_that_is_taken_away_is_believed_no_more_on_open_connections_either() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = serve(&authority);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::copy(authority.certificate(), &file).unwrap();
    let gateway = Gateway::start(&trusting(&upstream, json!({"custom_ca_file": file})));
    gateway.get("/").assert_served();
    gateway.get("/").assert_served();
    let asked = upstream.asked();
    assert_eq!(asked[0].connection, asked[1].connection, "it is kept");

    std::fs::copy(other.certificate(), &file).unwrap();
    eventually("the change to be seen", || {
        (gateway.get("/").status == 502).then_some(())
    });
    let before = upstream.asked();
    for _ in 0..3 {
        gateway.get("/").assert_refused(502, "upstream_tls");
    }
    assert_eq!(upstream.asked(), before);

    std::fs::copy(authority.certificate(), &file).unwrap();
    eventually("the change back to be seen", || {
        (gateway.get("/").status == 200).then_some(())
    });
}

#[test]
fn a_file_of_authorities_that_breaks_leaves_what_was() {
    let authority = Authority::new();
    let upstream = serve(&authority);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::copy(authority.certificate(), &file).unwrap();
    let gateway = Gateway::start(&trusting(&upstream, json!({"custom_ca_file": file})));
    std::fs::write(&file, "no certificate").unwrap();
    eventually("the refusal", || {
        (gateway.reloads("refused") > 0.0).then_some(())
    });
    gateway.get("/").assert_served();
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 0.0);
}

#[test]
fn a_client_certificate_that_is_replaced_is_shown_from_then_on() {
    let authority = Authority::new();
    let upstream = serve(&authority);
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| folder.path().join(name));
    // The certificate last: until then the pair does not fit, and is refused.
    let put = |name| {
        let (issued, issued_key) = authority.issue_client(name, 7);
        write_private(&key, &issued_key);
        write_private(&certificate, &issued);
    };
    put("before");
    let source = |file| json!({"production": {"from_file": file}});
    let shown = json!({
        "custom_ca_file": authority.certificate(),
        "client_certificate": {"certificate": "own_certificate", "key": "own_key"},
    });
    let config = trusting(&upstream, shown)
        .secret_from("own_certificate", source(&certificate))
        .secret_from("own_key", source(&key));
    let gateway = Gateway::start(&config);
    let certificate_of_next = || {
        gateway.get("/").assert_served();
        upstream.asked().pop().unwrap().certificate.unwrap()
    };
    assert_eq!(certificate_of_next(), "before");
    put("after");
    eventually("the new certificate", || {
        (certificate_of_next() == "after").then_some(())
    });
    assert_eq!(certificate_of_next(), "after");
}

fn write_private(file: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
