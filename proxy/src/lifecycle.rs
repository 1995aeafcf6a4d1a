//! Starting and stopping: signals, the drain, panics.
//!
//! SIGTERM and SIGINT: `/healthz` turns 503, `drain_delay` passes so that load
//! balancers see it, the listeners close, running requests finish within
//! `shutdown_grace`, the ledger is flushed. Pingora would sleep the whole grace
//! period in any case; here the process ends as soon as nothing is left to do.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;

/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Idle keep-alive connections are served one more request in this time, with
/// `Connection: close`, before the process leaves them.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub enum Event {
    /// The listeners are about to close.
    Stopping,
    /// The server has returned by itself.
    Ended,
}

pub struct Signals {
    gateway: Arc<Gateway>,
    events: Sender<Event>,
}

impl Signals {
    pub fn new(gateway: Arc<Gateway>, events: Sender<Event>) -> Self {
        Self { gateway, events }
    }

    async fn stop(&self) -> ShutdownSignal {
        self.gateway.stop();
        let delay = self.gateway.snapshot.load().settings.limits.drain_delay;
        tracing::info!(drain_delay = ?delay, "stopping");
        tokio::time::sleep(delay).await;
        // Nobody listens any more only when the process is ending anyway.
        let _ = self.events.send(Event::Stopping);
        ShutdownSignal::GracefulTerminate
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let streams = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::quit()),
        );
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut quit)) = streams else {
            tracing::error!("signals cannot be watched; stopping");
            return self.stop().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return self.stop().await,
                _ = interrupt.recv() => return self.stop().await,
                // Pingora would stop without a successor that takes over.
                _ = quit.recv() => tracing::warn!("SIGQUIT ignored: nothing is there to take over; SIGTERM stops"),
            }
        }
    }
}

/// Blocks the main thread until the process may end.
pub fn wait(gateway: &Gateway, events: &Receiver<Event>) {
    match events.recv() {
        Ok(Event::Stopping) => drain(gateway, events),
        Ok(Event::Ended) | Err(_) => {}
    }
}

fn drain(gateway: &Gateway, events: &Receiver<Event>) {
    let started = Instant::now();
    let grace = gateway.snapshot.load().settings.limits.shutdown_grace;
    while started.elapsed() < grace && !is_drained(gateway, started.elapsed()) {
        match events.recv_timeout(DRAIN_POLL) {
            Err(RecvTimeoutError::Timeout) | Ok(Event::Stopping) => {}
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    let left = gateway.metrics.requests_active.get();
    if left > 0 {
        tracing::warn!(
            requests = left,
            "the grace period is over; requests are cut off"
        );
    }
}

fn is_drained(gateway: &Gateway, since: Duration) -> bool {
    let no_requests = gateway.metrics.requests_active.get() == 0;
    no_requests && (gateway.connections.open() == 0 || since >= LINGER)
}

/// Counts panics and logs where they happened. Not their message: it may hold
/// what a request brought.
pub fn watch_panics(gateway: &Arc<Gateway>) {
    let gateway = gateway.clone();
    std::panic::set_hook(Box::new(move |panic| {
        gateway.metrics.panics.inc();
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panic");
    }));
}
