use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use knoxcall_bundle::settings::LogFormat;

use super::switch;
use crate::server::{self, Beginning};
use crate::source::{Overrides, Source};
use crate::upgrade::{Place, When};
use crate::{hardening, logging};

/// Run the gateway
///
/// SIGHUP, or a change of the configuration or of a file it names, reloads it.
/// SIGTERM drains: /healthz turns 503, the listeners close, running requests
/// finish. With --upgrade, a running process hands its listeners over, and no
/// request fails.
#[derive(Args)]
pub struct Serve {
    /// The configuration, in YAML
    #[arg(long, env = "KNOXCALL_CONFIG", value_name = "FILE")]
    config: PathBuf,

    /// Accept secrets written into the configuration (`value:`)
    #[arg(long, env = "KNOXCALL_ALLOW_INLINE_SECRETS", value_parser = switch)]
    allow_inline_secrets: bool,

    /// Where the configuration comes from
    #[arg(long, env = "KNOXCALL_DEPLOYMENT_MODE", value_enum, default_value_t = DeploymentMode::Standalone)]
    deployment_mode: DeploymentMode,

    /// What to log: off, error, warn, info, debug, trace, or directives such as
    /// `knoxcall=debug,warn` [default: the file's, info]
    #[arg(long, env = "KNOXCALL_LOG", value_name = "LEVEL")]
    log: Option<String>,

    /// How to log [default: the file's, human on a terminal, else json]
    #[arg(long, env = "KNOXCALL_LOG_FORMAT", value_enum)]
    log_format: Option<Format>,

    /// Take the place of the running process: check the configuration, take over
    /// its listening sockets, serve, and let it finish
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "now"
    )]
    upgrade: Option<When>,

    /// Where a running process waits for the one that takes its place [default:
    /// upgrade.sock in $RUNTIME_DIRECTORY, else knoxcall-upgrade.sock in
    /// $XDG_RUNTIME_DIR, else upgrade.sock in /run/knoxcall if that is there]
    #[arg(long, env = "KNOXCALL_UPGRADE_SOCKET", value_name = "PATH")]
    upgrade_socket: Option<PathBuf>,

    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeploymentMode {
    /// One YAML file, secrets from the environment or from files
    Standalone,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Auto,
    Human,
    Json,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source {
            file: self.config,
            allow_inline_secrets: self.allow_inline_secrets,
            overrides: self.overrides,
        };
        let since = Instant::now();
        let loaded = source.load()?;
        let configured = &loaded.settings.logging;
        let level = self
            .log
            .unwrap_or_else(|| logging::directive(configured.level).to_owned());
        logging::start(
            &level,
            self.log_format.map_or(configured.format, LogFormat::from),
        )?;
        if let Err(error) = hardening::forbid_dumps() {
            tracing::warn!(%error, "core dumps are not forbidden");
        }
        let beginning = Beginning {
            upgrade: self.upgrade,
            place: self
                .upgrade_socket
                .map(Place::asked_for)
                .or_else(Place::usual),
            since,
        };
        match self.deployment_mode {
            DeploymentMode::Standalone => server::run(source, loaded, beginning)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto => Self::Auto,
            Format::Human => Self::Human,
            Format::Json => Self::Json,
        }
    }
}
