//! What every service of the process shares, and what outlives a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use knoxcall_counters::{Clock, Counters, Status};
use knoxcall_ledger::Ledger;

use crate::cutoff::Cutoff;
use crate::edge::buffered::Buffered;
use crate::edge::connections::Connections;
use crate::edge::websocket::WebSockets;
use crate::metrics::{Metrics, Sampled};
use crate::snapshot::Snapshot;
use crate::spans::Spans;
use crate::upstream::Upstreams;

pub struct Gateway {
    /// A request loads it once and keeps it to its end.
    pub snapshot: ArcSwap<Snapshot>,
    pub upstreams: Arc<Upstreams>,
    pub counters: Counters,
    pub clock: Clock,
    pub buffered: Arc<Buffered>,
    pub connections: Arc<Connections>,
    pub websockets: WebSockets,
    pub ledger: Ledger,
    pub metrics: Metrics,
    /// `None`: nobody asks for any.
    pub spans: Option<Spans>,
    /// Ends the connections that outlast the grace.
    pub cutoff: Arc<Cutoff>,
    stopping: AtomicBool,
    /// Another process serves in our place: traffic may go on coming.
    succeeded: AtomicBool,
    /// The last second, Unix time, whose signatures this process may judge
    /// without Redis.
    remembers_until: AtomicU64,
}

impl Gateway {
    pub fn new(
        snapshot: Snapshot,
        upstreams: Arc<Upstreams>,
        counters: Counters,
        ledger: Ledger,
        metrics: Metrics,
    ) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            upstreams,
            counters,
            clock: Clock::start(),
            buffered: Arc::default(),
            connections: Arc::default(),
            websockets: WebSockets::default(),
            ledger,
            metrics,
            spans: None,
            cutoff: Arc::default(),
            stopping: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
            remembers_until: AtomicU64::new(u64::MAX),
        }
    }

    pub fn with_spans(self, spans: Option<Spans>) -> Self {
        Self { spans, ..self }
    }

    /// From here on `/healthz` says 503 and every answer closes its connection.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// As [`Self::stop`], but `/healthz` stays: a successor serves.
    pub fn yield_place(&self) {
        self.succeeded.store(true, Ordering::Release);
        self.stop();
    }

    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// While two processes serve, no signature may be judged by both, or each
    /// would take it for its first: a successor refuses those of the second in
    /// which its memory begins, and of any before; later ones are refused here.
    pub fn remember_until_now(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = now.map_or(0, |since| since.as_secs());
        self.remembers_until.store(second, Ordering::Release);
    }

    /// There is no successor after all.
    pub fn keep_remembering(&self) {
        self.remembers_until.store(u64::MAX, Ordering::Release);
    }

    /// Of a signature dated so.
    pub fn may_judge(&self, signed_at: u64) -> bool {
        let shares = || self.snapshot.load().settings.counters.redis_url.is_some();
        signed_at <= self.remembers_until.load(Ordering::Acquire) || shares()
    }

    pub fn sample(&self) -> Sampled {
        let snapshot = self.snapshot.load();
        let records = self.ledger.stats();
        let counters = self.counters.status();
        Sampled {
            connections_open: self.connections.open(),
            buffered_bytes: self.buffered.bytes(),
            records_queued: records.queued,
            records_written: records.written,
            records_dropped: records.dropped,
            record_errors: records.errors,
            redis_up: redis_up(&counters),
            redis_fallbacks: counters.fallbacks_total,
            redis_round_trips: counters.lease_round_trips_total,
            nonces: counters.nonces,
            buckets: counters.buckets,
            bundle_age_seconds: snapshot.loaded_at.elapsed().as_secs(),
            routes: snapshot.routes,
            upstreams: self.upstreams.sums(Instant::now()),
            spans: self.spans.as_ref().map(Spans::stats).unwrap_or_default(),
        }
    }
}

/// `None` before anybody has asked Redis anything: the first request that needs
/// it makes the connection.
fn redis_up(status: &Status) -> Option<bool> {
    let asked = status.redis_up || status.redis_losses_total > 0;
    match status.redis_configured {
        true => asked.then_some(status.redis_up),
        false => Some(true),
    }
}
