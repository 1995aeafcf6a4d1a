//! The head of an upstream's answer, as the client gets it: framed so that it
//! ends where we end it, without what was said for one hop, and with what is
//! ours to say.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use knoxcall_filters::leak_guard::{Coding, Findings};
use knoxcall_filters::names::{UPSTREAM_STATUS, X_REQUEST_ID};
use knoxcall_filters::rate_limit::Quota;
use knoxcall_filters::table::Service;
use knoxcall_filters::upstream_headers::nominated;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use super::context::Context;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that are added to an answer, Pingora's two among them: a map that
/// grows moves all it holds.
const OURS: usize = 8;

/// How a client finds where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its head: the status says so.
    Head,
    /// With its head too, which tells the length that another answer has.
    HeadWithLength,
    Length,
    Chunks,
    /// With its stream of HTTP/2.
    Stream,
    /// With the connection: for HTTP/1.0, which knows no chunks.
    Close,
}

/// Not an interim answer; a switch of protocols is the last there is.
pub fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

pub fn interim_head(
    upstream: &ResponseHeader,
    service: &Service,
    context: &mut Context,
) -> Box<ResponseHeader> {
    let mut headers = kept(&upstream.headers);
    if let Some(rules) = &service.response_rules {
        rules.headers(&mut headers);
    }
    if let Some(guard) = &service.leak_guard {
        context.note_leaks(Findings {
            headers: guard.mask_headers(&mut headers),
            ..Findings::default()
        });
    }
    frame(&mut headers, Ending::Head);
    headers.remove(UPSTREAM_STATUS);
    headers.insert(X_REQUEST_ID, context.id.header_value().clone());
    head(upstream.status, headers)
}

/// The head of a final answer, which the route's rules may change.
pub struct AnswerHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Of the body, whatever rules make of the head.
    pub coding: Coding,
}

impl AnswerHead {
    /// Without what was said for one hop.
    pub fn of(upstream: &ResponseHeader) -> Result<Self> {
        let (status, headers) = (upstream.status, &upstream.headers);
        check_coding(headers)?;
        Ok(Self {
            status,
            headers: kept(headers),
            coding: Coding::of(status, headers),
        })
    }

    /// Server-sent events, by the WHATWG's HTML standard, section 9.2.
    pub fn streams_events(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let essence = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
        essence.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
    }

    pub fn finish(
        mut self,
        request: &RequestHeader,
        context: &Context,
    ) -> (Box<ResponseHeader>, Ending) {
        let ending = Ending::of(&self, request);
        frame(&mut self.headers, ending);
        if self.status == StatusCode::SWITCHING_PROTOCOLS {
            let switched = HeaderValue::from_static("Upgrade");
            self.headers.insert(CONNECTION, switched);
        }
        mark(&mut self.headers, self.status, context);
        (head(self.status, self.headers), ending)
    }
}

fn head(status: StatusCode, headers: HeaderMap) -> Box<ResponseHeader> {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    Box::new(ResponseHeader::from(parts))
}

/// What is ours to say in every answer of an upstream.
pub fn mark(headers: &mut HeaderMap, status: StatusCode, context: &Context) {
    headers.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
    headers.insert(X_REQUEST_ID, context.id.header_value().clone());
    // Not `extend`: that would leave an upstream's own beside ours.
    for (name, value) in context.quota.iter().flat_map(Quota::headers) {
        headers.insert(name, value);
    }
}

impl Ending {
    /// Pingora has taken the upstream's chunks apart, so the answer ends as
    /// this client understands it (RFC 9112, section 6.3).
    fn of(head: &AnswerHead, request: &RequestHeader) -> Self {
        if [StatusCode::NO_CONTENT, StatusCode::SWITCHING_PROTOCOLS].contains(&head.status) {
            Self::Head
        } else if head.status == StatusCode::NOT_MODIFIED || request.method == Method::HEAD {
            Self::HeadWithLength
        } else if head.headers.contains_key(CONTENT_LENGTH) {
            Self::Length
        } else {
            match request.version {
                Version::HTTP_11 => Self::Chunks,
                Version::HTTP_2 => Self::Stream,
                _older => Self::Close,
            }
        }
    }
}

