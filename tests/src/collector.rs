//! A collector of spans, as OTLP over HTTP reaches one: it takes everything,
//! and decodes it with the protocol's own messages.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::config::hex;
use crate::upstream::{Received, Upstream};
use crate::wait::eventually;

pub struct Collector {
    server: Upstream,
}

/// A span that has arrived; ids as they stand in `traceparent`.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    pub trace_id: String,
    pub span_id: String,
    /// Empty where there is none.
    pub parent_id: String,
    pub span: Span,
}

impl Collector {
    pub fn start() -> Self {
        let taken = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        Self::answering(taken)
    }

    pub fn answering(answer: &str) -> Self {
        let server = Upstream::answering(answer);
        Self { server }
    }

    /// As `tracing.otlp_endpoint`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let exports = self.exports();
        let resources = exports.into_iter().flat_map(|all| all.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        spans.map(ReceivedSpan::from).collect()
    }

    /// Of the resource that spans come from.
    pub fn service_name(&self) -> Option<String> {
        let export = self.exports().into_iter().next()?;
        let resource = export.resource_spans.into_iter().next()?.resource?;
        attribute(&resource.attributes, "service.name")
    }

    #[track_caller]
    pub fn wait_for_spans(&self, count: usize) -> Vec<ReceivedSpan> {
        eventually("spans at the collector", || {
            let spans = self.spans();
            (spans.len() >= count).then_some(spans)
        })
    }

    fn exports(&self) -> Vec<ExportTraceServiceRequest> {
        let requests = self.server.requests();
        let bodies = requests.iter().map(|request| request.body.as_slice());
        bodies
            .map(|body| ExportTraceServiceRequest::decode(body).expect("spans"))
            .collect()
    }
}

impl From<Span> for ReceivedSpan {
    fn from(span: Span) -> Self {
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            span,
        }
    }
}

impl ReceivedSpan {
    /// As text, whatever its type is.
    pub fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        AnyValue {
            value: Some(Value::DoubleValue(number)),
        } => Some(number.to_string()),
        AnyValue { value } => panic!("{name} is {value:?}"),
    }
}
