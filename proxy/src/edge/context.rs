//! What one request carries from phase to phase. When it is dropped, at the
//! end, after a panic or with its connection, its record goes to the ledger:
//! Pingora's own `logging` phase does not run in the last two cases.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use knoxcall_filters::leak_guard::Findings;
use knoxcall_filters::plan::Proto;
use knoxcall_filters::rate_limit::Quota;
use knoxcall_filters::table::TargetIndex;
use knoxcall_filters::trace_context::Span;
use knoxcall_filters::{ClientCertificate, Head};
use knoxcall_ledger::{EndedBy, RequestRecord};
use uuid::{NoContext, Timestamp, Uuid};

use super::buffered::Share;
use crate::gateway::Gateway;
use crate::health::Probe;
use crate::snapshot::Snapshot;
use crate::spans::OwnSpan;

/// Always ours, a UUIDv7: sorts by time.
#[derive(Clone)]
pub struct RequestId {
    uuid: Uuid,
    text: HeaderValue,
}

pub struct Context {
    gateway: Arc<Gateway>,
    /// Loaded once; the request reads no other to its end.
    pub snapshot: Arc<Snapshot>,
    pub id: RequestId,
    pub started: Instant,
    /// How the client's connection came in.
    pub proto: Proto,
    /// The client's, as far as this request's snapshot believes it.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The same moment by the clock on the wall.
    pub arrived: SystemTime,
    /// Boxed, because it is moved to the ledger when all is over. `None` where
    /// nobody would keep anything of it.
    record: Option<Box<RequestRecord>>,
    /// `None`: not exported.
    span: Option<OwnSpan>,
    pub outcome: Outcome,
    /// Where the request goes.
    pub target: Option<TargetIndex>,
    /// The whole body, where it has been read before a peer was chosen.
    pub body: Option<Bytes>,
    /// What of bodies is held in memory, of the request's and of the answer's.
    pub buffered: Share,
    /// The limit nearest to running out, once limits were consulted.
    pub quota: Option<Quota>,
}

/// How it went: for the metrics, and for the record where there is one.
#[derive(Default)]
pub struct Outcome {
    /// What the client was answered.
    pub status: Option<u16>,
    pub upstream_status: Option<u16>,
    /// Until the first byte of the upstream's answer.
    pub first_byte: Option<Duration>,
    /// Times an upstream was tried.
    pub attempts: u32,
}

// === impl RequestId ===

impl RequestId {
    pub fn at(now: SystemTime) -> Self {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let timestamp = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        let uuid = Uuid::new_v7(timestamp);
        let mut buffer = Uuid::encode_buffer();
        let text = uuid.hyphenated().encode_lower(&mut buffer);
        Self {
            uuid,
            text: HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }

    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    pub fn as_str(&self) -> &str {
        self.text.to_str().unwrap_or_default()
    }

    pub fn header_value(&self) -> &HeaderValue {
        &self.text
    }
}

// === impl Context ===

impl Context {
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        let snapshot = gateway.snapshot.load_full();
        let arrived = SystemTime::now();
        let id = RequestId::at(arrived);
        let keeps_record = gateway.ledger.keeps_records();
        let record = keeps_record.then(|| new_record(&id, arrived, &snapshot));
        gateway.metrics.requests_active.inc();
        let most = snapshot.settings.limits.max_buffered;
        let buffered = Share::new(&gateway.buffered, most);
        Self {
            gateway: gateway.clone(),
            snapshot,
            id,
            started: Instant::now(),
            proto: Proto::Http,
            certificate: None,
            arrived,
            record,
            span: None,
            outcome: Outcome::default(),
            target: None,
            body: None,
            buffered,
            quota: None,
        }
    }

    /// Every answer of a stopping gateway ends its connection.
    pub fn must_close(&self) -> bool {
        self.gateway.is_stopping()
    }

    /// Where the upstream's answer held a secret, not which.
    pub fn note_leaks(&mut self, found: Findings) {
        if found == Findings::default() {
            return;
        }
        self.gateway.metrics.leaks.count(found);
        self.note(|record| {
            let masked = &mut record.secrets_masked;
            masked.headers += found.headers as u64;
            masked.body += found.body as u64;
            masked.trailers += found.trailers as u64;
        });
    }

    /// Once the head is known, and before anything is noted of it.
    pub fn begin_span(&mut self, head: &Head) {
        let Some(spans) = &self.gateway.spans else {
            return;
        };
        if Probe::of_request(head).is_some() {
            return;
        }
        self.span = spans.begin(head, self.id.uuid());
        if self.span.is_some() && self.record.is_none() {
            self.record = Some(new_record(&self.id, self.arrived, &self.snapshot));
        }
    }

    /// As the upstream's traces see it.
    pub fn trace_span(&self) -> Span {
        match (&self.gateway.spans, self.span) {
            (None, _) => Span::Absent,
            (Some(_), None) => Span::Unsampled,
            (Some(_), Some(span)) => Span::Own(span.id),
        }
    }

    /// Notes something for the record.
    pub fn note(&mut self, write: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = self.record.as_deref_mut() {
            write(record);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        self.count(total);
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.total = total;
        record.status = self.outcome.status;
        record.upstream_status = self.outcome.upstream_status;
        record.first_byte = self.outcome.first_byte;
        record.attempts = self.outcome.attempts;
        if std::thread::panicking() {
            record.ended_by = EndedBy::Panic;
        }
        if let (Some(spans), Some(span)) = (&self.gateway.spans, self.span) {
            spans.end(span, &record, self.proto);
        }
        self.gateway.ledger.submit(record);
    }
}

impl Context {
    fn count(&self, total: Duration) {
        let metrics = &self.gateway.metrics;
        metrics.requests_active.dec();
        metrics.count_request(self.outcome.status);
        metrics.latency.observe(total.as_secs_f64());
        if let Some(status) = self.outcome.upstream_status {
            metrics.count_upstream(status);
        }
        if let Some(first_byte) = self.outcome.first_byte {
            metrics.upstream_latency.observe(first_byte.as_secs_f64());
        }
    }
}

fn new_record(id: &RequestId, arrived: SystemTime, snapshot: &Snapshot) -> Box<RequestRecord> {
    let masks = snapshot.obfuscator.clone();
    Box::new(RequestRecord::new(id.uuid(), arrived, masks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_7_and_differ() {
        let now = SystemTime::now();
        let (first, second) = (RequestId::at(now), RequestId::at(now));
        assert_eq!(first.uuid().get_version_num(), 7);
        assert_eq!(first.as_str().len(), 36);
        assert_ne!(first.as_str(), second.as_str());
    }
}
