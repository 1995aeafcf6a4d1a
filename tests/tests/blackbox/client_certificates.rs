//! Client certificates as a caller's credential: mapped to a client by a name,
//! and otherwise the same 401 as any unknown caller's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use knoxcall_tests::{
    Authority, Config, Dialled, Gateway, Request, Upstream, dial, eventually, pause,
};
use serde_json::{Value, json};

const SPIFFE: &str = "URI:spiffe://acme.test/backend";

struct Site {
    upstream: Upstream,
    authority: Authority,
    config: Config,
    gateway: Gateway,
}

/// A gateway that believes the authority's certificates, and knows the client
/// `backend` by these names.
fn site(names: Value) -> Site {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:gw.test");
    let config = Config::new(upstream.address())
        .listener(json!({"tls": {
            "certificates": [{"cert_file": certificate, "key_file": key}],
            "client_ca_file": authority.certificate(),
        }}))
        .edit_client("backend", json!({ "certificates": names }));
    Site {
        gateway: Gateway::start(&config),
        upstream,
        authority,
        config,
    }
}

fn without_key() -> Request {
    Request::bare("GET", "/").route("echo")
}

impl Site {
    fn ask(&self, request: &Request, credential: Option<&(PathBuf, PathBuf)>) -> Dialled {
        self.ask_with(request, credential, &[])
    }

    fn ask_with(
        &self,
        request: &Request,
        credential: Option<&(PathBuf, PathBuf)>,
        more: &[&str],
    ) -> Dialled {
        let mut arguments: Vec<&str> = more.to_vec();
        if let Some((certificate, key)) = credential {
            arguments.extend(["-cert", text(certificate), "-key", text(key)]);
        }
        dial(self.gateway.address(), &arguments, request)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_certificate_with_a_mapped_name_is_the_client() {
    for (mapped, names) in [
        (json!({"san_uri": "spiffe://acme.test/backend"}), SPIFFE),
        (
            json!({"san_dns": "Backend.acme.test"}),
            "DNS:backend.acme.test",
        ),
        (
            json!({"san_email": "backend@acme.test"}),
            "email:backend@acme.test",
        ),
        (json!({"subject": "CN=caller"}), "DNS:other.test"),
    ] {
        let site = site(json!([mapped]));
        let credential = site.authority.issue_caller("caller", names, 2);
        let answer = site.ask(&without_key(), Some(&credential));
        assert_eq!(answer.status(), 200, "{mapped}: {answer:?}");
        let record = site.gateway.wait_for_records(1).remove(0);
        assert_eq!(record.text("client_name"), Some("backend"));
        assert_eq!(record.text("identification_method"), Some("certificate"));
        assert_eq!(site.upstream.requests().len(), 1);
    }
}

#[test]
fn a_certificate_that_is_nobodys_gets_the_401_of_any_unknown_caller() {
    let site = site(json!([{"san_uri": "spiffe://acme.test/backend"}]));
    let other = site
        .authority
        .issue_caller("other", "URI:spiffe://acme.test/other", 2);
    let mapped = site.authority.issue_caller("mapped", SPIFFE, 2);
    let unassigned = Request::bare("GET", "/").route("unknown");
    let nobody = opaque(&site.ask(&without_key(), None));
    assert!(nobody.starts_with("401 "), "{nobody}");
    for (request, credential) in [(without_key(), &other), (unassigned, &mapped)] {
        assert_eq!(opaque(&site.ask(&request, Some(credential))), nobody);
    }
    site.upstream.assert_untouched();
}

#[test]
fn a_key_that_is_presented_counts_and_the_certificate_does_not() {
    let site = site(json!([{"san_uri": "spiffe://acme.test/backend"}]));
    let mapped = site.authority.issue_caller("mapped", SPIFFE, 2);
    let other = site.authority.issue_caller("other", "DNS:other.test", 2);
    let bad_key = without_key().key(knoxcall_tests::keys::UNKNOWN);
    assert_eq!(site.ask(&bad_key, Some(&mapped)).status(), 401);
    assert_eq!(site.ask(&Request::get("/"), Some(&other)).status(), 200);
    assert_eq!(site.ask(&Request::get("/"), None).status(), 200);
}

#[test]
fn a_certificate_that_is_nobodys_never_falls_back_to_the_address() {
    let site = site(json!([]));
    let other = site.authority.issue_caller("other", SPIFFE, 2);
    let config = site.config.clone();
    let known_here = config.edit_client("backend", json!({"ip_address": "127.0.0.1"}));
    site.gateway.rewrite_and_wait(&known_here);
    assert_eq!(site.ask(&without_key(), None).status(), 200);
    let upgrade = Request::bare("GET", "/")
        .route("echo")
        .header("Upgrade", "websocket");
    for request in [without_key(), upgrade.header("Connection", "Upgrade")] {
        assert_eq!(site.ask(&request, Some(&other)).status(), 401);
    }
    assert_eq!(site.upstream.requests().len(), 1);
}

/// What was answered, but for what differs from answer to answer: the head and
/// the body's only line, behind which `openssl` says more of its own.
fn opaque(answer: &Dialled) -> String {
    let (_, answered) = answer.text.split_once("HTTP/1.1 ").expect("an answer");
    let mut lines = answered.lines();
    let head = lines.by_ref().take_while(|line| !line.is_empty());
    let differing = ["date:", "x-request-id:"];
    let mut told: Vec<_> = head
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            !differing.iter().any(|name| line.starts_with(name))
        })
        .collect();
    let (body, _) = lines.next().unwrap().split_once("\"request_id\"").unwrap();
    told.push(body);
    told.join("\n")
}

