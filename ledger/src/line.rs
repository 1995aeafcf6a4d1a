//! A record as one line of JSON. The first members are the public product's
//! request-log row, in its order; `docs/records.md` describes every one.
//!
//! Written by hand, because it is done for every request. The line is made
//! without looking for secret values, and its texts are searched once, all
//! together; only a line that holds a value (a client sent it, or a name equals
//! it) is made again, text by text.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::record::{Body, Masked, RequestRecord, Text};
use crate::{Obfuscator, json};

/// Bytes that suffice for most lines.
const MOST_LINES: usize = 2048;

/// Makes lines; keeps its buffer for the next.
#[derive(Default)]
pub struct Encoder {
    texts: Vec<u8>,
}

impl Encoder {
    /// Appends `record` to `out` as one line, masked, with its line feed.
    pub fn encode(&mut self, record: &RequestRecord, out: &mut Vec<u8>) {
        let masks = &*record.obfuscator;
        out.reserve(MOST_LINES);
        let start = out.len();
        self.texts.clear();
        let secrets = Secrets::Gather(&mut self.texts);
        Line {
            out,
            masks,
            secrets,
        }
        .record(record);
        if masks.sees_secrets(&self.texts) {
            out.truncate(start);
            let secrets = Secrets::Mask;
            Line {
                out,
                masks,
                secrets,
            }
            .record(record);
        }
        out.push(b'\n');
    }
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    masks: &'a Obfuscator,
    secrets: Secrets<'a>,
}

/// What to do about secret values in a text.
enum Secrets<'a> {
    /// Put the text here, to be searched with all others. A line feed parts
    /// them: it continues no escape.
    Gather(&'a mut Vec<u8>),
    Mask,
}

