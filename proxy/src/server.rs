//! Puts the process together: Pingora's server, its services, and the threads
//! that outlive them.
//!
//! Pingora's defaults are for a library, not for an edge; each that is changed
//! is changed here, with its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use anyhow::Context as _;
use knoxcall_bundle::Loaded;
use knoxcall_bundle::settings::{RequestLogOutput, Settings};
use knoxcall_counters::Counters;
use knoxcall_filters::Refusal;
use knoxcall_ledger::{Ledger, Sink};
use pingora::connectors::ConnectorOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::GenBackgroundService;
use pingora::services::listening::Service;

use crate::admin::{Admin, Few};
use crate::downstream::service::EdgeService;
use crate::edge::connection::Edge;
use crate::edge::connector::Connector;
use crate::edge::failure::MOST_TRIES;
use crate::gateway::Gateway;
use crate::lifecycle::{self, Event, LONGER_THAN_ANY_GRACE, ProcessSignals, Signals};
use crate::listening::{Bound, Listening, Sockets};
use crate::memory;
use crate::metrics::Metrics;
use crate::reload::Reload;
use crate::snapshot::{self, Snapshot};
use crate::source::Source;
use crate::spans::Spans;
use crate::upgrade::{Control, Incumbent, Place, Succession, When, notify};
use crate::upstream::Upstreams;
use crate::upstream::checks::Checks;
use crate::upstream::idle::{IdleConnections, Sweep};
use crate::watch::Watch;

/// How a process begins, beside its configuration.
pub struct Beginning {
    /// Takes the place of a running process.
    pub upgrade: Option<When>,
    /// Where this one waits for its successor; `None`: nowhere.
    pub place: Option<Place>,
    /// Before the configuration was read.
    pub since: Instant,
}

/// Blocks until the process may end.
pub fn run(source: Source, loaded: Loaded, beginning: Beginning) -> anyhow::Result<()> {
    match beginning.upgrade {
        None => {
            let signals = ProcessSignals::register().context("signals cannot be watched")?;
            let (loaded, watch) = source.settle(loaded, beginning.since)?;
            let sockets = Sockets::bind(&loaded.settings)?;
            let control = Control::open(beginning.place.as_ref())?;
            serve(source, (loaded, watch), signals, (sockets, control), None)
        }
        Some(when) => {
            let files = loaded.watched.clone();
            snapshot::rehearse(loaded)?;
            let mut succession = Succession::ask(beginning.place.as_ref(), when)?;
            // Not before: until here a signal ends the process.
            let signals = ProcessSignals::register().context("signals cannot be watched")?;
            // Again: it may have waited for long.
            let (loaded, watch) = source.load_under(Watch::new(files))?;
            let inherited = std::mem::take(&mut succession.sockets);
            let sockets = Sockets::adopt(&loaded.settings, inherited)?;
            let control = succession.control.take();
            serve(
                source,
                (loaded, watch),
                signals,
                (sockets, control),
                Some(succession),
            )
        }
    }
}

