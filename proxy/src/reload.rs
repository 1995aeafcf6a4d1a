//! A changed configuration, taken over without dropping a request: whole, or
//! not at all. Watches its files and SIGHUP. What was refused is tried again:
//! it may have named a file that is not among those of the configuration in
//! use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use knoxcall_bundle::Loaded;
use knoxcall_bundle::settings::Settings;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::Signal;
use tokio::sync::Mutex as AsyncMutex;

use crate::gateway::Gateway;
use crate::memory;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::upstream::resolve::SYSTEM_FILES;
use crate::watch::Watch;

const POLL: Duration = Duration::from_secs(1);
/// Of the time between two tries, a try takes no more than one in so many.
const REST: u32 = 10;

pub struct Reload {
    gateway: Arc<Gateway>,
    source: Source,
    watched: Mutex<Watched>,
    /// SIGHUP.
    hangup: AsyncMutex<Signal>,
}

struct Watched {
    /// The files of the configuration in use.
    watch: Watch,
    refused: Option<Refused>,
    /// What the system says of names.
    system: Watch,
    /// Out of use, but for requests that began with it.
    retired: Vec<Arc<Snapshot>>,
}

/// Why the files on disk are not the ones in use.
struct Refused {
    report: String,
    /// A large file takes seconds to read: it is not read all the time.
    again_at: Instant,
}

/// What makes a load: a refusal that is met again is told only where somebody
/// has done something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Asked,
    Changed,
    /// Refused before, and nothing that is watched has changed.
    Again,
}

impl Reload {
    /// `watch`: from before the configuration in use was read.
    pub fn new(gateway: Arc<Gateway>, source: Source, watch: Watch, hangup: Signal) -> Self {
        let watched = Watched {
            watch,
            refused: None,
            system: Watch::new(SYSTEM_FILES.map(PathBuf::from).into()),
            retired: Vec::new(),
        };
        Self {
            gateway,
            source,
            watched: Mutex::new(watched),
            hangup: AsyncMutex::new(hangup),
        }
    }

    /// Loads the files where one has changed, or where they were refused.
    fn poll(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bury(&mut watched) {
            memory::give_back();
        }
        if watched.system.has_changed() {
            self.gateway.upstreams.book.reread_system();
        }
        let may_try = |refused: &Refused| Instant::now() >= refused.again_at;
        let reason = match watched.watch.has_changed() {
            true => Reason::Changed,
            false if watched.refused.as_ref().is_some_and(may_try) => Reason::Again,
            false => return,
        };
        self.reload(&mut watched, reason);
    }

    fn forced(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.watch.has_changed();
        watched.system.has_changed();
        self.gateway.upstreams.book.reread_system();
        self.reload(&mut watched, Reason::Asked);
    }

    fn reload(&self, watched: &mut Watched, reason: Reason) {
        let began = Instant::now();
        match caught(|| self.load(watched.watch.clone())) {
            Ok((snapshot, watch)) => self.take_over(watched, snapshot, watch),
            Err(report) => self.refuse(watched, report, reason, began.elapsed()),
        }
        memory::give_back();
    }

    fn take_over(&self, watched: &mut Watched, mut snapshot: Snapshot, watch: Watch) {
        let routes = snapshot.routes;
        let per_minute = snapshot.settings.limits.unauthorized_per_minute;
        let unauthorized = self.gateway.counters.unauthorized();
        unauthorized.set_per_minute(per_minute.get());
        snapshot.keep_listeners(&self.gateway.snapshot.load());
        watched
            .retired
            .push(self.gateway.snapshot.swap(Arc::new(snapshot)));
        self.bury(watched);
        watched.watch = watch;
        watched.refused = None;
        self.gateway.metrics.reloads_applied.inc();
        self.gateway.metrics.config_valid.set(1);
        tracing::info!(routes, "configuration reloaded");
    }

    /// To take a snapshot of many routes apart takes a while: the request that
    /// is the last to have it must not be the one that does so.
    /// Says whether there was one.
    fn bury(&self, watched: &mut Watched) -> bool {
        let retired = &mut watched.retired;
        let before = retired.len();
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        let is_any = retired.len() < before;
        if is_any {
            self.gateway.upstreams.book.sweep();
        }
        is_any
    }

    fn refuse(&self, watched: &mut Watched, report: String, reason: Reason, took: Duration) {
        self.gateway.metrics.config_valid.set(0);
        let again_at = Instant::now() + took * REST;
        let before = watched.refused.replace(Refused {
            report: report.clone(),
            again_at,
        });
        let is_known = before.is_some_and(|before| before.report == report);
        if reason == Reason::Again && is_known {
            return;
        }
        self.gateway.metrics.reloads_refused.inc();
        tracing::error!("configuration refused, the old one stays:\n{report}");
    }

    fn load(&self, watch: Watch) -> Result<(Snapshot, Watch), String> {
        let loaded = self.source.load_under(watch);
        let (loaded, watch) = loaded.map_err(|error| error.to_string())?;
        refuse_fixed(&self.gateway.snapshot.load().settings, &loaded.settings)?;
        Ok((self.compile(loaded)?, watch))
    }

    fn compile(&self, loaded: Loaded) -> Result<Snapshot, String> {
        Snapshot::compile(loaded, &self.gateway.counters, &self.gateway.upstreams)
            .map_err(|error| error.to_string())
    }
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangup = self.hangup.lock().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => self.poll(),
                _ = hangup.recv() => self.forced(),
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// A panic is a defect of ours, and no reason to read no configuration ever
/// again.
fn caught<T>(load: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|_| Err("a defect of the gateway: reading it panicked".to_owned()))
}

/// What a running process cannot change. Refused as a whole, because a reload
/// that took the rest would serve what nobody wrote down.
fn refuse_fixed(old: &Settings, new: &Settings) -> Result<(), String> {
    let fixed = [
        ("listeners", !same_listeners(old, new)),
        ("admin", old.admin != new.admin),
        ("workers", old.workers != new.workers),
        ("counters", old.counters != new.counters),
        ("upstream", old.upstream != new.upstream),
        ("logging.level", old.logging.level != new.logging.level),
        ("logging.format", old.logging.format != new.logging.format),
        ("logging.requests", !same_sink(old, new)),
        ("tracing", old.tracing != new.tracing),
    ];
    let changed: Vec<&str> = fixed
        .iter()
        .filter_map(|(name, changed)| changed.then_some(*name))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} cannot change in a running process; `knoxcall serve --upgrade` starts another that \
         takes its place with them, and no request fails",
        changed.join(", ")
    ))
}

/// Sockets, and what they speak; certificates may change.
fn same_listeners(old: &Settings, new: &Settings) -> bool {
    old.listeners.len() == new.listeners.len()
        && std::iter::zip(&old.listeners, &new.listeners).all(|(old, new)| new.may_replace(old))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_loading_is_a_refusal() {
        // Without the panic hook, which another test counts by.
        let refused = caught::<()>(|| std::panic::resume_unwind(Box::new("s3cr3t")));
        let report = refused.unwrap_err();
        assert!(report.contains("panicked") && !report.contains("s3cr3t"));
        assert_eq!(caught(|| Ok(7)), Ok(7));
    }
}
