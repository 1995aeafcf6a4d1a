//! Refusals for callers of gRPC, who read no bodies: the answer is one block of
//! headers that is its own trailer ("Trailers-Only" in the protocol's
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use http::{HeaderName, HeaderValue, StatusCode, header};
use knoxcall_filters::Refusal;
use knoxcall_filters::names::X_REQUEST_ID;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;

use super::context::RequestId;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a message must not hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Of the protocol's status codes, those that a refusal can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 422 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            // As servers say it of a method that they do not have.
            404 | 405 | 421 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            413 | 429 | 431 => Self::ResourceExhausted,
            500 => Self::Internal,
            502 | 503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

pub fn refuse(session: &mut HttpSession, refusal: &Refusal, id: &RequestId) -> Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(6))?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    let status = Status::of(refusal.status());
    head.insert_header(STATUS, HeaderValue::from(status as u16))?;
    head.insert_header(MESSAGE, message(refusal))?;
    head.insert_header(X_REQUEST_ID, id.header_value().clone())?;
    session.write_response_header(Box::new(head), true)
}

/// The code first, by which programs know a refusal of ours.
fn message(refusal: &Refusal) -> HeaderValue {
    let text = format!("{}: {}", refusal.code(), refusal.message());
    let text = utf8_percent_encode(&text, ESCAPED).to_string();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_of_its_kind() {
        for refusal in Refusal::all_examples() {
            let status = Status::of(refusal.status());
            assert_ne!(status, Status::Unknown, "{}", refusal.code());
        }
    }

    #[test]
    fn the_message_begins_with_the_code() {
        let refusal = Refusal::Unauthorized;
        let message = message(&refusal);
        assert!(message.to_str().unwrap().starts_with(refusal.code()));
    }
}