fn serve(
    source: Source,
    (loaded, watch): (Loaded, Watch),
    signals: ProcessSignals,
    (sockets, control): (Sockets, Option<Control>),
    succession: Option<Succession>,
) -> anyhow::Result<()> {
    let settings = loaded.settings.clone();
    let gateway = Arc::new(assemble(loaded, sockets.addresses())?);
    memory::give_back();
    lifecycle::watch_panics(&gateway);
    announce(&gateway, &settings, &sockets);

    let shared = sockets.shared().context("sockets cannot be shared")?;
    let incumbent = Incumbent::new(gateway.clone(), control, shared);
    let (events, ended) = mpsc::channel();
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    let conf = server.configuration.clone();
    let idle = Arc::new(IdleConnections::new(
        settings.upstream.pool_size,
        settings.workers.get(),
    ));
    let connector = Connector::new(ConnectorOptions::from_server_conf(&conf), idle.clone());
    server.add_service(edge_service(&gateway, connector, sockets.edge, &events));
    if let Some(socket) = sockets.admin {
        server.add_service(admin_service(&gateway, socket, &events));
    }
    let reload = Reload::new(gateway.clone(), source, watch, signals.reload);
    server.add_service(reload_service(reload));
    server.add_service(checks_service(&gateway));
    server.add_service(sweep_service(idle));

    let stop = Signals::new(gateway.clone(), events.clone(), signals.stop, incumbent);
    let given_up = stop.giving_up();
    start(server, stop, events)?;
    let mut refused = None;
    let outcome = lifecycle::wait(&gateway, &ended, || {
        if let Err(error) = tell(succession) {
            refused = Some(error);
            given_up.notify_one();
        }
    });
    gateway.ledger.close();
    if let Some(spans) = &gateway.spans {
        spans.close();
    }
    outcome?;
    if let Some(error) = refused {
        return Err(error);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Says that we serve: to the process before, then to systemd, and lets the
/// former go.
fn tell(succession: Option<Succession>) -> anyhow::Result<()> {
    if let Some(succession) = &succession {
        succession.serve()?;
    }
    notify::serving();
    Ok(())
}

/// On a thread of its own: when it is time to end is not Pingora's to say.
fn start(server: Server, signals: Signals, events: Sender<Event>) -> anyhow::Result<()> {
    let serve = move || {
        server.run(RunArgs {
            shutdown_signal: Box::new(signals),
        });
        let _ = events.send(Event::Ended);
    };
    std::thread::Builder::new()
        .name("server".to_owned())
        .spawn(serve)
        .context("the server's thread cannot be started")?;
    Ok(())
}

fn assemble(loaded: Loaded, own_listeners: Vec<SocketAddr>) -> anyhow::Result<Gateway> {
    let settings = loaded.settings.clone();
    let patience = settings.counters.redis_timeout;
    let counters =
        Counters::with_redis_patience(counters_config(&settings), patience).context("counters")?;
    let upstreams = Arc::new(Upstreams::new(own_listeners, &settings.upstream));
    let ledger = Ledger::start(ledger_config(&settings)).context("logging.requests")?;
    let snapshot = Snapshot::compile(loaded, &counters, &upstreams)?;
    let metrics = Metrics::new(Refusal::all_examples().iter().map(Refusal::code))?;
    metrics.config_valid.set(1);
    let spans = settings.tracing.as_ref().map(Spans::start);
    let spans = spans.transpose().context("tracing")?;
    let gateway = Gateway::new(snapshot, upstreams, counters, ledger, metrics);
    Ok(gateway.with_spans(spans))
}

fn server_conf(settings: &Settings) -> ServerConf {
    let workers = settings.workers.get();
    ServerConf {
        threads: workers,
        // With one worker, stealing only makes some connections wait: at 1,000
        // busy ones p99 was 310 ms with it and 113 without.
        work_stealing: workers > 1,
        // Pingora keeps 128 for the whole process.
        upstream_keepalive_pool_size: settings.upstream.pool_size,
        max_retries: MOST_TRIES as usize,
        // The process ends by itself as soon as it is drained; see `lifecycle`.
        grace_period_seconds: Some(LONGER_THAN_ANY_GRACE.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn edge_service(
    gateway: &Arc<Gateway>,
    connector: Connector,
    sockets: Vec<Bound>,
    events: &Sender<Event>,
) -> EdgeService {
    let edge = Edge::new(gateway.clone(), connector);
    EdgeService::new(gateway.clone(), edge, sockets, events.clone())
}

fn admin_service(
    gateway: &Arc<Gateway>,
    socket: Bound,
    events: &Sender<Event>,
) -> Listening<Few<Admin>> {
    let admin = Few::new(Admin::new(gateway.clone()));
    let mut service = Service::new("admin".to_owned(), admin);
    service.add_tcp(&socket.address.to_string());
    service.threads = Some(1);
    Listening::new(service, vec![socket], events.clone())
}

/// A thread of its own: a check must not wait for requests, nor they for it.
fn checks_service(gateway: &Arc<Gateway>) -> GenBackgroundService<Checks> {
    let checks = Arc::new(Checks::new(gateway.clone()));
    let mut service = GenBackgroundService::new("health checks".to_owned(), checks);
    service.threads = Some(1);
    service
}

fn sweep_service(idle: Arc<IdleConnections>) -> GenBackgroundService<Sweep> {
    let mut service =
        GenBackgroundService::new("idle connections".to_owned(), Arc::new(Sweep(idle)));
    service.threads = Some(1);
    service
}

fn reload_service(reload: Reload) -> GenBackgroundService<Reload> {
    let mut service = GenBackgroundService::new("reload".to_owned(), Arc::new(reload));
    service.threads = Some(1);
    service
}

fn counters_config(settings: &Settings) -> knoxcall_counters::Config {
    let counters = &settings.counters;
    knoxcall_counters::Config {
        redis_url: counters
            .redis_url
            .as_ref()
            .map(|url| url.expose().to_owned()),
        instances: counters.instances,
        nonce_capacity: counters.nonce_capacity,
        unauthorized_per_minute: settings.limits.unauthorized_per_minute.get(),
        key_prefix: "knoxcall:".to_owned(),
    }
}

fn ledger_config(settings: &Settings) -> knoxcall_ledger::Config {
    let requests = &settings.logging.requests;
    knoxcall_ledger::Config {
        sink: match &requests.output {
            RequestLogOutput::Stdout => Sink::Stdout,
            RequestLogOutput::None => Sink::Null,
            RequestLogOutput::File(path) => Sink::File {
                path: path.clone(),
                rotate_bytes: requests.rotate_bytes,
                keep_files: u32::try_from(requests.keep_files).unwrap_or(u32::MAX),
            },
        },
        queue: requests.queue,
        flush_interval: requests.flush_interval,
    }
}

fn announce(gateway: &Gateway, settings: &Settings, sockets: &Sockets) {
    let listeners: Vec<String> = sockets
        .edge
        .iter()
        .map(|socket| socket.address.to_string())
        .collect();
    let admin = sockets
        .admin
        .as_ref()
        .map(|socket| socket.address.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = listeners.join(", "),
        admin = admin.unwrap_or_else(|| "off".to_owned()),
        workers = settings.workers.get(),
        routes = gateway.snapshot.load().routes,
        "serving"
    );
}
