//! What the gateway counts of itself, for Prometheus.
//!
//! Every label has a fixed set of values; none comes from a request. Handles
//! are made once, so that counting costs a few nanoseconds.

mod leaks;

use std::collections::HashMap;

use leaks::LeakMetrics;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::spans::SpanStats;
use crate::upstream::status::Sums;

use crate::downstream::metrics::DownstreamMetrics;

/// Seconds; from half a millisecond to half a minute.
const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Requests by the class of their status: `1xx` to `5xx`, and `none` where
/// nothing was answered.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the outside knows only by asking, read when the metrics are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampled {
    pub connections_open: usize,
    pub buffered_bytes: usize,
    pub records_queued: u64,
    pub records_written: u64,
    pub records_dropped: u64,
    pub record_errors: u64,
    /// Unknown before Redis was asked anything.
    pub redis_up: Option<bool>,
    pub redis_fallbacks: u64,
    pub redis_round_trips: u64,
    pub nonces: usize,
    pub buckets: usize,
    pub bundle_age_seconds: u64,
    pub routes: usize,
    pub upstreams: Sums,
    pub spans: SpanStats,
}

pub struct Metrics {
    registry: Registry,
    by_class: [IntCounter; 6],
    refusals: HashMap<&'static str, IntCounter>,
    pub latency: Histogram,
    upstream_by_class: [IntCounter; 6],
    pub upstream_latency: Histogram,
    pub upstream_retries: IntCounter,
    pub requests_active: IntGauge,
    pub connections_refused: IntCounter,
    pub http2_floods: IntCounter,
    pub panics: IntCounter,
    pub reloads_applied: IntCounter,
    pub reloads_refused: IntCounter,
    pub config_valid: IntGauge,
    pub leaks: LeakMetrics,
    pub downstream: DownstreamMetrics,
}

impl Metrics {
    pub fn new(
        refusal_codes: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reloads = family(
            &registry,
            "knoxcall_config_reloads_total",
            "Configurations loaded after the start, by result",
            "result",
        )?;
        let refusals = family(
            &registry,
            "knoxcall_refusals_total",
            "Requests the gateway refused, by the type in the answer",
            "type",
        )?;
        Ok(Self {
            by_class: classes(
                &registry,
                "knoxcall_requests_total",
                "Requests by the class of their status",
            )?,
            upstream_by_class: classes(
                &registry,
                "knoxcall_upstream_responses_total",
                "Answers of upstreams by the class of their status",
            )?,
            refusals: refusal_codes
                .into_iter()
                .map(|code| Ok((code, refusals.get_metric_with_label_values(&[code])?)))
                .collect::<Result<_, prometheus::Error>>()?,
            latency: histogram(
                &registry,
                "knoxcall_request_seconds",
                "From the moment a request's head is read to the end of its answer",
            )?,
            upstream_latency: histogram(
                &registry,
                "knoxcall_upstream_first_byte_seconds",
                "From the moment a request's head is read to the upstream's first byte",
            )?,
            upstream_retries: counter(
                &registry,
                "knoxcall_upstream_retries_total",
                "Tries after the first",
            )?,
            requests_active: gauge(
                &registry,
                "knoxcall_requests_active",
                "Requests being served",
            )?,
            http2_floods: counter(
                &registry,
                "knoxcall_http2_floods_total",
                "HTTP/2 connections closed because most of their streams were given up.",
            )?,
            connections_refused: counter(
                &registry,
                "knoxcall_connections_refused_total",
                "Connections over a limit",
            )?,
            panics: counter(
                &registry,
                "knoxcall_panics_total",
                "Panics, each of which ended one connection",
            )?,
            reloads_applied: reloads.get_metric_with_label_values(&["applied"])?,
            reloads_refused: reloads.get_metric_with_label_values(&["refused"])?,
            config_valid: gauge(
                &registry,
                "knoxcall_config_valid",
                "1 while the configuration on disk is the one in use, 0 after one was refused",
            )?,
            downstream: DownstreamMetrics::new(&registry)?,
            leaks: LeakMetrics::new(&registry)?,
            registry,
        })
    }

    pub fn count_request(&self, status: Option<u16>) {
        count(&self.by_class, status);
    }

    pub fn count_upstream(&self, status: u16) {
        count(&self.upstream_by_class, Some(status));
    }

    pub fn count_refusal(&self, code: &'static str) {
        if let Some(counter) = self.refusals.get(code) {
            counter.inc();
        }
    }

    /// The exposition in Prometheus' text format.
    pub fn render(&self, sampled: &Sampled) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 * 1024);
        // Writing to a vector does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        sampled.render(&mut out);
        out
    }
}

