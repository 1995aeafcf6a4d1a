//! Reading a whole request body before a peer is chosen, within a limit.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType};
use std::num::NonZeroU32;
use std::time::Duration;

use knoxcall_filters::Refusal;

use super::buffered::Share;
use super::pace::Pace;
use super::to_client::send_continue;

pub struct BodyLimits<'s> {
    pub bytes: usize,
    /// Between two reads.
    pub timeout: Duration,
    /// Bytes a second.
    pub least_rate: Option<NonZeroU32>,
    /// Of what all requests may hold.
    pub share: &'s mut Share,
}

/// Why there is no body.
pub enum BodyError {
    Refused(Refusal),
    /// The client went away, or sent what is no body.
    Client(Box<Error>),
}

/// A body so large is refused before it is asked for. What is read is held in
/// memory meanwhile, so it may not rest: not even a call of gRPC.
pub async fn read_whole(
    session: &mut ServerSession,
    limits: BodyLimits<'_>,
) -> Result<Bytes, BodyError> {
    let announced = content_length(&session.req_header().headers);
    if announced.is_some_and(|length| length > limits.bytes as u64) {
        return Err(BodyError::Refused(Refusal::BodyTooLarge));
    }
    let known = announced.map_or(0, |length| length as usize);
    limits.share.grow_to(known).map_err(BodyError::Refused)?;
    if expects_continue(&session.req_header().headers) {
        let asked = send_continue(session, limits.timeout).await;
        asked.map_err(BodyError::Client)?;
    }
    session.set_read_timeout(Some(limits.timeout));
    let Some(first) = read_some(session, limits.timeout).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limits.bytes {
        return Err(BodyError::Refused(Refusal::BodyTooLarge));
    }
    if announced == Some(first.len() as u64) {
        return Ok(first);
    }
    read_rest(session, first, announced, limits).await
}

async fn read_rest(
    session: &mut ServerSession,
    first: Bytes,
    announced: Option<u64>,
    limits: BodyLimits<'_>,
) -> Result<Bytes, BodyError> {
    let expected = announced.map_or(2 * first.len(), |length| length as usize);
    let mut body = BytesMut::with_capacity(expected.min(limits.bytes));
    let mut pace = Pace::new(limits.least_rate);
    pace.count(first.len());
    body.extend_from_slice(&first);
    while let Some(more) = read_some(session, limits.timeout).await? {
        let length = body.len() + more.len();
        if length > limits.bytes {
            return Err(BodyError::Refused(Refusal::BodyTooLarge));
        }
        if pace.is_too_slow(more.len()) {
            return Err(BodyError::Refused(Refusal::BodyTimeout));
        }
        limits.share.grow_to(length).map_err(BodyError::Refused)?;
        body.extend_from_slice(&more);
    }
    Ok(body.freeze())
}

/// Pingora keeps the time of HTTP/1 itself, and none of HTTP/2.
async fn read_some(
    session: &mut ServerSession,
    timeout: Duration,
) -> Result<Option<Bytes>, BodyError> {
    let has_own_timeout = !session.is_http2();
    let reading = session.read_request_body();
    let read = if has_own_timeout {
        reading.await
    } else {
        pingora_timeout::timeout(timeout, reading)
            .await
            .unwrap_or_else(|_| Err(Error::new_down(ErrorType::ReadTimedout)))
    };
    read.map_err(|error| match error.etype() {
        ErrorType::ReadTimedout => BodyError::Refused(Refusal::BodyTimeout),
        _ => BodyError::Client(error),
    })
}

/// The length of a body that is worth keeping whole although nobody judges it:
/// if a pooled connection turns out to be dead, an idempotent request can be sent
/// again, body and all.
pub fn kept_for_retry(method: &Method, headers: &HeaderMap, most: usize) -> Option<usize> {
    if !method.is_idempotent() || headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let length = usize::try_from(content_length(headers)?).ok()?;
    (1..=most).contains(&length).then_some(length)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    headers.get(EXPECT).is_some_and(is_continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_an_idempotent_body_of_known_and_modest_length_is_kept() {
        let small = headers(CONTENT_LENGTH, "10");
        assert_eq!(kept_for_retry(&Method::PUT, &small, 100), Some(10));
        assert_eq!(kept_for_retry(&Method::POST, &small, 100), None);
        assert_eq!(kept_for_retry(&Method::PUT, &small, 9), None);
        assert_eq!(kept_for_retry(&Method::GET, &HeaderMap::new(), 100), None);
        let chunked = headers(TRANSFER_ENCODING, "chunked");
        assert_eq!(kept_for_retry(&Method::PUT, &chunked, 100), None);
    }
}
