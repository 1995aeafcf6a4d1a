//! The process's own log: human-readable on a terminal, JSON lines elsewhere,
//! always on standard error. Requests are not logged here but recorded by the
//! ledger.

use std::io::IsTerminal;

use knoxcall_bundle::settings::{LogFormat, LogLevel};
use tracing_log::LogTracer;
use tracing_subscriber::EnvFilter;

/// Libraries may warn, and no more: at `debug` Pingora prints whole requests,
/// injected credentials included.
const LIBRARIES: log::LevelFilter = log::LevelFilter::Warn;

/// `directives` as in `info` or `knoxcall=debug,warn`.
pub fn start(directives: &str, format: LogFormat) -> anyhow::Result<()> {
    LogTracer::builder().with_max_level(LIBRARIES).init()?;
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| anyhow::anyhow!("log level {directives:?}: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if is_json(format) {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())?;
    } else {
        tracing::subscriber::set_global_default(builder.with_target(false).finish())?;
    }
    Ok(())
}

pub fn directive(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn is_json(format: LogFormat) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    }
}