impl Line<'_> {
    fn record(&mut self, record: &RequestRecord) {
        self.product_row(record);
        self.exchange(record);
        self.caller(record);
        self.timing(record);
        self.captured(record);
        self.out.push(b'}');
    }

    fn product_row(&mut self, record: &RequestRecord) {
        self.key("{\"request_id\":");
        self.uuid(record.request_id);
        self.key(",\"tenant_id\":");
        self.option(record.tenant_id, Self::uuid);
        self.key(",\"route_id\":");
        self.option(record.route_id, Self::uuid);
        self.key(",\"matched_client_id\":");
        self.option(record.client_id, Self::uuid);
        self.key(",\"identification_method\":");
        self.option(record.identification_method, Self::ours);
        self.key(",\"method\":");
        self.text(&record.method);
        self.key(",\"status_code\":");
        self.option(record.status, Self::integer);
        self.key(",\"src_ip\":");
        self.option(record.source_ip, Self::address);
        self.key(",\"environment\":");
        self.option(record.environment.as_ref(), Self::name);
        self.key(",\"sandbox\":");
        json::boolean(self.out, record.sandbox);
        self.key(",\"ts\":\"");
        json::timestamp(self.out, record.started_at);
        self.key("\",\"path\":");
        self.text(&record.path);
        self.key(",\"latency_ms\":");
        self.milliseconds(record.total);
        self.key(",\"upstream_host\":");
        self.option(record.upstream_host.as_ref(), Self::name);
        self.key(",\"error\":");
        self.option(record.error, Self::ours);
        self.key(",\"rate_limited\":");
        json::boolean(self.out, record.rate_limited);
        self.masked(record.secrets_masked);
        self.key(",\"client_origin\":");
        self.option(record.client_origin, Self::ours);
    }

    fn masked(&mut self, found: Masked) {
        let places = [
            ("headers", found.headers),
            ("body", found.body),
            ("trailers", found.trailers),
        ];
        let all: u64 = places.iter().map(|(_, count)| count).sum();
        if all == 0 {
            return;
        }
        self.key(",\"secrets_masked\":");
        self.integer(all);
        self.key(",\"secrets_masked_in\":");
        let mut before = b'[';
        for (place, _) in places.iter().filter(|(_, count)| *count > 0) {
            self.out.push(before);
            self.ours(place);
            before = b',';
        }
        self.out.push(b']');
    }

    fn exchange(&mut self, record: &RequestRecord) {
        self.key(",\"route\":");
        self.option(record.route.as_ref(), Self::name);
        self.key(",\"host\":");
        self.text(&record.host);
        self.key(",\"protocol\":");
        self.ours(record.protocol);
        self.key(",\"upstream_status\":");
        self.option(record.upstream_status, Self::integer);
        self.key(",\"upstream_address\":");
        self.option(record.upstream_address, |line, address| {
            line.out.push(b'"');
            json::socket_address(line.out, address);
            line.out.push(b'"');
        });
        self.key(",\"attempts\":");
        self.integer(record.attempts);
        self.key(",\"request_bytes\":");
        self.integer(record.request_bytes);
        self.key(",\"response_bytes\":");
        self.integer(record.response_bytes);
        self.key(",\"error_detail\":");
        self.option(record.error_detail.as_ref(), Self::text);
        self.key(",\"ended_by\":");
        self.ours(record.ended_by.as_str());
    }

    fn caller(&mut self, record: &RequestRecord) {
        self.key(",\"authorized\":");
        json::boolean(self.out, record.authorized);
        self.key(",\"client_name\":");
        self.option(record.client_name.as_ref(), Self::name);
        self.key(",\"key_id\":");
        self.option(record.key_id.as_ref(), Self::name);
        self.key(",\"signature_valid\":");
        self.option(record.signature_valid, |line, valid| {
            json::boolean(line.out, valid)
        });
        self.key(",\"secrets_used\":");
        self.names(&record.secrets_used);
        self.key(",\"peer_ip\":");
        self.option(record.peer_ip, Self::address);
        self.key(",\"user_agent\":");
        self.option(record.user_agent.as_ref(), Self::text);
        self.key(",\"client_request_id\":");
        self.option(record.client_request_id.as_ref(), Self::text);
        if let Some(trace) = &record.trace_id {
            self.key(",\"trace_id\":");
            self.text(trace);
        }
    }

    fn timing(&mut self, record: &RequestRecord) {
        self.key(",\"connect_ms\":");
        self.option(record.connect, Self::milliseconds);
        self.key(",\"first_byte_ms\":");
        self.option(record.first_byte, Self::milliseconds);
    }

    /// Present only where something was captured.
    fn captured(&mut self, record: &RequestRecord) {
        if !record.headers.is_empty() {
            self.headers(&record.headers);
        }
        if let Some(body) = &record.body {
            self.body(body);
        }
    }

    fn headers(&mut self, headers: &[(Text, Text)]) {
        let mut before = ",\"headers\":[[";
        for (name, value) in headers {
            self.key(before);
            self.text(name);
            self.out.push(b',');
            if self.masks.hides_header(name.as_bytes()) {
                self.ours(crate::MASK);
            } else {
                self.text(value);
            }
            before = "],[";
        }
        self.key("]]");
    }

    fn body(&mut self, body: &Body) {
        let text = self.without_secrets(body.bytes.as_bytes());
        let text = self
            .masks
            .without_rules(self.masks.without_members(body, text));
        self.key(",\"body\":");
        self.string(&text);
        self.key(",\"body_truncated\":");
        json::boolean(self.out, body.truncated);
    }

    /// Text from outside: every rule applies.
    fn text(&mut self, text: &Text) {
        let text = self
            .masks
            .without_rules(self.without_secrets(text.as_bytes()));
        self.string(&text);
    }

    /// A name from the configuration: only secret values are masked.
    fn name(&mut self, name: &Text) {
        self.known(name.as_bytes());
    }

    fn known(&mut self, name: &[u8]) {
        let name = self.without_secrets(name);
        self.string(&name);
    }

    fn names(&mut self, names: &[Arc<str>]) {
        self.out.push(b'[');
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.known(name.as_bytes());
        }
        self.out.push(b']');
    }

    /// A word of our own, one of a fixed set: nothing in it needs an escape.
    fn ours(&mut self, word: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    fn uuid(&mut self, id: Uuid) {
        let mut text = [0; Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        self.ours(text);
    }

    fn address(&mut self, address: IpAddr) {
        self.out.push(b'"');
        json::address(self.out, address);
        self.out.push(b'"');
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        json::integer(self.out, value);
    }

    fn milliseconds(&mut self, duration: Duration) {
        json::milliseconds(self.out, duration);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.key("null"),
        }
    }

    fn key(&mut self, literal: &'static str) {
        self.out.extend_from_slice(literal.as_bytes());
    }

    fn without_secrets<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        match self.secrets {
            Secrets::Gather(_) => Cow::Borrowed(text),
            Secrets::Mask => self.masks.without_secrets(text),
        }
    }

    fn string(&mut self, text: &[u8]) {
        if let Secrets::Gather(texts) = &mut self.secrets {
            texts.extend_from_slice(text);
            texts.push(b'\n');
        }
        json::string(self.out, text);
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
