//! Everything between `accept` and the first byte of a request.
//!
//! [`service`] accepts on the sockets; [`door`] takes each connection through
//! what its listener asks of it: a place among the connections, the header of
//! the PROXY protocol ([`proxy_header`]), the TLS handshake ([`tls`]). What
//! comes out is an [`Accepted`], which the edge serves.
//!
//! Pingora's own listening service counts nothing before the handshake, gives
//! it a fixed minute, and knows no PROXY protocol on listeners in clear.

mod door;
pub mod metrics;
mod proxy_header;
pub mod rules;
pub mod service;
mod socket;
pub mod tls;

use std::net::IpAddr;
use std::sync::Arc;

use knoxcall_filters::ClientCertificate;
use pingora::protocols::{Digest, Stream};

use crate::edge::connections::Permit;

pub use rules::ListenerRules;
use tls::JudgedCertificate;

/// A connection that may send requests.
pub struct Accepted {
    /// In clear, or TLS whose handshake is over.
    pub stream: Stream,
    /// The other end, or whom a trusted proxy speaks for.
    pub peer: IpAddr,
    /// Counts the connection until it is dropped.
    pub permit: Permit,
    /// `None`: in clear.
    pub tls: Option<Arc<TlsFacts>>,
    /// Those of the moment at which it was accepted.
    pub listener: Arc<ListenerRules>,
}

/// What the handshake has settled.
#[derive(Debug)]
pub struct TlsFacts {
    pub alpn_h2: bool,
    /// Its index among the listeners.
    listener: usize,
    certificate: Option<JudgedCertificate>,
}

impl TlsFacts {
    /// Of the connection that a session is on; `None` in clear.
    pub fn of(digest: Option<&Digest>) -> Option<&Self> {
        let carried = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        carried.downcast_ref::<Arc<Self>>().map(AsRef::as_ref)
    }

    /// The client's certificate, as far as these listeners believe it: a
    /// connection outlives the configuration under which it was made. `None`
    /// where none was presented.
    pub fn certificate(&self, listeners: &[Arc<ListenerRules>]) -> Option<Arc<ClientCertificate>> {
        let judged = self.certificate.as_ref()?;
        let listener = listeners.get(self.listener);
        let tls = listener.and_then(|listener| listener.tls.as_ref());
        Some(match tls {
            Some(tls) => tls.judge(judged),
            None => Arc::new(ClientCertificate::nobody()),
        })
    }
}
