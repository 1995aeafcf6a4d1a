//! What every service of the process shares, and what outlives a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use knoxcall_counters::{Clock, Counters, Status};
use knoxcall_ledger::Ledger;

use crate::cutoff::Cutoff;
use crate::edge::buffered::Buffered;
use crate::edge::connections::Connections;
use crate::metrics::{Metrics, Sampled};
use crate::snapshot::Snapshot;
use crate::upstream::Upstreams;

pub struct Gateway {
    /// A request loads it once and keeps it to its end.
    pub snapshot: ArcSwap<Snapshot>,
    pub upstreams: Arc<Upstreams>,
    pub counters: Counters,
    pub clock: Clock,
    pub buffered: Arc<Buffered>,
    pub connections: Arc<Connections>,
    pub ledger: Ledger,
    pub metrics: Metrics,
    /// Ends the connections that outlast the grace.
    pub cutoff: Arc<Cutoff>,
    stopping: AtomicBool,
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
            ledger,
            metrics,
            cutoff: Arc::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// From here on `/healthz` says 503 and every answer closes its connection.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn sample(&self) -> Sampled {
        let snapshot = self.snapshot.load();
        let records = self.ledger.stats();
        let counters = self.counters.status();
        Sampled {
            connections_open: self.connections.open(),
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
