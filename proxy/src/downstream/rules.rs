//! What a listener asks of a connection, compiled with the snapshot: a
//! connection takes the rules of the moment at which it is accepted, and keeps
//! them.

use std::sync::Arc;

use knoxcall_bundle::settings::{Listener, Settings};
use knoxcall_filters::cidr::CidrSet;

use super::tls::{TlsError, TlsServer};

pub struct ListenerRules {
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

    /// Those of before, where nothing has changed: tickets are read by the
    /// context that wrote them.
    pub fn keep(
        (rules, settings): (&mut [Arc<Self>], &Settings),
        (old_rules, old_settings): (&[Arc<Self>], &Settings),
    ) {
        let new = rules.iter_mut().zip(&settings.listeners);
        let old = old_rules.iter().zip(&old_settings.listeners);
        for ((rules, listener), (old_rules, old_listener)) in new.zip(old) {
            if listener == old_listener {
                *rules = old_rules.clone();
            }
        }
    }

    fn new(listener: &Listener) -> Result<Self, TlsError> {
        let proxies = listener.proxy_protocol.as_ref();
        let tls = listener.tls.as_ref();
        Ok(Self {
            http2: listener.http2,
            proxies: proxies.map(|ranges| CidrSet::new(ranges.iter().copied())),
            tls: tls
                .map(|tls| TlsServer::new(tls, listener.http2))
                .transpose()?,
        })
    }
}
