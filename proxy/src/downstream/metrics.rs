//! What is counted of connections before their first request.

use prometheus::{IntCounter, Registry};

use crate::metrics::{counter, family};

pub struct DownstreamMetrics {
    pub accept_errors: IntCounter,
    pub proxy_untrusted: IntCounter,
    pub proxy_invalid: IntCounter,
    pub proxy_timeout: IntCounter,
    pub proxy_closed: IntCounter,
    pub handshakes_full: IntCounter,
    pub handshakes_resumed: IntCounter,
    pub handshakes_failed: IntCounter,
    pub handshakes_timeout: IntCounter,
}

impl DownstreamMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let handshakes = family(
            registry,
            "knoxcall_tls_handshakes_total",
            "TLS handshakes with clients, by result",
            "result",
        )?;
        let proxy = family(
            registry,
            "knoxcall_proxy_protocol_refused_total",
            "Connections closed for want of a PROXY header, by reason",
            "reason",
        )?;
        let handshake = |result| handshakes.get_metric_with_label_values(&[result]);
        let refused = |reason| proxy.get_metric_with_label_values(&[reason]);
        Ok(Self {
            accept_errors: counter(
                registry,
                "knoxcall_accept_errors_total",
                "Connections that could not be accepted, for want of files or memory",
            )?,
            proxy_untrusted: refused("untrusted")?,
            proxy_invalid: refused("invalid")?,
            proxy_timeout: refused("timeout")?,
            proxy_closed: refused("closed")?,
            handshakes_full: handshake("full")?,
            handshakes_resumed: handshake("resumed")?,
            handshakes_failed: handshake("failed")?,
            handshakes_timeout: handshake("timeout")?,
        })
    }
}
