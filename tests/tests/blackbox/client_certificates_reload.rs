//! A connection outlives the configuration under which its client certificate
//! was verified: each request on it is judged by the one that holds now, and
//! what was a client then may be nobody.

use knoxcall_tests::{Authority, Config, Gateway, Request, TlsConnection, Upstream};
use serde_json::json;

const SPIFFE: &str = "spiffe://acme.test/backend";

/// A gateway that knows the client `backend` by its certificate, and a
/// connection that has shown it.
struct Site {
    upstream: Upstream,
    config: Config,
    gateway: Gateway,
    connection: TlsConnection,
    /// Its files are read again.
    _authority: Authority,
}

impl Site {
    fn new() -> Self {
        let upstream = Upstream::start();
        let authority = Authority::new();
        let (certificate, key) = authority.issue("DNS:gw.test");
        let config = Config::new(upstream.address())
            .listener(json!({"tls": {
                "certificates": [{"cert_file": certificate, "key_file": key}],
                "client_ca_file": authority.certificate(),
            }}))
            .edit_client("backend", json!({"certificates": [{"san_uri": SPIFFE}]}));
        let gateway = Gateway::start(&config);
        let (certificate, key) = authority.issue_caller("caller", &format!("URI:{SPIFFE}"), 2);
        let address = gateway.address();
        Self {
            connection: TlsConnection::open_as(address, "gw.test", &certificate, &key),
            upstream,
            config,
            gateway,
            _authority: authority,
        }
    }

    /// On the connection that stays open.
    fn status(&mut self) -> u16 {
        let request = Request::bare("GET", "/").route("echo");
        let head = self.connection.ask(&request);
        let words: Vec<&str> = head.split(' ').collect();
        words[1].parse().unwrap()
    }

    /// Served before the change and after it is taken back, and not between.
    #[track_caller]
    fn assert_unknown_under(&mut self, changed: &Config) {
        assert_eq!(self.status(), 200);
        self.gateway.rewrite_and_wait(changed);
        for _ in 0..2 {
            assert_eq!(self.status(), 401);
        }
        assert_eq!(self.upstream.requests().len(), 1);
        self.gateway.rewrite_and_wait(&self.config);
        assert_eq!(self.status(), 200);
    }
}

fn believing(config: &Config, authority: &Authority) -> Config {
    let file = json!(authority.certificate());
    config.clone().set("/listeners/0/tls/client_ca_file", file)
}

#[test]
fn an_authority_that_is_taken_away_vouches_no_more_on_open_connections_either() {
    let (mut site, other) = (Site::new(), Authority::new());
    let changed = believing(&site.config, &other);
    site.assert_unknown_under(&changed);
}

#[test]
fn a_listener_that_asks_for_no_certificates_any_more_believes_none() {
    let mut site = Site::new();
    let changed = site.config.clone();
    let changed = changed.set("/listeners/0/tls/client_auth", json!("none"));
    site.assert_unknown_under(&changed);
}

/// Its address would do for one that has shown no certificate.
#[test]
fn one_who_is_nobody_now_does_not_become_the_client_of_its_address() {
    let (mut site, other) = (Site::new(), Authority::new());
    let changed = believing(&site.config, &other);
    let changed = changed.edit_client("backend", json!({"ip_address": "127.0.0.1"}));
    site.assert_unknown_under(&changed);
}

#[test]
fn a_name_that_is_taken_from_the_client_is_nobodys_on_open_connections_either() {
    let mut site = Site::new();
    let other = json!({"certificates": [{"san_uri": "spiffe://acme.test/other"}]});
    let changed = site.config.clone().edit_client("backend", other);
    site.assert_unknown_under(&changed);
}
