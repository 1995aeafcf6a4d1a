//! Loading a configuration file, from the outside.

mod callers;
mod documents;
mod effective;
mod leak_guard;
mod listeners;
mod numbers;
mod process;
mod refusals;
mod responses;
mod routes;
mod secrets;
mod tracing;
mod upstreams;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::model::Tenant;

/// A folder with a configuration, and environment variables.
struct Setup {
    folder: TempDir,
    env: Vec<(&'static str, &'static str)>,
    inline: bool,
}

impl Setup {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self {
            folder,
            env: Vec::new(),
            inline: false,
        }
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    fn file(self, name: &str, content: &str, mode: u32) -> Self {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn with<T>(&self, run: impl FnOnce(&Path, &LoadOptions<'_>) -> T) -> T {
        let env = |name: &str| {
            let pair = self.env.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let options = LoadOptions {
            allow_inline_secrets: self.inline,
            env: &env,
        };
        run(&self.folder.path().join("config.yaml"), &options)
    }

    fn load(&self) -> Result<Loaded, Report> {
        self.with(load)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|report| panic!("{report}"))
    }

    /// The report without the folder's name.
    fn report(&self) -> String {
        let report = self.load().map(|_| ()).expect_err("a refusal").to_string();
        report.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn only_tenant(loaded: &Loaded) -> &Tenant {
    let [tenant] = loaded.bundle.tenants.as_slice() else {
        panic!("one tenant");
    };
    tenant
}

const HEAD: &str = "tenant: {slug: acme, extra_hosts: [gate.example]}\n";

/// A document that is sound but for `rest`.
fn with(rest: &str) -> Setup {
    Setup::new(&format!("{HEAD}{rest}"))
}

fn quickstart() -> Setup {
    let text = include_str!("../../../../conf/quickstart.yaml");
    Setup::new(text)
        .env("DEMO_TOKEN", "token-live")
        .env("DEMO_TOKEN_STAGING", "token-staging")
        .env("DEMO_SIGNING_SECRET", "signing-secret")
}
