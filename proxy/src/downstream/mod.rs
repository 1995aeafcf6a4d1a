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

use pingora::protocols::Stream;

use crate::edge::connections::Permit;

pub use rules::ListenerRules;
pub use tls::VerifiedCertificate;

/// A connection that may send requests.
pub struct Accepted {
    /// In clear, or TLS whose handshake is over.
    pub stream: Stream,
    /// The other end, or whom a trusted proxy speaks for.
    pub peer: IpAddr,
    /// Counts the connection until it is dropped.
    pub permit: Permit,
    /// `None`: in clear.
    pub tls: Option<TlsFacts>,
    /// Those of the moment at which it was accepted.
    pub listener: Arc<ListenerRules>,
}

/// What the handshake has settled.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    pub alpn_h2: bool,
    /// `None`: the client has presented none.
    pub client_certificate: Option<VerifiedCertificate>,
}
