//! What the leak guard has found: where, and never what.

use knoxcall_filters::leak_guard::Findings;
use prometheus::{IntCounter, Registry};

use super::{counter, family};

pub struct LeakMetrics {
    headers: IntCounter,
    body: IntCounter,
    trailers: IntCounter,
    uninspected: IntCounter,
}

impl LeakMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let masked = family(
            registry,
            "knoxcall_secrets_masked_total",
            "Occurrences of secrets in answers of upstreams, masked, by place",
            "place",
        )?;
        let at = |place| masked.get_metric_with_label_values(&[place]);
        Ok(Self {
            headers: at("headers")?,
            body: at("body")?,
            trailers: at("trailers")?,
            uninspected: counter(
                registry,
                "knoxcall_answers_uninspected_total",
                "Answers of routes with a lenient leak guard that were encoded, or not in ASCII, and passed",
            )?,
        })
    }

    pub fn count(&self, found: Findings) {
        self.headers.inc_by(found.headers as u64);
        self.body.inc_by(found.body as u64);
        self.trailers.inc_by(found.trailers as u64);
        self.uninspected.inc_by(u64::from(found.is_uninspected));
    }
}
