//! What a route does to the answers of its upstream: headers, members of JSON
//! bodies, decoding. The rule: an answer that cannot be changed as the route
//! says does not reach the client.
//!
//! Whoever carries answers calls [`ResponseRules::head`] with the upstream's
//! head; if the body is to be collected, it reads it whole (up to the limit) and
//! calls [`ResponseRules::body`]. Both leave the head as the client gets it;
//! what the gateway says itself is added after them. Trailers of a collected
//! answer are not passed on: they speak of another body.

mod coding;
mod decode;
mod headers;
mod mask;
mod path;
mod transform;
mod walk;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::header::{TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use knoxcall_bundle::{NotJson, ResponseDecoding, ResponseSettings};

use crate::inject::BodyType;
use crate::leak_guard::drop_validators;
use crate::refusal::Refusal;
use coding::Coded;
pub use coding::Coding;
use headers::HeaderRules;
use transform::BodyRules;

/// Of a route in one environment, compiled.
#[derive(Debug)]
pub struct ResponseRules {
    headers: HeaderRules,
    body: Option<BodyRules>,
    not_json: NotJson,
    decoding: ResponseDecoding,
}

/// An answer, before its body is read.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Of the request.
    pub method: &'a Method,
    pub status: StatusCode,
}

/// What is to be done with the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyAction {
    /// It goes on as it comes; the head is ready.
    Stream,
    Collect(Collect),
}

/// For [`ResponseRules::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    coding: Option<Coding>,
    transforms: bool,
}

/// Why an answer could not be changed as its route says; for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TransformError {
    #[error("the answer has a body that does not say it is JSON")]
    NotJson,
    #[error("the answer's body is not the JSON it says it is")]
    Malformed,
    #[error("the answer's body is nested too deeply")]
    TooDeep,
    #[error("the answer's body is larger than limits.max_inspected_body_bytes")]
    TooLarge,
    #[error("the answer's body is encoded in a way that is not decoded")]
    Encoded,
    #[error("the answer's body is not validly encoded")]
    Undecodable,
    #[error("the answer is a part of a body")]
    Partial,
}

impl TransformError {
    /// What the caller is told: which of them it is, is the operator's business.
    pub fn refusal(self) -> Refusal {
        Refusal::TransformFailed
    }
}

impl ResponseRules {
    /// `None` where answers stay as they are.
    pub(crate) fn compile(settings: &ResponseSettings) -> Option<Self> {
        (*settings != ResponseSettings::default()).then(|| Self {
            headers: HeaderRules::compile(&settings.headers),
            body: BodyRules::compile(&settings.body),
            not_json: settings.not_json,
            decoding: settings.decoding,
        })
    }

    /// Must an upstream be asked for bodies that can be changed: whole, and
    /// not in a coding that we do not decode?
    pub fn change_bodies(&self) -> bool {
        self.body.is_some()
    }

    /// Are gzip, br and zstd decoded?
    pub fn decode(&self) -> bool {
        match self.decoding {
            ResponseDecoding::Identity => false,
            ResponseDecoding::Decode => true,
        }
    }

    /// For a head that no body follows, such as an interim one's.
    pub fn headers(&self, headers: &mut HeaderMap) {
        self.headers.apply(headers);
    }

    /// `limit`: bytes of a body, before and after any change. `headers` are
    /// changed only where the body streams.
    pub fn head(
        &self,
        answer: Answer<'_>,
        headers: &mut HeaderMap,
        limit: usize,
    ) -> Result<BodyAction, TransformError> {
        let action = match answer.has_no_body(headers) {
            true => {
                self.forget_other_body(answer, headers);
                BodyAction::Stream
            }
            false => self.action(answer.status, headers)?,
        };
        match action {
            BodyAction::Stream => self.headers.apply(headers),
            BodyAction::Collect(_) if says_more_than(headers, limit) => {
                return Err(TransformError::TooLarge);
            }
            BodyAction::Collect(_) => {}
        }
        Ok(action)
    }

