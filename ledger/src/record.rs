//! One request, as the ledger keeps it. Plain data, filled on the request path:
//! every text is copied once. `docs/records.md` describes each field as it is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use uuid::Uuid;

use crate::Obfuscator;

/// Any bytes at all, UTF-8 or not. Silent in `Debug`, because a client may put
/// a secret anywhere.
///
/// Short ones lie in the record itself. Names of the configuration are copied
/// as well: the record is written on another thread, and counting it as one
/// more owner of six names costs more than their bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(SmallVec<[u8; 32]>);

/// Who brought the request to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndedBy {
    /// The upstream's answer was sent to the client.
    Upstream,
    /// We answered: a refusal, a health check, an error of ours.
    #[default]
    Gateway,
    /// The client went away before the end.
    Client,
    /// A filter panicked; the connection was dropped.
    Panic,
}

/// What the bytes of a captured body are, which decides how they are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    Other,
}

/// A captured request body, or its beginning.
#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Text,
    pub kind: BodyKind,
    /// The capture stopped before the body's end.
    pub truncated: bool,
}

/// Everything that is kept of one request.
#[derive(Clone)]
pub struct RequestRecord {
    pub request_id: Uuid,
    pub started_at: SystemTime,
    pub tenant_id: Option<Uuid>,
    pub route_id: Option<Uuid>,
    /// The route's slug.
    pub route: Option<Text>,
    pub environment: Option<Text>,
    pub sandbox: bool,
    pub method: Text,
    pub host: Text,
    /// The target with its query, as received.
    pub path: Text,
    /// For example `HTTP/1.1`.
    pub protocol: &'static str,
    /// What the client was answered; `None` if nothing was sent.
    pub status: Option<u16>,
    pub upstream_status: Option<u16>,
    pub upstream_host: Option<Text>,
    pub upstream_address: Option<SocketAddr>,
    /// Times an upstream was tried.
    pub attempts: u32,
    pub total: Duration,
    /// Until the upstream connection stood; `None` if none was made.
    pub connect: Option<Duration>,
    /// Until the first byte of the upstream's answer.
    pub first_byte: Option<Duration>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The client's address as resolved from trusted proxies.
    pub source_ip: Option<IpAddr>,
    /// The socket's other end.
    pub peer_ip: Option<IpAddr>,
    pub user_agent: Option<Text>,
    pub client_id: Option<Uuid>,
    pub client_name: Option<Text>,
    /// The API key's id, never the key.
    pub key_id: Option<Text>,
    pub identification_method: Option<&'static str>,
    pub authorized: bool,
    /// The stable code of the refusal.
    pub error: Option<&'static str>,
    /// What went wrong, for the operator.
    pub error_detail: Option<Text>,
    pub rate_limited: bool,
    pub secrets_masked: Masked,
    /// `None` where the route asks for no signature.
    pub signature_valid: Option<bool>,
    /// Names of the secrets that went into the upstream request.
    pub secrets_used: Arc<[Arc<str>]>,
    /// The client's own `X-Request-Id`.
    pub client_request_id: Option<Text>,
    /// Of a trace that the client has begun; one that begins here has the
    /// request's own id.
    pub trace_id: Option<Text>,
    /// How the client came to call us: `sdk_intercept` or `direct`.
    pub client_origin: Option<&'static str>,
    pub ended_by: EndedBy,
    /// Captured request headers, in order; empty unless capturing is on.
    pub headers: Vec<(Text, Text)>,
    /// `None` unless capturing is on.
    pub body: Option<Body>,
    /// Masks of the bundle that served this request.
    pub obfuscator: Arc<Obfuscator>,
}

/// Occurrences of the route's secrets in the answer, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    pub headers: u64,
    pub body: u64,
    pub trailers: u64,
}

// === impl Text ===

impl Text {
    /// Bytes of memory that are its own.
    fn weight(&self) -> usize {
        match self.0.spilled() {
            true => self.0.capacity(),
            false => 0,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(SmallVec::from_vec(bytes))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

// === impl EndedBy ===

impl EndedBy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
            Self::Client => "client",
            Self::Panic => "panic",
        }
    }
}

// === impl RequestRecord ===

impl RequestRecord {
    /// A record of which nothing is known yet but when the request came.
    pub fn new(request_id: Uuid, started_at: SystemTime, obfuscator: Arc<Obfuscator>) -> Self {
        Self {
            request_id,
            started_at,
            tenant_id: None,
            route_id: None,
            route: None,
            environment: None,
            sandbox: false,
            method: Text::default(),
            host: Text::default(),
            path: Text::default(),
            protocol: "",
            status: None,
            upstream_status: None,
            upstream_host: None,
            upstream_address: None,
            attempts: 0,
            total: Duration::ZERO,
            connect: None,
            first_byte: None,
            request_bytes: 0,
            response_bytes: 0,
            source_ip: None,
            peer_ip: None,
            user_agent: None,
            client_id: None,
            client_name: None,
            key_id: None,
            identification_method: None,
            authorized: false,
            error: None,
            error_detail: None,
            rate_limited: false,
            secrets_masked: Masked::default(),
            signature_valid: None,
            secrets_used: Arc::default(),
            client_request_id: None,
            trace_id: None,
            client_origin: None,
            ended_by: EndedBy::default(),
            headers: Vec::new(),
            body: None,
            obfuscator,
        }
    }

    /// Bytes of memory that it keeps beside its own size.
    pub(crate) fn weight(&self) -> usize {
        let optional = [
            &self.route,
            &self.environment,
            &self.upstream_host,
            &self.client_name,
            &self.key_id,
            &self.user_agent,
            &self.error_detail,
            &self.client_request_id,
            &self.trace_id,
        ];
        let texts = [&self.method, &self.host, &self.path]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .chain(self.headers.iter().flat_map(|(name, value)| [name, value]))
            .chain(self.body.iter().map(|body| &body.bytes));
        let headers = self.headers.capacity() * size_of::<(Text, Text)>();
        headers + texts.map(Text::weight).sum::<usize>()
    }
}

/// Only what cannot hold a secret; the whole is what [`crate::Encoder`] writes.
impl fmt::Debug for RequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRecord")
            .field("request_id", &self.request_id)
            .field("status", &self.status)
            .field("error", &self.error)
            .field("ended_by", &self.ended_by)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_text_of_the_client() {
        let mut record = RequestRecord::new(
            Uuid::nil(),
            SystemTime::UNIX_EPOCH,
            Arc::new(Obfuscator::default()),
        );
        record.path = "/?token=hunter2".into();
        record.error_detail = Some("hunter2 is wrong".into());
        assert!(!format!("{record:?} {:?}", record.path).contains("hunter2"));
    }

    #[test]
    fn everything_that_a_client_can_make_long_has_weight() {
        let long = || Text::from(vec![b'a'; 1000]);
        let record = RequestRecord {
            method: "GET".into(),
            path: long(),
            host: long(),
            user_agent: Some(long()),
            client_request_id: Some(long()),
            error_detail: Some(long()),
            headers: vec![("accept".into(), long())],
            body: Some(Body {
                bytes: long(),
                kind: BodyKind::Other,
                truncated: false,
            }),
            ..crate::sample::bare()
        };
        assert!(
            (7000..8000).contains(&record.weight()),
            "{}",
            record.weight()
        );
        assert_eq!(crate::sample::bare().weight(), 0);
    }
}
