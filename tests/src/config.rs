//! The configuration of a gateway under test, as a document that tests edit.
//! It is written as JSON, which YAML contains. What a test does not say is an
//! ordinary small installation: one tenant, three environments, one key.

use std::net::SocketAddr;

use boring::sha::sha256;
use serde_json::{Value, json};

/// Keys that every configuration here knows.
pub mod keys {
    pub const LIVE: &str = "tk_live_test0001_9f2b4c6d8e0a1b3c5d7e9f0a2b4c6d8e0a1b3c5d7e9f";
    pub const TEST: &str = "tk_test_test0001_1a3c5e7f9b0d2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c0e";
    /// Belongs to the client `backend`, which has the signing secret.
    pub const CLIENT: &str = "tk_live_client01_0b1d3f5a7c9e1b3d5f7a9c0e1a3c5e7f9b0d2f4a6c8e";
    /// For the route `echo` in production and nothing else.
    pub const SCOPED: &str = "AKEscoped01_5d7e9f0a2b4c6d8e0a1b3c5d7e9f9f2b4c6d8e0a1b3c";
    pub const EXPIRED: &str = "tk_live_expired1_7c9e1b3d5f7a9c0e1a3c5e7f9b0d2f4a6c8e0b1d3f5a";
    pub const UNKNOWN: &str = "tk_live_nobody01_ffffffffffffffffffffffffffffffffffffffffffff";
}

/// Values that must never be seen but where they are meant to go.
pub const TOKEN: &str = "s3cr3t-token-Zk81+/=x";
pub const STAGING_TOKEN: &str = "s3cr3t-staging-Qm44";
pub const SIGNING_SECRET: &str = "s3cr3t-signing-Wd07";
pub const OLD_SIGNING_SECRET: &str = "s3cr3t-signing-old-Lp93";

#[derive(Clone, Debug)]
pub struct Config {
    document: Value,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Config {
    /// With the route `echo` to an upstream.
    pub fn new(upstream: SocketAddr) -> Self {
        let config = Self {
            document: skeleton(),
            environment: Vec::new(),
            arguments: Vec::new(),
        };
        config
            .secret("token", json!({"production": TOKEN, "staging": STAGING_TOKEN}))
            .secret("signing", json!({"production": SIGNING_SECRET, "staging": SIGNING_SECRET, "sandbox": SIGNING_SECRET}))
            .secret("signing_old", json!({"production": OLD_SIGNING_SECRET}))
            .key("main", keys::LIVE, json!({}))
            .key("sandbox", keys::TEST, json!({}))
            .key("of the client", keys::CLIENT, json!({"client": "backend"}))
            .key("scoped", keys::SCOPED, json!({"scopes": [{"route": "echo", "environment": "production"}]}))
            .key("expired", keys::EXPIRED, json!({"expires_at": "2020-01-01T00:00:00Z"}))
            .client(json!({
                "name": "backend",
                "signing_secrets": ["signing"],
                "assignments": [{"route": "echo"}],
            }))
            .route(json!({
                "name": "Echo",
                "slug": "echo",
                "target_base_url": format!("http://{upstream}"),
                "environments": {"staging": {}, "sandbox": {}},
            }))
    }

    /// Sets what a JSON pointer names, making objects on the way.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.document;
        for part in pointer.split('/').skip(1) {
            place = match place {
                Value::Array(items) => items.get_mut(part.parse::<usize>().unwrap()).unwrap(),
                _ => &mut place[part],
            };
        }
        *place = value;
        self
    }

    /// What the listener asks of connections; its address is the gateway's.
    pub fn listener(self, fields: Value) -> Self {
        self.set("/listeners", Value::Array(vec![fields]))
    }

    pub fn limit(self, name: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/limits/{name}"), value.into())
    }

    pub fn route(self, route: Value) -> Self {
        self.push("routes", route)
    }

    /// Adds fields to a route, by its slug.
    pub fn edit_route(mut self, slug: &str, fields: Value) -> Self {
        let routes = self.document["routes"].as_array_mut().unwrap();
        let route = routes
            .iter_mut()
            .find(|route| route["slug"] == slug)
            .expect("such a route");
        merge(route, fields);
        self
    }

    pub fn edit_client(mut self, name: &str, fields: Value) -> Self {
        let clients = self.document["clients"].as_array_mut().unwrap();
        let client = clients
            .iter_mut()
            .find(|client| client["name"] == name)
            .expect("such a client");
        merge(client, fields);
        self
    }

    pub fn edit_secret(mut self, name: &str, fields: Value) -> Self {
        let secrets = self.document["secrets"].as_array_mut().unwrap();
        let secret = secrets
            .iter_mut()
            .find(|secret| secret["name"] == name)
            .expect("such a secret");
        merge(secret, fields);
        self
    }

    pub fn client(self, client: Value) -> Self {
        self.push("clients", client)
    }

    /// A key is configured by what may be known of it: its id and its digest.
    pub fn key(self, name: &str, key: &str, fields: Value) -> Self {
        let id = key.rsplit_once('_').expect("KEYID_RANDOM").0;
        let mut entry =
            json!({"name": name, "key_id": id, "key_sha256": hex(&sha256(key.as_bytes()))});
        merge(&mut entry, fields);
        self.push("api_keys", entry)
    }

    /// A secret with a value for each of these environments, handed over in
    /// environment variables.
    pub fn secret(mut self, name: &str, values: Value) -> Self {
        let mut sources = json!({});
        for (environment, value) in values.as_object().unwrap() {
            let variable = format!("SECRET_{name}_{environment}").to_uppercase();
            self.environment
                .push((variable.clone(), value.as_str().unwrap().to_owned()));
            sources[environment] = json!({"from_env": variable});
        }
        self.secret_from(name, sources)
    }

    /// A secret with sources as the configuration writes them.
    pub fn secret_from(self, name: &str, sources: Value) -> Self {
        self.push("secrets", json!({"name": name, "environments": sources}))
    }

    /// The admin listener, where the test's own is not wanted.
    pub fn admin(self, address: &str) -> Self {
        self.set("/admin/address", json!(address))
    }

    pub fn variable(self, key: &str, values: Value) -> Self {
        self.push("variables", json!({"key": key, "environments": values}))
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.document.pointer(pointer).is_some()
    }

    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The file's text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.document).unwrap()
    }

    fn push(mut self, section: &str, entry: Value) -> Self {
        self.document[section].as_array_mut().unwrap().push(entry);
        self
    }
}

fn skeleton() -> Value {
    json!({
        "listeners": [],
        "tenant": {
            "slug": "acme",
            "base_domain": "knox.test",
            "subdomain_hash": "a1b2c3d4",
            "extra_hosts": ["gw.test"],
        },
        "environments": [
            {"name": "production"},
            {"name": "staging"},
            {"name": "sandbox", "sandbox": true},
        ],
        "secrets": [],
        "variables": [],
        "api_keys": [],
        "clients": [],
        "routes": [],
        // Refusals are what most tests are about; one test lowers this again.
        "limits": {"unauthorized_per_minute": 1_000_000},
        "logging": {"requests": {"path": "requests.jsonl", "flush_interval_ms": 20}},
    })
}

fn merge(into: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    for (name, value) in fields {
        into[name] = value;
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