    /// The body that the client gets, and the head with it.
    pub fn body(
        &self,
        collect: Collect,
        body: &Bytes,
        limit: usize,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, TransformError> {
        if body.len() > limit {
            return Err(TransformError::TooLarge);
        }
        let decoded = match collect.coding {
            Some(coding) if !body.is_empty() => Some(decode::decode(coding, body, limit)?),
            Some(_) | None => None,
        };
        let plain = decoded.as_deref().unwrap_or(body);
        let changed = match &self.body {
            Some(rules) if collect.transforms && !plain.is_empty() => {
                rules.transform(plain, limit)?
            }
            Some(_) | None => None,
        };
        let new = changed.or(decoded).map(Bytes::from);
        if new.is_some() {
            forget_validators(headers);
        }
        if collect.coding.is_some() {
            headers.remove(CONTENT_ENCODING);
        }
        let body = new.unwrap_or_else(|| body.clone());
        frame(headers, body.len());
        self.headers.apply(headers);
        Ok(body)
    }

    fn action(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<BodyAction, TransformError> {
        let transforms = self.transforms(status, headers)?;
        let coding = match (Coded::of(headers), self.decoding) {
            (Coded::Not, _) => None,
            (Coded::By(_), ResponseDecoding::Decode) if is_part(status, headers) => {
                return Err(TransformError::Partial);
            }
            (Coded::By(coding), ResponseDecoding::Decode) => Some(coding),
            (Coded::By(_), ResponseDecoding::Identity) | (Coded::Otherwise, _) if transforms => {
                return Err(TransformError::Encoded);
            }
            (Coded::By(_), ResponseDecoding::Identity) | (Coded::Otherwise, _) => None,
        };
        Ok(match transforms || coding.is_some() {
            true => BodyAction::Collect(Collect { coding, transforms }),
            false => BodyAction::Stream,
        })
    }

    fn transforms(&self, status: StatusCode, headers: &HeaderMap) -> Result<bool, TransformError> {
        if self.body.is_none() {
            return Ok(false);
        }
        // The messages behind a switch of protocols are no JSON document.
        let kind = match status {
            StatusCode::SWITCHING_PROTOCOLS => Kind::Other,
            _ => Kind::of(headers)?,
        };
        match (kind, self.not_json) {
            (Kind::Json, _) if is_part(status, headers) => Err(TransformError::Partial),
            (Kind::Json, _) => Ok(true),
            (Kind::Other, NotJson::Refuse) => Err(TransformError::NotJson),
            (Kind::Other, NotJson::Pass) => Ok(false),
        }
    }

    /// The head of an answer to HEAD speaks of a body that nobody gets.
    fn forget_other_body(&self, answer: Answer<'_>, headers: &mut HeaderMap) {
        let is_decoded = self.decode() && matches!(Coded::of(headers), Coded::By(_));
        let is_json = || matches!(Kind::of(headers), Ok(Kind::Json));
        let would_differ = is_decoded || (self.body.is_some() && is_json());
        if *answer.method == Method::HEAD && would_differ {
            forget_validators(headers);
            headers.remove(CONTENT_LENGTH);
            if is_decoded {
                headers.remove(CONTENT_ENCODING);
            }
        }
    }
}

impl Answer<'_> {
    /// RFC 9110, section 6.4.1, and bodies of no bytes.
    fn has_no_body(&self, headers: &HeaderMap) -> bool {
        let is_empty = |length: &HeaderValue| length == "0";
        *self.method == Method::HEAD
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status)
            || (self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS)
            || (self.status != StatusCode::SWITCHING_PROTOCOLS
                && !headers.contains_key(TRANSFER_ENCODING)
                && headers.get(CONTENT_LENGTH).is_some_and(is_empty))
    }
}

/// What an answer says its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Other,
}

impl Kind {
    /// Two types, or JSON in another charset than UTF-8, could be JSON to the
    /// client and something else to us.
    fn of(headers: &HeaderMap) -> Result<Self, TransformError> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let Some(value) = types.next() else {
            return Ok(Self::Other);
        };
        let mut essence = value.as_bytes().split(|byte| *byte == b';');
        if types.next().is_some() || essence.next().is_some_and(|text| text.contains(&b',')) {
            return Err(TransformError::NotJson);
        }
        match BodyType::named(value.as_bytes()) {
            BodyType::Json => Ok(Self::Json),
            BodyType::Encoded => Err(TransformError::Encoded),
            BodyType::Unnamed | BodyType::Form | BodyType::Xml | BodyType::Other => Ok(Self::Other),
        }
    }
}

fn is_part(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE)
}

fn says_more_than(headers: &HeaderMap, limit: usize) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > limit as u64)
}

/// What vouches for, or addresses, the bytes of a body that has changed.
fn forget_validators(headers: &mut HeaderMap) {
    drop_validators(headers);
    headers.remove(ACCEPT_RANGES);
}

fn frame(headers: &mut HeaderMap, length: usize) {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(TRAILER);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
