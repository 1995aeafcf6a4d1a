//! Puts the process together: Pingora's server, its services, and the threads
//! that outlive them.
//!
//! Pingora's defaults are for a library, not for an edge; each that is changed
//! is changed here, with its reason.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};

use anyhow::Context as _;
use knoxcall_bundle::Loaded;
use knoxcall_bundle::settings::{RequestLogOutput, Settings};
use knoxcall_counters::Counters;
use knoxcall_filters::Refusal;
use knoxcall_ledger::{Ledger, Sink};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::GenBackgroundService;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use crate::admin::Admin;
use crate::edge::connection::Edge;
use crate::edge::failure::MOST_TRIES;
use crate::edge::phases::Phases;
use crate::gateway::Gateway;
use crate::lifecycle::{self, Event, Signals};
use crate::metrics::Metrics;
use crate::reload::Reload;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::upstream::Upstreams;

/// Pingora's 64 KiB would be two thirds of a connection's memory, and 8 KiB
/// costs no time.
const READ_BUFFER: usize = 8 * 1024;

/// Blocks until the process may end.
pub fn run(source: Source, loaded: Loaded) -> anyhow::Result<()> {
    let settings = loaded.settings.clone();
    let addresses = listen_addresses(&settings);
    refuse_busy(&addresses)?;
    let watched = loaded.watched.clone();
    let gateway = Arc::new(assemble(loaded, &addresses)?);
    lifecycle::watch_panics(&gateway);

    let (events, ended) = mpsc::channel();
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    server.add_service(edge_service(
        &gateway,
        &server.configuration.clone(),
        &settings,
    ));
    if let Some(admin) = settings.admin {
        server.add_service(admin_service(&gateway, admin.address));
    }
    server.add_service(reload_service(&gateway, source, watched));
    announce(&gateway, &settings);

    let signals = Signals::new(gateway.clone(), events.clone());
    std::thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            server.run(RunArgs {
                shutdown_signal: Box::new(signals),
            });
            let _ = events.send(Event::Ended);
        })
        .context("the server's thread cannot be started")?;
    lifecycle::wait(&gateway, &ended);
    gateway.ledger.close();
    tracing::info!("stopped");
    Ok(())
}

fn assemble(loaded: Loaded, own_listeners: &[SocketAddr]) -> anyhow::Result<Gateway> {
    let settings = loaded.settings.clone();
    let counters = Counters::new(counters_config(&settings)).context("counters")?;
    let upstreams = Arc::new(Upstreams::new(own_listeners.to_vec(), &settings.upstream));
    let ledger = Ledger::start(ledger_config(&settings)).context("logging.requests")?;
    let snapshot = Snapshot::compile(loaded, &counters, &upstreams)?;
    let metrics = Metrics::new(Refusal::all_examples().iter().map(Refusal::code))?;
    metrics.config_valid.set(1);
    Ok(Gateway::new(snapshot, upstreams, counters, ledger, metrics))
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
        grace_period_seconds: Some(settings.limits.shutdown_grace.as_secs() + 1),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn edge_service(
    gateway: &Arc<Gateway>,
    conf: &Arc<ServerConf>,
    settings: &Settings,
) -> Service<Edge> {
    let proxy = http_proxy(conf, Phases::new(gateway.clone()));
    let mut service = Service::new("edge".to_owned(), Edge::new(gateway.clone(), proxy));
    for listener in &settings.listeners {
        let buffers = L4BufferSettings::default().read(READ_BUFFER);
        let config = ListenerConfig::tcp(listener.address.to_string()).l4_buffer(buffers);
        service.add_listener(config);
    }
    service
}

fn admin_service(gateway: &Arc<Gateway>, address: SocketAddr) -> Service<Admin> {
    let mut service = Service::new("admin".to_owned(), Admin::new(gateway.clone()));
    service.add_tcp(&address.to_string());
    service.threads = Some(1);
    service
}

fn reload_service(
    gateway: &Arc<Gateway>,
    source: Source,
    watched: Vec<std::path::PathBuf>,
) -> GenBackgroundService<Reload> {
    let reload = Reload::new(gateway.clone(), source, watched);
    let mut service = GenBackgroundService::new("reload".to_owned(), Arc::new(reload));
    service.threads = Some(1);
    service
}

fn listen_addresses(settings: &Settings) -> Vec<SocketAddr> {
    let admin = settings.admin.map(|admin| admin.address);
    let listeners = settings.listeners.iter().map(|listener| listener.address);
    listeners.chain(admin).collect()
}

/// Pingora would panic on its own thread; this says it in one line, before
/// anything is started.
fn refuse_busy(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    for address in addresses {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    }
    Ok(())
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

fn announce(gateway: &Gateway, settings: &Settings) {
    let listeners: Vec<String> = settings
        .listeners
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    let admin = settings.admin.map(|admin| admin.address.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = listeners.join(", "),
        admin = admin.unwrap_or_else(|| "off".to_owned()),
        workers = settings.workers.get(),
        routes = gateway.snapshot.load().routes,
        "serving"
    );
}
