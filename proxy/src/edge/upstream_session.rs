//! A conversation with an upstream, whichever version of HTTP it speaks: one
//! request, one answer. What differs between the two is here and nowhere else.
//!
//! HTTP/2 is RFC 9113: no header of one hop only (section 8.2.2), the host as
//! `:authority` (section 8.3.1), trailers as they come. Pingora's sessions do
//! the rest.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, request};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::v1::client::HttpSession as Http1;
use pingora::protocols::http::v2::client::Http2Session as Http2;
use pingora::{Error, ErrorType, Result};

#[expect(clippy::large_enum_variant, reason = "the common one costs no box")]
pub enum UpstreamSession {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// What an upstream has said. Its head is kept by the session.
pub enum Heard {
    Head,
    Part(Bytes),
    /// Nothing more, but for trailers where there are any.
    End(Option<HeaderMap>),
}

/// What there was of a body without waiting for it.
pub enum Taken {
    Nothing,
    Part,
    Other(Result<Heard>),
}

impl UpstreamSession {
    /// `has_body`: one follows, of whatever length.
    pub async fn write_head(&mut self, mut head: Box<RequestHeader>, has_body: bool) -> Result<()> {
        match self {
            Self::Http1(session) => {
                if has_body {
                    frame(&mut head)?;
                }
                session.write_request_header(head).await.map(drop)
            }
            Self::Http2(session) => session.write_request_header(for_http2(*head)?, !has_body),
        }
        .map_err(Error::into_up)
    }

    pub async fn write_part(&mut self, part: Bytes) -> Result<()> {
        match self {
            Self::Http1(session) => session.write_body(&part).await.map(drop),
            Self::Http2(session) => session.write_request_body(part, false).await,
        }
        .map_err(Error::into_up)
    }

    pub async fn finish_body(&mut self) -> Result<()> {
        match self {
            Self::Http1(session) => session.finish_body().await.map(drop),
            Self::Http2(session) => session.finish_request_body(),
        }
        .map_err(Error::into_up)
    }

    /// Loses nothing where it is dropped while it waits.
    pub async fn hear(&mut self, answer_begun: bool) -> Result<Heard> {
        match self {
            Self::Http1(session) => hear_http1(session, answer_begun).await,
            Self::Http2(session) => hear_http2(session, answer_begun).await,
        }
    }

    /// Shows the next of the body where it lies, if it has come already; there
    /// it need be copied but once. What is no part is heard as ever.
    pub fn take_part(&mut self, take: impl FnOnce(&[u8])) -> Taken {
        let heard = match self {
            Self::Http1(session) => match session.read_body_ref().now_or_never() {
                Some(Ok(part)) => {
                    take(part.unwrap_or_default());
                    return Taken::Part;
                }
                Some(Err(error)) => Some(Err(error)),
                None => None,
            },
            Self::Http2(session) => hear_http2(session, true).now_or_never(),
        };
        match heard {
            Some(Ok(Heard::Part(part))) => {
                take(&part);
                Taken::Part
            }
            Some(heard) => Taken::Other(heard),
            None => Taken::Nothing,
        }
    }

    /// `None` until it has been read.
    pub fn head(&self) -> Option<&ResponseHeader> {
        match self {
            Self::Http1(session) => session.resp_header(),
            Self::Http2(session) => session.response_header(),
        }
    }

    /// Has the answer come to its end, without trailers? Of a stream that was
    /// reset, HTTP/2 would say so too; that is an error.
    pub fn has_ended(&mut self) -> Result<bool> {
        match self {
            Self::Http1(session) => Ok(session.is_body_done()),
            Self::Http2(session) => session.check_response_end_or_error(),
        }
        .map_err(Error::into_up)
    }

    /// Does it say when it wants a body that waits to be asked for? Of HTTP/2,
    /// Pingora passes on no interim answer.
    pub fn gives_leave(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        match self {
            Self::Http1(session) => session.write_timeout = timeout,
            Self::Http2(session) => session.write_timeout = timeout,
        }
    }

    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Http1(session) => Some(session.digest()),
            Self::Http2(session) => session.digest(),
        }
    }
}

async fn hear_http1(session: &mut Http1, answer_begun: bool) -> Result<Heard> {
    if !answer_begun {
        session.read_response().await?;
        return Ok(Heard::Head);
    }
    // Pingora's own task copies each head.
    let part = session.read_body_bytes().await?;
    Ok(Heard::Part(part.unwrap_or_default()))
}

async fn hear_http2(session: &mut Http2, answer_begun: bool) -> Result<Heard> {
    if !answer_begun {
        session.read_response_header().await?;
        return Ok(Heard::Head);
    }
    match session.read_response_body().await? {
        Some(part) if !part.is_empty() && has_no_body(session) => {
            let why = "a body behind a status that has none";
            Error::e_explain(ErrorType::InvalidHTTPHeader, why)
        }
        Some(part) => Ok(Heard::Part(part)),
        None => session.read_trailers().await.map(Heard::End),
    }
}

/// By its status; h2 itself knows the answers to HEAD (RFC 9110, section 6.4.1).
fn has_no_body(session: &Http2) -> bool {
    let status = session.response_header().map(|head| head.status);
    status
        .is_some_and(|status| [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status))
}

/// A client of HTTP/2 need not say how its body ends; one of HTTP/1.1 has said.
fn frame(head: &mut RequestHeader) -> Result<()> {
    let is_framed =
        head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
    match is_framed {
        true => Ok(()),
        false => head.insert_header(TRANSFER_ENCODING, "chunked"),
    }
}

fn for_http2(head: RequestHeader) -> Result<Box<RequestHeader>> {
    let path = head.raw_path().to_vec();
    let mut parts = request::Parts::from(head);
    let authority = parts.headers.remove(HOST);
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, EXPECT, TE] {
        parts.headers.remove(name);
    }
    if is_grpc(&parts.headers) {
        // The sign that trailers are understood, which servers ask for.
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    let uri = Uri::builder()
        // Pingora's word for both; origins go by the connection.
        .scheme("https")
        .authority(authority.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
        .path_and_query(path)
        .build();
    parts.uri = uri.map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
    parts.version = Version::HTTP_2;
    Ok(Box::new(RequestHeader::from(parts)))
}

/// `application/grpc`, `application/grpc+proto` and the like; not `grpc-web`,
/// which is plain HTTP.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/a%2f?b=c", None).unwrap();
        for (name, value) in lines {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn an_http2_request_names_its_host_once_and_no_hop() {
        let head = for_http2(request(&[
            ("host", "api.test:8443"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("expect", "100-continue"),
            ("x-a", "1"),
        ]))
        .unwrap();
        assert_eq!(head.uri.to_string(), "https://api.test:8443/a%2f?b=c");
        assert_eq!(head.version, Version::HTTP_2);
        let names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-a"]);
    }

    #[test]
    fn only_grpc_is_told_that_trailers_are_understood() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let head = for_http2(request(&[("host", "a"), ("content-type", kind)])).unwrap();
            assert_eq!(head.headers.get(TE).is_some(), is, "{kind}");
        }
    }

    #[test]
    fn a_body_without_length_goes_in_chunks_to_http1() {
        let mut open = request(&[("host", "a")]);
        frame(&mut open).unwrap();
        assert_eq!(open.headers[TRANSFER_ENCODING], "chunked");
        let mut framed = request(&[("host", "a"), ("content-length", "5")]);
        frame(&mut framed).unwrap();
        assert!(!framed.headers.contains_key(TRANSFER_ENCODING));
    }
}
