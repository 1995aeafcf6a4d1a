//! Spans of requests, exported by OTLP over HTTP where a collector is
//! configured (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! A request never waits for them: it leaves its span in a bounded queue, and
//! one thread exports them in batches. What finds the queue full, and what the
//! collector does not take, is lost and counted.

mod collector;
mod counted;
mod describe;
mod exchange;
mod outage;
mod sampler;
mod timed;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use knoxcall_bundle::settings::Tracing;
use knoxcall_filters::Head;
use knoxcall_filters::plan::Proto;
use knoxcall_filters::trace_context::{Parent, parent};
use knoxcall_ledger::RequestRecord;
use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanExporter as _, SpanProcessor,
};
use thiserror::Error;
use uuid::Uuid;

use collector::Collector;
use counted::{Counted, Counts};
use sampler::Sampler;

pub use counted::SpanStats;

/// Spans in one export.
const BATCH: usize = 512;
/// That a span waits for others, at most.
const DELAY: Duration = Duration::from_secs(1);
/// For what is still queued when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

#[derive(Debug, Error)]
pub enum SpansError {
    #[error("the collector's TLS cannot be set up: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    #[error("{0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

pub struct Spans {
    sampler: Sampler,
    processor: BatchSpanProcessor,
    counts: Arc<Counts>,
}

/// The span of a request that is being served, if it is to be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSpan {
    pub id: NonZeroU64,
    pub trace_id: u128,
    /// The client's.
    pub parent_id: Option<u64>,
}

impl Spans {
    pub fn start(tracing: &Tracing) -> Result<Self, SpansError> {
        let counts = Arc::new(Counts::new(tracing.queue));
        let mut exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(Collector::new(tracing)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(tracing.traces_url.to_string())
            .with_timeout(tracing.timeout)
            .build()?;
        exporter.set_resource(&resource(tracing));
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(tracing.queue)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let exporter = Counted::new(exporter, counts.clone());
        Ok(Self {
            sampler: Sampler::new(tracing.sample_ratio),
            processor: BatchSpanProcessor::new(exporter, config),
            counts,
        })
    }

    /// `None`: its span is not exported.
    pub fn begin(&self, head: &Head<'_>, request_id: Uuid) -> Option<OwnSpan> {
        let given = parent(head);
        let trace_id = given.map_or(request_id.as_u128(), |parent| parent.trace_id);
        let is_sampled = match given {
            Some(Parent { is_sampled, .. }) => is_sampled,
            None => self.sampler.takes(trace_id),
        };
        is_sampled.then(|| OwnSpan {
            id: random_id(),
            trace_id,
            parent_id: given.map(|parent| parent.span_id),
        })
    }

    /// Never waits. Once the request is over, and its record complete.
    pub fn end(&self, span: OwnSpan, record: &RequestRecord, proto: Proto) {
        if self.counts.enter() {
            let data = describe::server_span(span, record, proto);
            self.processor.on_end(data);
        }
    }

    pub fn stats(&self) -> SpanStats {
        self.counts.stats()
    }

    /// Exports what is queued, or gives up after a while.
    pub fn close(&self) {
        if self.processor.shutdown_with_timeout(FLUSH).is_err() {
            tracing::warn!("spans are left that could not be exported");
        }
    }
}

fn resource(tracing: &Tracing) -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let instance = opentelemetry::KeyValue::new("service.instance.id", Uuid::new_v4().to_string());
    // Not the default one, which the environment has a say in.
    Resource::builder_empty()
        .with_service_name(tracing.service_name.clone())
        .with_attributes([version, instance])
        .build()
}

/// The second half of a random UUID: 62 random bits, and two that are never
/// both zero.
fn random_id() -> NonZeroU64 {
    let (_, low) = Uuid::new_v4().as_u64_pair();
    NonZeroU64::new(low).unwrap_or(NonZeroU64::MAX)
}