fn frame(headers: &mut HeaderMap, ending: Ending) {
    match ending {
        Ending::Chunks => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ending::Length => say_length_once(headers),
        Ending::HeadWithLength => {
            headers.remove(TRANSFER_ENCODING);
            say_length_once(headers);
        }
        Ending::Head => {
            headers.remove(TRANSFER_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        Ending::Stream | Ending::Close => {
            headers.remove(TRANSFER_ENCODING);
        }
    }
}

/// Pingora has seen that all are equal (RFC 9110, section 8.6).
fn say_length_once(headers: &mut HeaderMap) {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), second) = (all.next(), all.next()) else {
        return;
    };
    let mut members = first.as_bytes().split(|byte| *byte == b',');
    let length = members.next().unwrap_or_default().trim_ascii();
    if (second.is_some() || members.next().is_some())
        && let Ok(length) = HeaderValue::from_bytes(length)
    {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// Another coding than chunks could end elsewhere for the client than for us.
fn check_coding(headers: &HeaderMap) -> Result<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        (Some(_), _) => Err(Error::new_up(ErrorType::InvalidHTTPHeader)),
    }
}

/// What was not said for one hop only (RFC 9110, section 7.6.1), with room for
/// ours. `Upgrade` stays: in a 426 it is what the client has to know. Trailers
/// are not passed on, so none are announced.
fn kept(upstream: &HeaderMap) -> HeaderMap {
    let nominated = nominated(upstream);
    let mut kept = HeaderMap::with_capacity(upstream.len() + OURS);
    for (name, value) in upstream {
        let is_of_one_hop = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRAILER].contains(name);
        if !is_of_one_hop && !nominated.contains(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            })
    }

    fn ending(
        status: u16,
        method: &str,
        version: Version,
        lines: &[(&'static str, &'static str)],
    ) -> Ending {
        let head = AnswerHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers(lines),
            coding: Coding::Plain,
        };
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        request.set_version(version);
        Ending::of(&head, &request)
    }

    #[test]
    fn an_answer_ends_as_its_client_understands_it() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        let length = [("content-length", "5")];
        let chunked = [("transfer-encoding", "chunked")];
        assert_eq!(ending(200, "GET", new, &length), Ending::Length);
        assert_eq!(ending(200, "GET", old, &length), Ending::Length);
        assert_eq!(ending(200, "GET", new, &chunked), Ending::Chunks);
        assert_eq!(ending(200, "GET", old, &chunked), Ending::Close);
        assert_eq!(ending(200, "GET", new, &[]), Ending::Chunks);
        assert_eq!(ending(200, "HEAD", new, &length), Ending::HeadWithLength);
        assert_eq!(ending(304, "GET", new, &length), Ending::HeadWithLength);
        assert_eq!(ending(204, "GET", new, &length), Ending::Head);
        assert_eq!(ending(101, "GET", new, &chunked), Ending::Head);
    }

    #[test]
    fn what_has_no_body_is_not_framed() {
        let both = [("transfer-encoding", "chunked"), ("content-length", "5")];
        let mut none = headers(&both);
        frame(&mut none, Ending::Head);
        assert!(none.is_empty());
        let mut told = headers(&both);
        frame(&mut told, Ending::HeadWithLength);
        assert_eq!(told, headers(&[("content-length", "5")]));
    }

    #[test]
    fn a_length_is_said_once() {
        for lines in [
            &[("content-length", "2"), ("content-length", "2")][..],
            &[("content-length", "2, 2")],
            &[("content-length", "2")],
        ] {
            let mut said = headers(lines);
            frame(&mut said, Ending::Length);
            assert_eq!(said, headers(&[("content-length", "2")]), "{lines:?}");
        }
    }

    #[test]
    fn only_chunks_are_a_coding_that_ends_where_we_say() {
        for coding in ["gzip, chunked", "identity", "chunked, chunked", ""] {
            assert!(check_coding(&headers(&[("transfer-encoding", coding)])).is_err());
        }
        assert!(check_coding(&headers(&[("transfer-encoding", "Chunked")])).is_ok());
    }

    #[test]
    fn what_is_for_one_hop_stays_there() {
        let all = headers(&[
            ("connection", "keep-alive, Upgrade, x-one"),
            ("connection", "x-two, content-length, content-encoding"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=1"),
            ("trailer", "x-sum"),
            ("content-length", "2"),
            ("content-encoding", "gzip"),
            ("upgrade", "h2c"),
        ]);
        let left = [
            ("content-length", "2"),
            ("content-encoding", "gzip"),
            ("upgrade", "h2c"),
        ];
        assert_eq!(kept(&all), headers(&left));
        let unnamed = headers(&[
            ("keep-alive", "timeout=1"),
            ("proxy-connection", "close"),
            ("x-own", "1"),
            ("x-own", "2"),
        ]);
        assert_eq!(kept(&unnamed), headers(&[("x-own", "1"), ("x-own", "2")]));
    }
}