impl Sampled {
    fn render(&self, out: &mut Vec<u8>) {
        let gauges = [
            (
                "knoxcall_connections_open",
                "Client connections",
                self.connections_open as u64,
            ),
            (
                "knoxcall_buffered_bytes",
                "Bytes of bodies held whole, of all requests",
                self.buffered_bytes as u64,
            ),
            (
                "knoxcall_records_queued",
                "Request records waiting to be written",
                self.records_queued,
            ),
            (
                "knoxcall_nonces",
                "Nonces and signatures remembered here",
                self.nonces as u64,
            ),
            (
                "knoxcall_rate_limit_buckets",
                "Rate limits held here",
                self.buckets as u64,
            ),
            (
                "knoxcall_bundle_age_seconds",
                "Since the bundle in use was loaded",
                self.bundle_age_seconds,
            ),
            (
                "knoxcall_bundle_routes",
                "Routes in the bundle in use",
                self.routes as u64,
            ),
            (
                "knoxcall_upstream_endpoints",
                "Addresses of upstreams in use, by tenant, environment and TLS identity",
                self.upstreams.endpoints,
            ),
            (
                "knoxcall_upstream_endpoints_unhealthy",
                "Endpoints that fail a health check",
                self.upstreams.unhealthy,
            ),
            (
                "knoxcall_upstream_endpoints_ejected",
                "Endpoints that are left out because requests failed there",
                self.upstreams.ejected,
            ),
            (
                "knoxcall_upstream_requests_active",
                "Tries that upstreams are at",
                self.upstreams.in_flight,
            ),
            (
                "knoxcall_upstream_requests_pending",
                "Requests that wait for a place at an upstream",
                self.upstreams.pending,
            ),
        ];
        let counters = [
            (
                "knoxcall_records_written_total",
                "Request records written",
                self.records_written,
            ),
            (
                "knoxcall_records_dropped_total",
                "Request records lost because the queue was full",
                self.records_dropped,
            ),
            (
                "knoxcall_record_errors_total",
                "Failed writes of request records",
                self.record_errors,
            ),
            (
                "knoxcall_redis_fallbacks_total",
                "Limits judged by the instance's own share because Redis was away",
                self.redis_fallbacks,
            ),
            (
                "knoxcall_redis_round_trips_total",
                "Round trips for leases of rate limits",
                self.redis_round_trips,
            ),
            (
                "knoxcall_upstream_ejections_total",
                "Times that an endpoint was left out because requests failed there",
                self.upstreams.ejections,
            ),
            (
                "knoxcall_upstream_overloads_total",
                "Requests refused because every endpoint of their pool was full",
                self.upstreams.overloads,
            ),
            (
                "knoxcall_upstream_retries_denied_total",
                "Further tries that the retry budget did not allow",
                self.upstreams.retries_denied,
            ),
            (
                "knoxcall_spans_exported_total",
                "Spans that the collector has taken",
                self.spans.exported,
            ),
            (
                "knoxcall_spans_dropped_total",
                "Spans lost because the queue was full",
                self.spans.dropped,
            ),
            (
                "knoxcall_spans_failed_total",
                "Spans lost because the collector did not take them",
                self.spans.failed,
            ),
        ];
        for (name, help, value) in gauges {
            line(out, name, help, "gauge", value);
        }
        if let Some(up) = self.redis_up {
            let help = "1 while Redis answers, or none is configured; absent before it was asked";
            line(out, "knoxcall_redis_up", help, "gauge", u64::from(up));
        }
        for (name, help, value) in counters {
            line(out, name, help, "counter", value);
        }
    }
}

fn line(out: &mut Vec<u8>, name: &str, help: &str, kind: &str, value: u64) {
    out.extend_from_slice(
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").as_bytes(),
    );
}

fn count(by_class: &[IntCounter; 6], status: Option<u16>) {
    let class = status.map_or(0, |status| usize::from(status / 100));
    if let Some(counter) = by_class.get(class).or(by_class.first()) {
        counter.inc();
    }
}

fn classes(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<[IntCounter; 6], prometheus::Error> {
    let family = family(registry, name, help, "status")?;
    let [none, informational, success, redirect, client, server] =
        CLASSES.map(|class| family.get_metric_with_label_values(&[class]));
    Ok([none?, informational?, success?, redirect?, client?, server?])
}

pub fn family(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
    let histogram = Histogram::with_opts(options)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_a_bounded_label() {
        let metrics = Metrics::new(["unauthorized"]).unwrap();
        metrics.count_refusal("unauthorized");
        metrics.count_refusal("made up by a caller");
        let text = String::from_utf8(metrics.render(&Sampled::default())).unwrap();
        assert!(text.contains("knoxcall_refusals_total{type=\"unauthorized\"} 1"));
        assert!(!text.contains("made up"));
    }

    #[test]
    fn requests_are_counted_by_class() {
        let metrics = Metrics::new([]).unwrap();
        metrics.count_request(Some(204));
        metrics.count_request(Some(999));
        metrics.count_request(None);
        let text = String::from_utf8(metrics.render(&Sampled::default())).unwrap();
        assert!(text.contains("knoxcall_requests_total{status=\"2xx\"} 1"));
        assert!(text.contains("knoxcall_requests_total{status=\"none\"} 2"));
    }
}
