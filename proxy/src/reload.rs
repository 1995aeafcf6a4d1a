//! A changed configuration, taken over without dropping a request: whole, or
//! not at all. Watches the files (their text, not their times, so that a
//! secret mounted by Kubernetes through symbolic links is seen) and SIGHUP.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use knoxcall_bundle::Loaded;
use knoxcall_bundle::settings::Settings;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;
use crate::snapshot::Snapshot;
use crate::source::Source;

const POLL: Duration = Duration::from_secs(1);

pub struct Reload {
    gateway: Arc<Gateway>,
    source: Source,
    watched: Mutex<Watched>,
}

/// The files of the configuration in use, and what they held.
struct Watched {
    files: Vec<PathBuf>,
    fingerprint: u64,
}

impl Reload {
    pub fn new(gateway: Arc<Gateway>, source: Source, files: Vec<PathBuf>) -> Self {
        let fingerprint = fingerprint(&files);
        Self {
            gateway,
            source,
            watched: Mutex::new(Watched { files, fingerprint }),
        }
    }

    /// Reads the files again; loads them where one has changed.
    fn poll(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fingerprint(&watched.files);
        if now == watched.fingerprint {
            return;
        }
        watched.fingerprint = now;
        self.reload(&mut watched);
    }

    fn forced(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.fingerprint = fingerprint(&watched.files);
        self.reload(&mut watched);
    }

    fn reload(&self, watched: &mut Watched) {
        let metrics = &self.gateway.metrics;
        match self.load() {
            Ok((snapshot, files)) => {
                let routes = snapshot.routes;
                self.gateway.snapshot.store(Arc::new(snapshot));
                self.gateway.upstreams.book.sweep();
                // Of the same files the one from before the load holds: what
                // was written meanwhile is then seen as a change.
                if files != watched.files {
                    watched.fingerprint = fingerprint(&files);
                    watched.files = files;
                }
                metrics.reloads_applied.inc();
                metrics.config_valid.set(1);
                tracing::info!(routes, "configuration reloaded");
            }
            Err(report) => {
                metrics.reloads_refused.inc();
                metrics.config_valid.set(0);
                tracing::error!("configuration refused, the old one stays:\n{report}");
            }
        }
    }

    fn load(&self) -> Result<(Snapshot, Vec<PathBuf>), String> {
        let loaded = self.source.load().map_err(|report| report.to_string())?;
        refuse_fixed(&self.gateway.snapshot.load().settings, &loaded.settings)?;
        let files = loaded.watched.clone();
        let snapshot = self.compile(loaded)?;
        Ok((snapshot, files))
    }

    fn compile(&self, loaded: Loaded) -> Result<Snapshot, String> {
        Snapshot::compile(loaded, &self.gateway.counters, &self.gateway.upstreams)
            .map_err(|error| error.to_string())
    }
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be watched; nothing will be reloaded");
            return;
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => self.poll(),
                _ = hangup.recv() => self.forced(),
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// What a running process cannot change. Refused as a whole, because a reload
/// that took the rest would serve what nobody wrote down.
fn refuse_fixed(old: &Settings, new: &Settings) -> Result<(), String> {
    let fixed = [
        ("listeners", old.listeners != new.listeners),
        ("admin", old.admin != new.admin),
        ("workers", old.workers != new.workers),
        ("counters", old.counters != new.counters),
        ("upstream", old.upstream != new.upstream),
        ("logging.level", old.logging.level != new.logging.level),
        ("logging.format", old.logging.format != new.logging.format),
        ("logging.requests", !same_sink(old, new)),
    ];
    let changed: Vec<&str> = fixed
        .iter()
        .filter_map(|(name, changed)| changed.then_some(*name))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} cannot change in a running process; restart it to change them",
        changed.join(", ")
    ))
}

/// Where records go is fixed, what is captured of a request is not.
fn same_sink(old: &Settings, new: &Settings) -> bool {
    let (old, new) = (&old.logging.requests, &new.logging.requests);
    old.output == new.output
        && old.rotate_bytes == new.rotate_bytes
        && old.keep_files == new.keep_files
        && old.queue == new.queue
        && old.flush_interval == new.flush_interval
}

/// Of names and texts; a file that cannot be read has a text of its own.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_text_changes_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join("a")];
        let absent = fingerprint(&files);
        std::fs::write(&files[0], "one").unwrap();
        let one = fingerprint(&files);
        std::fs::write(&files[0], "two").unwrap();
        let two = fingerprint(&files);
        assert!(absent != one && one != two);
        assert_eq!(two, fingerprint(&files));
    }
}
