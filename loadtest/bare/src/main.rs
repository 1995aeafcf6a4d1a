//! The yardstick: a Pingora proxy with nothing on it. One upstream, no filter,
//! no log. It shares with the gateway what is not the gateway's own work:
//! allocator, release profile, read buffer, pool size and runtime settings,
//! so that a ratio between the two is the price of what the gateway does.

use std::net::SocketAddr;

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::{HttpPeer, Result, Server};
use pingora::server::configuration::ServerConf;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of read buffer for each client connection; Pingora's default of
/// 64 KiB costs memory and buys nothing here.
const READ_BUFFER: usize = 0;

/// Idle upstream connections kept by the whole process.
const IDLE_POOL: usize = 1024;

/// Forwards every request to one upstream.
#[derive(Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the HTTP/1.1 upstream, in clear.
    #[arg(long)]
    upstream: SocketAddr,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

struct Forward {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

fn main() {
    let options = Options::parse();
    let conf = ServerConf {
        threads: options.threads,
        work_stealing: options.threads > 1,
        upstream_keepalive_pool_size: IDLE_POOL,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let forward = Forward {
        peer: HttpPeer::new(options.upstream, false, String::new()),
    };
    let mut service = http_proxy_service(&server.configuration, forward);
    let buffers = L4BufferSettings::default().read(READ_BUFFER);
    let listener = ListenerConfig::tcp(options.listen.to_string()).l4_buffer(buffers);
    service.endpoints().add_listener(listener);
    server.add_service(service);
    server.run_forever();
}
