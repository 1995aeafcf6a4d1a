use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use knoxcall_bundle::{KeyKind, NewKey};

/// Make API keys
#[derive(Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print a new key, once, and the lines to paste into the configuration
    ///
    /// The configuration holds the key's SHA-256 digest only: a lost key cannot
    /// be found again.
    New(New),
}

#[derive(Args)]
struct New {
    /// What the key is for
    #[arg(long, value_enum, default_value_t = Kind::Live)]
    kind: Kind,

    /// What people call the key
    #[arg(long, default_value = "new key")]
    name: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// `tk_live_…`
    Live,
    /// `tk_test_…`: valid in sandbox environments only
    Test,
    /// `AKE…`
    AccessKey,
}

impl Keys {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::New(new) => new.run(),
        }
    }
}

impl New {
    fn run(self) -> anyhow::Result<ExitCode> {
        let key = NewKey::generate(match self.kind {
            Kind::Live => KeyKind::Live,
            Kind::Test => KeyKind::Test,
            Kind::AccessKey => KeyKind::AccessKey,
        })?;
        println!("# The key, shown this once; send it as x-knoxcall-key:");
        println!("{}", key.text.expose());
        println!();
        println!("# For the configuration:");
        println!("api_keys:");
        println!("  - key_id: {}", key.id);
        println!("    name: {}", serde_json::Value::from(self.name));
        println!("    key_sha256: {}", key.digest);
        Ok(ExitCode::SUCCESS)
    }
}
