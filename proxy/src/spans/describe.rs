//! A request as a span, in the words of OpenTelemetry's conventions for HTTP
//! servers (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! It leaves the house: no value of a header, no query, no address of a caller,
//! and of the path no secret either, which is masked as in the request's record.

use std::borrow::Cow;

use knoxcall_filters::plan::Proto;
use knoxcall_ledger::{EndedBy, RequestRecord, Text};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::OwnSpan;

/// Those that a span may name; others are `_OTHER`.
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// Bytes of a path that a span tells. It waits in memory, and a client says how
/// long its path is.
const LONGEST_PATH: usize = 1024;

pub fn server_span(span: OwnSpan, record: &RequestRecord, proto: Proto) -> SpanData {
    let method = method(record);
    SpanData {
        span_context: context(span),
        parent_span_id: span.parent_id.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span.parent_id.is_some(),
        span_kind: SpanKind::Server,
        name: name(method, record.route.as_ref()),
        start_time: record.started_at,
        end_time: record.started_at + record.total,
        attributes: attributes(method, record, proto),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(record),
        instrumentation_scope: InstrumentationScope::builder("knoxcall").build(),
    }
}

fn context(span: OwnSpan) -> SpanContext {
    SpanContext::new(
        TraceId::from(span.trace_id),
        SpanId::from(span.id.get()),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    )
}

fn method(record: &RequestRecord) -> Option<&'static str> {
    let sent = record.method.as_bytes();
    METHODS.into_iter().find(|known| known.as_bytes() == sent)
}

fn name(method: Option<&'static str>, route: Option<&Text>) -> Cow<'static, str> {
    let method = method.unwrap_or("HTTP");
    match route {
        Some(route) => Cow::Owned(format!("{method} {}", readable(route))),
        None => Cow::Borrowed(method),
    }
}

/// What a server answers to a client's mistake is no error of the server's.
fn status(record: &RequestRecord) -> Status {
    match failure(record) {
        Some(_) if !is_clients_fault(record) => Status::error(""),
        Some(_) | None => Status::Unset,
    }
}

fn is_clients_fault(record: &RequestRecord) -> bool {
    record.status.is_some_and(|status| status < 500)
}

/// `error.type`: our own word for it, else the status, else how it ended.
fn failure(record: &RequestRecord) -> Option<Cow<'static, str>> {
    if let Some(code) = record.error {
        return Some(Cow::Borrowed(code));
    }
    match (record.ended_by, record.status) {
        (EndedBy::Panic, _) => Some(Cow::Borrowed("panic")),
        (_, Some(status)) if status >= 500 => Some(Cow::Owned(status.to_string())),
        (_, None) => Some(Cow::Borrowed("unanswered")),
        (EndedBy::Upstream | EndedBy::Gateway | EndedBy::Client, Some(_)) => None,
    }
}

fn attributes(method: Option<&'static str>, record: &RequestRecord, proto: Proto) -> Vec<KeyValue> {
    let mut of = Attributes(Vec::with_capacity(16));
    of.is("http.request.method", method.unwrap_or("_OTHER"));
    of.is("url.scheme", scheme(proto));
    of.is("url.path", path(record));
    of.is("network.protocol.name", "http");
    of.is("network.protocol.version", version(record.protocol));
    of.may_be("http.response.status_code", record.status.map(i64::from));
    of.may_be("error.type", failure(record));
    of.may_be("http.route", record.route.as_ref().map(readable));
    let environment = record.environment.as_ref();
    of.may_be("knoxcall.environment", environment.map(readable));
    of.is("knoxcall.request_id", record.request_id.to_string());
    of.is("knoxcall.ended_by", ended_by(record.ended_by));
    of.may_be("knoxcall.refusal", record.error);
    let upstream = record.upstream_host.as_ref();
    of.may_be("knoxcall.upstream.host", upstream.map(readable));
    let status = record.upstream_status.map(i64::from);
    of.may_be("knoxcall.upstream.status_code", status);
    of.is("knoxcall.upstream.attempts", i64::from(record.attempts));
    let first_byte = record.first_byte.map(|time| time.as_secs_f64());
    of.may_be("knoxcall.upstream.first_byte_seconds", first_byte);
    of.0
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn is(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    fn may_be(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| KeyValue::new(name, value)));
    }
}

/// Without the query.
fn path(record: &RequestRecord) -> StringValue {
    let target = record.path.as_bytes();
    let path = target.split(|byte| *byte == b'?').next();
    let masked = record.obfuscator.text(path.unwrap_or_default());
    let mut text = String::from_utf8_lossy(&masked).into_owned();
    // Not before: half a secret is one as well.
    text.truncate(text.floor_char_boundary(LONGEST_PATH));
    text.into()
}

fn readable(text: &Text) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

fn scheme(proto: Proto) -> &'static str {
    match proto {
        Proto::Http => "http",
        Proto::Https => "https",
    }
}

fn version(protocol: &'static str) -> &'static str {
    protocol.strip_prefix("HTTP/").unwrap_or(protocol)
}

fn ended_by(ended_by: EndedBy) -> &'static str {
    match ended_by {
        EndedBy::Upstream => "upstream",
        EndedBy::Gateway => "gateway",
        EndedBy::Client => "client",
        EndedBy::Panic => "panic",
    }
}

#[cfg(test)]
mod tests;
