//! Starting and stopping: signals, the drain, panics.
//!
//! SIGTERM and SIGINT: `/healthz` turns 503, `drain_delay` passes so that load
//! balancers see it, the listeners close, running requests finish within
//! `shutdown_grace`, WebSockets say goodbye, what is left is cut off, the ledger is flushed. Pingora
//! would sleep the whole grace period in any case; here the process ends as soon
//! as nothing is left to do. A process that has been succeeded drains likewise,
//! but at once, and has more time for connections that are idle.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};

use crate::gateway::Gateway;
use crate::upgrade::Incumbent;

/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Idle keep-alive connections are served one more request in this time, with
/// `Connection: close`, before the process leaves them. After an upgrade nobody
/// waits for its end: then they have the whole grace.
const LINGER: Duration = Duration::from_secs(1);
/// For WebSockets to tell their ends why.
const GOODBYES: Duration = Duration::from_millis(1200);
/// For connections that are cut off to be dropped, and their requests recorded.
const CUT: Duration = Duration::from_secs(1);
/// Pingora must not end its runtimes while the drain is still at work: more
/// than any grace that a configuration may name, at the start or later.
pub const LONGER_THAN_ANY_GRACE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub enum Event {
    /// Connections are accepted.
    Listening,
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
    waiting: Mutex<Waiting>,
    given_up: Arc<Notify>,
}

/// What a running process waits for.
struct Waiting {
    signals: StopSignals,
    incumbent: Incumbent,
}

/// Why a running process ends.
enum Reason {
    Stopped,
    Succeeded,
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
    pub fn new(
        gateway: Arc<Gateway>,
        events: Sender<Event>,
        signals: StopSignals,
        incumbent: Incumbent,
    ) -> Self {
        Self {
            gateway,
            events,
            waiting: Mutex::new(Waiting { signals, incumbent }),
            given_up: Arc::default(),
        }
    }

    /// Stops the process as SIGTERM does.
    pub fn giving_up(&self) -> Arc<Notify> {
        self.given_up.clone()
    }

    async fn stop(&self) {
        self.gateway.stop();
        let delay = self.gateway.snapshot.load().settings.limits.drain_delay;
        tracing::info!(drain_delay = ?delay, "stopping");
        tokio::time::sleep(delay).await;
    }
}

impl Waiting {
    async fn wait(&mut self, given_up: &Notify) -> Reason {
        let StopSignals {
            terminate,
            interrupt,
            quit,
        } = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => Reason::Stopped,
            _ = interrupt.recv() => Reason::Stopped,
            () = given_up.notified() => Reason::Stopped,
            () = self.incumbent.succeeded(quit) => Reason::Succeeded,
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut waiting = self.waiting.lock().await;
        match waiting.wait(&self.given_up).await {
            Reason::Stopped => {
                self.stop().await;
                waiting.incumbent.close();
            }
            Reason::Succeeded => {
                self.gateway.yield_place();
                waiting.incumbent.leave();
            }
        }
        // Nobody listens any more only when the process is ending anyway.
        let _ = self.events.send(Event::Stopping);
        ShutdownSignal::GracefulTerminate
    }
}

/// Blocks the main thread until the process may end; an error says why it ends
/// although nobody stopped it. `on_listening` is called once, when connections
/// are accepted.
pub fn wait(
    gateway: &Gateway,
    events: &Receiver<Event>,
    on_listening: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut on_listening = Some(on_listening);
    loop {
        match events.recv() {
            Ok(Event::Listening) => {
                if let Some(tell) = on_listening.take() {
                    tell();
                }
            }
            Ok(Event::Stopping) => {
                drain(gateway, events);
                return Ok(());
            }
            Ok(Event::Died(service)) => {
                anyhow::bail!("the service {service:?} has ended: nothing listens for it any more")
            }
            Ok(Event::Ended) | Err(_) => return Ok(()),
        }
    }
}

fn drain(gateway: &Gateway, events: &Receiver<Event>) {
    let grace = gateway.snapshot.load().settings.limits.shutdown_grace;
    if ends_within(grace, events, |since| is_drained(gateway, since)) {
        return;
    }
    gateway.websockets.dismiss();
    ends_within(GOODBYES, events, |_| gateway.websockets.open() == 0);
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
            Err(RecvTimeoutError::Timeout)
            | Ok(Event::Listening | Event::Stopping | Event::Died(_)) => {}
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
    true
}

fn is_drained(gateway: &Gateway, since: Duration) -> bool {
    let connections = &gateway.connections;
    // In this order: whoever arrives is open before it has arrived.
    let nobody = !connections.expects_more() && connections.open() == 0;
    let no_requests = gateway.metrics.requests_active.get() == 0;
    no_requests && (nobody || since >= LINGER && !gateway.is_succeeded())
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
