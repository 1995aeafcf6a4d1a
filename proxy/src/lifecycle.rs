//! Starting and stopping: signals, the drain, panics.
//!
//! SIGTERM and SIGINT: `/healthz` turns 503, `drain_delay` passes so that load
//! balancers see it, the listeners close, running requests finish within
//! `shutdown_grace`, what is left is cut off, the ledger is flushed. Pingora
//! would sleep the whole grace period in any case; here the process ends as soon
//! as nothing is left to do.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::gateway::Gateway;

/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Idle keep-alive connections are served one more request in this time, with
/// `Connection: close`, before the process leaves them.
const LINGER: Duration = Duration::from_secs(1);
/// For connections that are cut off to be dropped, and their requests recorded.
const CUT: Duration = Duration::from_secs(1);
/// Pingora must not end its runtimes while the drain is still at work.
pub const LONGEST_AFTER_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub enum Event {
    /// The listeners are about to close.
    Stopping,
    /// The server has returned by itself.
    Ended,
    /// A listening service, by its name, is gone although nobody stopped it.
    Died(String),
}

/// The signals of the process. Registered before anything is started: one that
/// comes earlier than its reader waits for it, instead of ending the process.
pub struct ProcessSignals {
    pub stop: StopSignals,
    /// SIGHUP.
    pub reload: Signal,
}

pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

pub struct Signals {
    gateway: Arc<Gateway>,
    events: Sender<Event>,
    signals: Mutex<StopSignals>,
}

impl ProcessSignals {
    pub fn register() -> std::io::Result<Self> {
        // Needed to register only; any other runtime reads what it registered.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _entered = runtime.enter();
        Ok(Self {
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
            },
            reload: signal(SignalKind::hangup())?,
        })
    }
}

impl Signals {
    pub fn new(gateway: Arc<Gateway>, events: Sender<Event>, signals: StopSignals) -> Self {
        Self {
            gateway,
            events,
            signals: Mutex::new(signals),
        }
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
        let mut signals = self.signals.lock().await;
        let StopSignals {
            terminate,
            interrupt,
            quit,
        } = &mut *signals;
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

/// Blocks the main thread until the process may end; an error says why it ends
/// although nobody stopped it.
pub fn wait(gateway: &Gateway, events: &Receiver<Event>) -> anyhow::Result<()> {
    match events.recv() {
        Ok(Event::Stopping) => drain(gateway, events),
        Ok(Event::Died(service)) => {
            anyhow::bail!("the service {service:?} has ended: nothing listens for it any more")
        }
        Ok(Event::Ended) | Err(_) => {}
    }
    Ok(())
}

fn drain(gateway: &Gateway, events: &Receiver<Event>) {
    let grace = gateway.snapshot.load().settings.limits.shutdown_grace;
    if ends_within(grace, events, |since| is_drained(gateway, since)) {
        return;
    }
    let requests = || gateway.metrics.requests_active.get();
    let (left, connections) = (requests(), gateway.connections.open());
    gateway.cutoff.cut();
    if left > 0 {
        tracing::warn!(
            requests = left,
            connections,
            "the grace period is over; requests are cut off"
        );
    }
    // Each request's record is made when its connection is dropped.
    if !ends_within(CUT, events, |_| requests() == 0) {
        tracing::error!(requests = requests(), "requests end without a record");
    }
}

/// Polls until it is so, or the server has ended by itself, or time is up.
fn ends_within(
    limit: Duration,
    events: &Receiver<Event>,
    is_so: impl Fn(Duration) -> bool,
) -> bool {
    let started = Instant::now();
    while !is_so(started.elapsed()) {
        if started.elapsed() >= limit {
            return false;
        }
        match events.recv_timeout(DRAIN_POLL) {
            Err(RecvTimeoutError::Timeout) | Ok(Event::Stopping | Event::Died(_)) => {}
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
    true
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
