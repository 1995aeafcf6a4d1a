use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{REFUSED, switch};
use crate::snapshot;
use crate::source::{Overrides, Source};

/// Check, describe or show a configuration
#[derive(Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Report every mistake at once, with path, line and remedy; exit code 2
    Check(File),
    /// Print the configuration in effect, defaults filled in, secrets redacted
    Show(File),
    /// Print the JSON Schema of the configuration
    Schema,
}

#[derive(Args)]
struct File {
    /// The configuration, in YAML
    #[arg(env = "KNOXCALL_CONFIG", value_name = "FILE")]
    file: PathBuf,

    /// Accept secrets written into the configuration (`value:`)
    #[arg(long, env = "KNOXCALL_ALLOW_INLINE_SECRETS", value_parser = switch)]
    allow_inline_secrets: bool,

    #[command(flatten)]
    overrides: Overrides,
}

impl Config {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Check(file) => file.check(),
            Action::Show(file) => file.show(),
            Action::Schema => print_json(&knoxcall_bundle::schema()),
        }
    }
}

impl File {
    fn source(self) -> Source {
        Source {
            file: self.file,
            allow_inline_secrets: self.allow_inline_secrets,
            overrides: self.overrides,
        }
    }

    fn check(self) -> anyhow::Result<ExitCode> {
        let source = self.source();
        let loaded = match source.load() {
            Ok(loaded) => loaded,
            Err(error) => return Ok(refused(&error)),
        };
        let routes: usize = loaded
            .bundle
            .tenants
            .iter()
            .map(|tenant| tenant.routes.len())
            .sum();
        if let Err(error) = snapshot::rehearse(loaded) {
            return Ok(refused(&error));
        }
        println!("{}: sound, {routes} routes", source.file.display());
        Ok(ExitCode::SUCCESS)
    }

    fn show(self) -> anyhow::Result<ExitCode> {
        match self.source().effective() {
            Ok(effective) => print_json(&effective),
            Err(error) => Ok(refused(&error)),
        }
    }
}

/// Without our name before it: each line begins with the file's.
fn refused(error: &impl Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(REFUSED)
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(ExitCode::SUCCESS)
}
