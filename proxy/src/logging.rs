//! The process's own log: human-readable on a terminal, JSON lines elsewhere,
//! always on standard error. Requests are not logged here but recorded by the
//! ledger.

use std::io::IsTerminal;

use anyhow::bail;
use knoxcall_bundle::settings::{LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_log::LogTracer;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

/// Libraries may warn, and no more, whatever is asked for: at `debug` Pingora
/// prints whole requests, injected credentials included.
const LIBRARIES: log::LevelFilter = log::LevelFilter::Warn;

/// What the targets of our own crates begin with.
const OURS: &str = "knoxcall";

/// `directives` as in `info` or `knoxcall=debug,warn`.
pub fn start(directives: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = filter(directives)?;
    LogTracer::builder().with_max_level(LIBRARIES).init()?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colours())
        .with_writer(std::io::stderr);
    if is_json(format) {
        let json = builder.json().flatten_event(true).finish();
        set_global_default(json.with(libraries()))?;
    } else {
        set_global_default(builder.with_target(false).finish().with(libraries()))?;
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

/// The parser would take a word that is no level for a target, and log nothing.
fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let parts = directives.split(',').map(str::trim);
    for part in parts {
        let level = match part.rsplit_once('=') {
            Some(("", _)) => None,
            Some((_, level)) => Some(level),
            None => Some(part),
        };
        if !level.is_some_and(is_level) {
            bail!(
                "log level {part:?}: write off, error, warn, info, debug or trace, or TARGET=LEVEL, several by comma"
            );
        }
    }
    EnvFilter::try_new(directives).map_err(|error| anyhow::anyhow!("log level: {error}"))
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
}

/// For those that use `tracing` themselves.
fn libraries() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        // It warns of what a peer sends, as often as the peer likes.
        .with_target("h2", LevelFilter::ERROR)
        .with_target(OURS, LevelFilter::TRACE)
}

fn is_json(format: LogFormat) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    }
}

/// See <https://no-color.org>.
fn has_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_and_directives() {
        for directives in [
            "info",
            "WARN",
            "off",
            "knoxcall=debug,warn",
            "a::b=trace, error",
        ] {
            assert!(filter(directives).is_ok(), "{directives}");
        }
    }

    #[test]
    fn refuses_words_that_are_no_level() {
        for directives in [
            "",
            "nonsense",
            "info,",
            "knoxcall=loud",
            "=info",
            "knoxcall=",
        ] {
            let refusal = filter(directives).unwrap_err().to_string();
            assert!(refusal.contains("debug"), "{directives:?}: {refusal}");
        }
    }
}