#[test]
fn a_certificate_that_does_not_verify_gets_the_same_401_and_so_does_its_session() {
    let site = site(json!([{"san_uri": "spiffe://acme.test/backend"}]));
    let expired = site.authority.issue_caller("expired", SPIFFE, 0);
    pause(Duration::from_millis(1_100));
    let stranger = Authority::new();
    let foreign = stranger.issue_caller("foreign", SPIFFE, 2);
    let server = site.authority.issue_as("server", SPIFFE);
    let self_signed = (stranger.certificate(), stranger.key());
    let nobody = opaque(&site.ask(&without_key(), None));
    let directory = tempfile::tempdir().unwrap();
    let session = directory.path().join("session");
    for credential in [&expired, &foreign, &server, &self_signed] {
        for version in ["-tls1_2", "-tls1_3"] {
            let begins = [version, "-sess_out", text(&session)];
            let begun = site.ask_with(&without_key(), Some(credential), &begins);
            assert_eq!(opaque(&begun), nobody);
            let resumes = [version, "-sess_in", text(&session)];
            let resumed = site.ask_with(&without_key(), None, &resumes);
            assert!(resumed.is_resumed(), "{resumed:?}");
            assert_eq!(opaque(&resumed), nobody);
        }
    }
    site.upstream.assert_untouched();
    let with_key = site.ask(&Request::get("/"), Some(&foreign));
    assert_eq!(with_key.status(), 200, "a key is a credential by itself");
}

#[test]
fn a_resumed_session_keeps_its_certificate_until_its_authority_is_gone() {
    let site = site(json!([{"san_uri": "spiffe://acme.test/backend"}]));
    let mapped = site.authority.issue_caller("mapped", SPIFFE, 2);
    let directory = tempfile::tempdir().unwrap();
    let session = directory.path().join("session");
    let begun = site.ask_with(
        &without_key(),
        Some(&mapped),
        &["-sess_out", text(&session)],
    );
    assert_eq!(begun.status(), 200);
    let resumed = site.ask_with(&without_key(), None, &["-sess_in", text(&session)]);
    assert!(resumed.is_resumed(), "{resumed:?}");
    assert_eq!(resumed.status(), 200);

    let successor = Authority::new();
    let certificate = json!(successor.certificate());
    let config = site.config.clone();
    site.gateway
        .rewrite_and_wait(&config.set("/listeners/0/tls/client_ca_file", certificate));
    eventually("the session to be unknown", || {
        let answer = site.ask_with(&without_key(), None, &["-sess_in", text(&session)]);
        (!answer.is_resumed() && answer.status() == 401).then_some(())
    });
}
