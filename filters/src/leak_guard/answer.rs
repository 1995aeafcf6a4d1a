//! One answer of a guarded route, from its head to its trailers.
//!
//! A head leaves before its body is seen, and must not vouch for bytes that are
//! changed afterwards. So where a head has validators or digests, it waits for
//! the body ([`AnswerGuard::holds_head`]), up to [`HELD_BODY`] bytes of it: a
//! body that is over by then keeps them unless it was masked, a longer one
//! loses them. A head without them, and one of a stream of messages, never
//! waits.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use knoxcall_bundle::LeakGuardMode;

use super::LeakGuard;
use super::coding::{Coding, drop_digests, drop_validators, has_validators};
use super::masker::{Masker, Next};
use super::messages::Messages;
use crate::refusal::Refusal;
use crate::table::Service;

/// Bytes of a body for which a head waits.
pub const HELD_BODY: usize = 64 * 1024;

pub struct AnswerGuard {
    guard: Arc<LeakGuard>,
    masker: Masker,
    body: Body,
    holds_head: bool,
    in_head: usize,
    in_trailers: usize,
    is_uninspected: bool,
}

enum Body {
    /// There is none, or it passes as it is.
    Unseen,
    Masked(Messages),
}

/// What was masked where, for the record and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Occurrences in the values of headers.
    pub headers: usize,
    pub body: usize,
    pub trailers: usize,
    /// The body was encoded or in foreign characters, and passed (`lenient`).
    pub is_uninspected: bool,
}

impl AnswerGuard {
    /// Masks the head. `None` where the route is not guarded; refused where the
    /// body cannot be looked into and must be. `coding` is by the upstream's own
    /// head, whatever rules have made of it since.
    pub fn begin(
        service: &Service,
        method: &Method,
        status: StatusCode,
        coding: Coding,
        headers: &mut HeaderMap,
    ) -> Result<Option<Self>, Refusal> {
        let Some(guard) = &service.leak_guard else {
            return Ok(None);
        };
        let in_head = guard.mask_headers(headers);
        let has_body = *method != Method::HEAD && !has_no_body(status, headers);
        let coding = has_body.then(|| coding.within(headers));
        let is_uninspected = coding.is_some_and(Coding::is_opaque);
        if is_uninspected && service.leak_guard_mode == LeakGuardMode::Strict {
            return Err(Refusal::ResponseUninspectable);
        }
        let body = coding.map_or(Body::Unseen, Body::of);
        let holds_head = match &body {
            Body::Masked(Messages::Whole) => has_validators(headers),
            Body::Masked(Messages::Events(_) | Messages::Prefixed(_)) => {
                drop_validators(headers);
                false
            }
            Body::Unseen => false,
        };
        Ok(Some(Self {
            guard: guard.clone(),
            masker: Masker::default(),
            body,
            holds_head,
            in_head,
            in_trailers: 0,
            is_uninspected,
        }))
    }

    /// Should the head wait for the body's end, or [`HELD_BODY`] bytes of it?
    pub fn holds_head(&self) -> bool {
        self.holds_head
    }

    /// Before the head leaves. `is_whole`: all of the body has been fed.
    pub fn release_head(&mut self, headers: &mut HeaderMap, is_whole: bool) {
        let is_sound = is_whole && self.masker.hits() == 0;
        if std::mem::take(&mut self.holds_head) && !is_sound {
            drop_validators(headers);
        }
    }

    /// A part of the body, as it may go out. The last one, which may be empty,
    /// must be fed before trailers are sent.
    pub fn feed(&mut self, part: Bytes, is_last: bool) -> Bytes {
        let Body::Masked(messages) = &mut self.body else {
            return part;
        };
        let next = match messages.end_with(&part) {
            _ if is_last => Next::Nothing,
            true => Next::Message,
            false => Next::More,
        };
        self.masker.feed_before(&self.guard, part, next)
    }

    pub fn trailers(&mut self, trailers: &mut HeaderMap) {
        self.in_trailers += self.guard.mask_headers(trailers);
        if self.masker.hits() > 0 {
            drop_digests(trailers);
        }
    }

    pub fn findings(&self) -> Findings {
        Findings {
            headers: self.in_head,
            body: self.masker.hits(),
            trailers: self.in_trailers,
            is_uninspected: self.is_uninspected,
        }
    }
}

impl Body {
    fn of(coding: Coding) -> Self {
        match coding {
            Coding::Encoded => Self::Unseen,
            Coding::Plain
            | Coding::Foreign
            | Coding::Events
            | Coding::Messages
            | Coding::WebSocket => Self::Masked(Messages::of(coding)),
        }
    }
}

/// Chunks overrule a length (RFC 9112, section 6.3), and what follows a switch
/// of protocols has none.
fn has_no_body(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_empty = headers
        .get(CONTENT_LENGTH)
        .is_some_and(|length| length == "0")
        && !headers.contains_key(TRANSFER_ENCODING)
        && status != StatusCode::SWITCHING_PROTOCOLS;
    is_empty || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

#[cfg(test)]
mod tests;
