//! Connections to upstreams, from the pool or new, in the version of HTTP that
//! the route asks for and the upstream agrees to (ALPN, RFC 7301; in clear by
//! prior knowledge, RFC 9113, section 3.3).
//!
//! Pools are keyed by [`crate::upstream::pool_key`]: nothing is shared that
//! must not be. Those of HTTP/1 are our own ([`IdleConnections`]), those of
//! HTTP/2 Pingora's.

use std::sync::Arc;

use pingora::connectors::http::v2::{Connector as Http2Connector, H2HandshakeSettings, handshake};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::http::v1::client::HttpSession as Http1;
use pingora::protocols::http::v2::client::Http2Session as Http2;
use pingora::protocols::{ALPN, Stream};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};

use super::upstream_session::UpstreamSession;
use super::upstream_stream::UpstreamStream;
use crate::upstream::idle::IdleConnections;
use crate::upstream::trust::is_sound;

pub struct Connector {
    transport: TransportConnector,
    idle: Arc<IdleConnections>,
    /// For its pools; connections are made by `transport`.
    http2: Http2Connector,
}

pub struct Connected {
    pub session: UpstreamSession,
    pub is_reused: bool,
}

impl Connector {
    pub fn new(options: ConnectorOptions, idle: Arc<IdleConnections>) -> Self {
        Self {
            idle,
            transport: TransportConnector::new(Some(options.clone())),
            http2: Http2Connector::new(Some(options)),
        }
    }

    pub async fn connect(&self, peer: &HttpPeer) -> Result<Connected> {
        let connected = match peer.options.alpn.get_max_http_version() {
            0 | 1 => self.connect_http1(peer).await,
            _two => self.connect_http2(peer).await,
        };
        connected.map_err(Error::into_up)
    }

    async fn connect_http1(&self, peer: &HttpPeer) -> Result<Connected> {
        if let Some(stream) = self.idle.take(peer) {
            return Ok(http1(stream, peer, true));
        }
        let stream = self.new_stream(peer).await?;
        Ok(http1(stream, peer, false))
    }

    /// One that may be used, or none: it is judged before anybody can share it.
    async fn new_stream(&self, peer: &HttpPeer) -> Result<Stream> {
        let stream = self.transport.new_stream(peer).await?;
        match is_sound(peer, stream.get_ssl_digest().as_deref()) {
            true => Ok(stream),
            false => {
                let why = "TLS before 1.2, or a certificate that does not name the address";
                Error::e_explain(ErrorType::InvalidCert, why)
            }
        }
    }

    async fn connect_http2(&self, peer: &HttpPeer) -> Result<Connected> {
        // One that has died in the pool is none.
        if let Ok(Some(session)) = self.http2.reused_http_session(peer).await {
            return Ok(http2(session, true));
        }
        let may_be_http1 = peer.options.alpn.get_min_http_version() < 2;
        if may_be_http1 && let Some(stream) = self.idle.take(peer) {
            return Ok(http1(stream, peer, true));
        }
        let stream = self.new_stream(peer).await?;
        if speaks_http2(&stream, peer) {
            self.begin_http2(stream, peer).await
        } else if may_be_http1 {
            Ok(http1(stream, peer, false))
        } else {
            Err(Error::new(ErrorType::H2Error))
        }
    }

    async fn begin_http2(&self, stream: Stream, peer: &HttpPeer) -> Result<Connected> {
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = peer.options.max_h2_streams;
        settings.ping_interval = peer.options.h2_ping_interval;
        settings.stream_window_size = peer.options.h2_stream_window_size;
        settings.connection_window_size = peer.options.h2_connection_window_size;
        let connection = handshake(stream, settings).await.map_err(not_http2)?;
        let session = connection.spawn_stream().await?;
        if connection.more_streams_allowed() {
            let pool = self.http2.in_use_pool();
            pool.insert(peer.reuse_hash(), connection);
        }
        match session {
            Some(session) => Ok(http2(session, false)),
            None => Error::e_explain(ErrorType::H2Error, "the upstream takes no stream"),
        }
    }

    /// Into the pool, if nothing is left in it.
    pub async fn release(&self, session: UpstreamSession, peer: &HttpPeer) {
        match session {
            UpstreamSession::Http1(mut session) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    self.idle.put(stream, peer);
                }
            }
            UpstreamSession::Http2(session) => {
                let idle = peer.options.idle_timeout;
                self.http2.release_http_session(*session, peer, idle);
            }
        }
    }

    /// Of an exchange that broke: HTTP/1 has nothing to give back, HTTP/2 the
    /// connection of the other streams.
    pub fn give_up(&self, session: UpstreamSession, peer: &HttpPeer) {
        if let UpstreamSession::Http2(mut session) = session {
            session.shutdown();
            let idle = peer.options.idle_timeout;
            self.http2.release_http_session(*session, peer, idle);
        }
    }
}

fn http1(stream: Stream, peer: &HttpPeer, is_reused: bool) -> Connected {
    let stream = UpstreamStream::wrap(stream);
    let session = UpstreamSession::Http1(Http1::new_with_options(stream, peer));
    Connected { session, is_reused }
}

fn http2(session: Http2, is_reused: bool) -> Connected {
    let session = UpstreamSession::Http2(Box::new(session));
    Connected { session, is_reused }
}

/// Pingora's word for it is that of TLS.
fn not_http2(mut error: Box<Error>) -> Box<Error> {
    error.etype = ErrorType::H2Error;
    error
}

/// In clear there is nobody to ask: a route that says HTTP/2 is believed.
fn speaks_http2(stream: &Stream, peer: &HttpPeer) -> bool {
    match stream.selected_alpn_proto() {
        Some(chosen) => chosen == ALPN::H2,
        None => !peer.tls() && peer.options.alpn.get_min_http_version() == 2,
    }
}
