//! What is written to a client, in time or not at all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use super::answer_head::is_final;
use super::context::Context;

/// The end of an answer.
pub enum Last {
    Part(Bytes),
    Trailers {
        part: Bytes,
        trailers: HeaderMap,
    },
    /// Said with the head, as HTTP/2 can.
    Sent,
}

/// An answer before the answer. Clients of HTTP/1.0 know none (RFC 9110, section
/// 15.2), and those of HTTP/2 Pingora cannot tell. It would also take a body that
/// is to come for one left unread, and close the connection behind it.
pub async fn send_interim(
    session: &mut ServerSession,
    head: Box<ResponseHeader>,
    patience: Duration,
) -> Result<()> {
    if session.req_header().version != Version::HTTP_11 {
        return Ok(());
    }
    session.set_close_on_response_before_downstream_finish(false);
    let written = within(patience, session.write_response_header(head)).await;
    session.set_close_on_response_before_downstream_finish(true);
    written
}

/// Asks for the body.
pub async fn send_continue(session: &mut ServerSession, patience: Duration) -> Result<()> {
    let head = ResponseHeader::build(StatusCode::CONTINUE, Some(0))?;
    send_interim(session, Box::new(head), patience).await
}

/// Some of an answer's body.
pub async fn send_part(session: &mut ServerSession, part: Bytes, patience: Duration) -> Result<()> {
    within(patience, session.write_response_body(part, false)).await
}

/// HTTP/1 clients have no use for trailers: they were never announced (RFC
/// 9110, section 6.5.1).
pub async fn send_last(session: &mut ServerSession, last: Last, patience: Duration) -> Result<()> {
    match last {
        // HTTP/1 says the end by itself.
        Last::Part(part) => {
            let is_end = session.is_http2();
            within(patience, session.write_response_body(part, is_end)).await
        }
        Last::Trailers { part, trailers } => {
            send_part(session, part, patience).await?;
            let written = session.write_response_trailers(trailers).await;
            written.map_err(Error::into_down)
        }
        Last::Sent => Ok(()),
    }
}

pub fn answer_has_begun(session: &ServerSession) -> bool {
    let written = session.response_written();
    written.is_some_and(|head| is_final(head.status))
}

/// For a client that takes nothing of an answer of ours.
pub fn client_patience(context: &Context) -> Duration {
    context.snapshot.settings.limits.body_timeout
}

pub async fn within<T>(patience: Duration, write: impl Future<Output = Result<T>>) -> Result<T> {
    match pingora_timeout::timeout(patience, write).await {
        Ok(written) => written.map_err(Error::into_down),
        Err(_) => Err(Error::new_down(ErrorType::WriteTimedout)),
    }
}
