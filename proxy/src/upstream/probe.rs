//! One question to one endpoint, outside of any request: for health checks,
//! and for the operator who asks whether a route would work. The connection is
//! the route's own in all that matters (TLS, certificate, protocol), and new.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Method, StatusCode};
use pingora::connectors::ConnectorOptions;
use pingora::http::RequestHeader;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_timeout::timeout;
use tokio::net::TcpStream;

use super::idle::IdleConnections;
use crate::edge::connector::{Connected, Connector};

/// Connections that are kept: none.
const KEPT: usize = 1;

pub struct Prober {
    connector: Connector,
}

/// What is asked.
pub struct Question<'q> {
    pub method: Method,
    pub path: &'q str,
    pub host: &'q HeaderValue,
}

/// A connection that may be used.
pub struct Reached {
    connected: Connected,
    patience: Duration,
}

impl Prober {
    pub fn new() -> Self {
        let kept = IdleConnections::new(KEPT, 1);
        Self {
            connector: Connector::new(ConnectorOptions::new(KEPT), Arc::new(kept)),
        }
    }

    /// TCP, then TLS where the peer has it.
    pub async fn reach(&self, peer: &HttpPeer, patience: Duration) -> Result<Reached> {
        let mut peer = peer.clone();
        // A connection that may carry one stream is lent to nobody else.
        peer.options.max_h2_streams = 1;
        peer.options.read_timeout = Some(patience);
        let connecting = self.connector.connect(&peer);
        let connected = timeout(patience, connecting)
            .await
            .map_err(|_| Error::new_up(ErrorType::ConnectTimedout))??;
        Ok(Reached {
            connected,
            patience,
        })
    }
}

impl Reached {
    pub fn digest(&self) -> Option<&Digest> {
        self.connected.session.digest()
    }

    pub async fn ask(mut self, question: &Question<'_>) -> Result<StatusCode> {
        let mut head =
            RequestHeader::build(question.method.clone(), question.path.as_bytes(), None)?;
        head.insert_header(HOST, question.host)?;
        head.insert_header(USER_AGENT, concat!("knoxcall/", env!("CARGO_PKG_VERSION")))?;
        head.insert_header(CONNECTION, "close")?;
        let session = &mut self.connected.session;
        session.set_write_timeout(Some(self.patience));
        let answered = async {
            session.write_head(Box::new(head), false).await?;
            session.hear(false).await.map(drop)
        };
        timeout(self.patience, answered)
            .await
            .map_err(|_| Error::new_up(ErrorType::ReadTimedout))??;
        let head = self.connected.session.head();
        head.map(|head| head.status)
            .ok_or_else(|| Error::new_up(ErrorType::InvalidHTTPHeader))
    }
}

/// Whether somebody accepts connections there.
pub async fn knock(address: SocketAddr, patience: Duration) -> std::io::Result<()> {
    let connecting = TcpStream::connect(address);
    match timeout(patience, connecting).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
