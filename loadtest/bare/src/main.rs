//! The yardstick: a Pingora proxy with nothing on it. One upstream, no filter,
//! no log. It shares with the gateway what is not the gateway's own work:
//! allocator, release profile, read buffer, pool size and runtime settings,
//! so that a ratio between the two is the price of what the gateway does.

use std::net::SocketAddr;

use async_trait::async_trait;
use clap::Parser;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::{ErrorType, HttpPeer, OrErr, Result, Server};
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;
use pingora::tls::ssl::{SslSessionCacheMode, SslVersion};
use pingora_proxy::{ProxyHttp, ProxyServiceBuilder, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of read buffer for each client connection; Pingora's default of
/// 64 KiB costs memory and buys nothing here.
const READ_BUFFER: usize = 0;

/// Idle upstream connections kept by the whole process.
const IDLE_POOL: usize = 1024;

/// Requests at once on one HTTP/2 connection to the upstream; Pingora's default
/// is one. As many as the gateway's.
const UPSTREAM_STREAMS: usize = 128;

/// Forwards every request to one upstream.
#[derive(Parser)]
struct Options {
    /// Address to listen on in clear.
    #[arg(long)]
    listen: SocketAddr,
    /// Take HTTP/2 in clear as well. Pingora then looks for its preface before
    /// each request of HTTP/1.1, too.
    #[arg(long)]
    h2c: bool,
    /// Address to listen on over TLS 1.3, for HTTP/1.1 and HTTP/2.
    #[arg(long, requires_all = ["tls_cert", "tls_key"])]
    tls_listen: Option<SocketAddr>,
    /// The certificate, a file in PEM.
    #[arg(long)]
    tls_cert: Option<String>,
    /// Its key, a file in PEM.
    #[arg(long)]
    tls_key: Option<String>,
    /// Address of the upstream, in clear.
    #[arg(long)]
    upstream: SocketAddr,
    /// Speak HTTP/2 (h2c) to the upstream.
    #[arg(long)]
    upstream_http2: bool,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

struct Forward {
    peer: HttpPeer,
}

impl Forward {
    fn new(options: &Options) -> Self {
        let mut peer = HttpPeer::new(options.upstream, false, String::new());
        if options.upstream_http2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = UPSTREAM_STREAMS;
        }
        Self { peer }
    }
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

/// As the gateway has it: TLS 1.3 here, sessions in tickets only.
fn tls(cert: &str, key: &str) -> Result<TlsSettings> {
    let mut settings = TlsSettings::intermediate(cert, key)?;
    settings.enable_h2();
    settings.set_session_cache_mode(SslSessionCacheMode::OFF);
    settings
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .or_err(ErrorType::InternalError, "TLS 1.3 is not to be had")?;
    Ok(settings)
}

fn listener(address: SocketAddr) -> ListenerConfig {
    let buffers = L4BufferSettings::default().read(READ_BUFFER);
    ListenerConfig::tcp(address.to_string()).l4_buffer(buffers)
}

fn main() -> Result<()> {
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

    let mut http = HttpServerOptions::default();
    http.h2c = options.h2c;
    let mut service = ProxyServiceBuilder::new(&server.configuration, Forward::new(&options))
        .server_options(http)
        .build();
    let endpoints = service.endpoints();
    endpoints.add_listener(listener(options.listen));
    if let (Some(address), Some(cert), Some(key)) =
        (options.tls_listen, &options.tls_cert, &options.tls_key)
    {
        endpoints.add_listener(listener(address).tls(tls(cert, key)?));
    }
    server.add_service(service);
    server.run_forever();
}
