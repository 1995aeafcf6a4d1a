//! What a listener asks of a connection, compiled with the snapshot: a
//! connection takes the rules of the moment at which it is accepted, and keeps
//! them.

use std::net::SocketAddr;
use std::sync::Arc;

use knoxcall_bundle::settings::{Listener, Settings};
use knoxcall_filters::cidr::CidrSet;

use super::tls::{TlsError, TlsServer};

pub struct ListenerRules {
    pub address: SocketAddr,
    pub http2: bool,
    /// Whose connections begin with a PROXY header; nobody else may connect.
    pub proxies: Option<CidrSet>,
    /// `None`: in clear.
    pub tls: Option<TlsServer>,
}

impl ListenerRules {
    /// In the order of the settings' listeners.
    pub fn compile(settings: &Settings) -> Result<Box<[Arc<Self>]>, TlsError> {
        let listeners = settings.listeners.iter();
        listeners
            .map(|listener| Self::new(listener).map(Arc::new))
            .collect()
    }

    fn new(listener: &Listener) -> Result<Self, TlsError> {
        let proxies = listener.proxy_protocol.as_ref();
        let tls = listener.tls.as_ref();
        Ok(Self {
            address: listener.address,
            http2: listener.http2,
            proxies: proxies.map(|ranges| CidrSet::new(ranges.iter().copied())),
            tls: tls
                .map(|tls| TlsServer::new(tls, listener.http2))
                .transpose()?,
        })
    }
}
