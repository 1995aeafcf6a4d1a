//! What a failure of Pingora's means: a refusal for the client, or a client
//! that is gone. Also, when a failed try may be made again.

use std::io;

use http::Method;
use pingora::{Error, ErrorSource, ErrorType};

use knoxcall_filters::Refusal;
use knoxcall_filters::refusal::Malformation;

/// Tries in all, the first included.
pub const MOST_TRIES: u32 = 3;

pub enum Failure {
    Refused(Refusal),
    ClientGone,
}

pub fn classify(error: &Error) -> Failure {
    match error.esource() {
        ErrorSource::Upstream => Failure::Refused(upstream(error.etype())),
        ErrorSource::Downstream => downstream(error),
        ErrorSource::Internal | ErrorSource::Unset => Failure::Refused(Refusal::Internal),
    }
}

fn upstream(kind: &ErrorType) -> Refusal {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            Refusal::UpstreamTimeout
        }
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::SocketError
        | ErrorType::BindError => Refusal::UpstreamUnreachable,
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::TLSWantX509Lookup
        | ErrorType::HandshakeError
        | ErrorType::InvalidCert => Refusal::UpstreamTls,
        _ => Refusal::UpstreamFailed,
    }
}

fn downstream(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::ReadTimedout => Failure::Refused(Refusal::BodyTimeout),
        ErrorType::ReadError if is_invalid(error) => {
            Failure::Refused(Refusal::Malformed(Malformation::InvalidBody))
        }
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::H2Error
        | ErrorType::ConnectionClosed => Failure::ClientGone,
        _ => Failure::Refused(Refusal::Malformed(Malformation::InvalidBody)),
    }
}

/// The client's connection itself said so: see [`super::client_stream`].
fn is_invalid(error: &Error) -> bool {
    let cause = error.cause.as_ref();
    cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

/// Nothing has been sent yet, so any method may try another address.
pub fn may_connect_again(error: &Error, attempts: u32) -> bool {
    let quick = matches!(
        error.etype(),
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError
    );
    quick && attempts < MOST_TRIES
}

/// Not one stream of HTTP/2 that the upstream gave up, unless it says that it
/// has not begun with it (RFC 9113, section 8.7).
pub fn ended_with_connection(error: &Error) -> bool {
    match error.root_cause().downcast_ref::<h2::Error>() {
        None => true,
        Some(error) => {
            let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            is_refused || error.is_go_away() || error.is_io()
        }
    }
}

/// A pooled connection that the upstream had closed: the request may be sent
/// once more if sending it twice does no harm and all of it is still here.
pub fn may_send_again(error: &Error, method: &Method, body_at_hand: bool, attempts: u32) -> bool {
    let broke = matches!(
        error.etype(),
        ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::ConnectionClosed
            // A connection of many streams that its upstream is closing.
            | ErrorType::H2Error
    );
    let is_upstreams = *error.esource() == ErrorSource::Upstream;
    broke && is_upstreams && body_at_hand && method.is_idempotent() && attempts < MOST_TRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_never_sent_again() {
        let error = Error::new_up(ErrorType::ConnectionClosed);
        assert!(may_send_again(&error, &Method::PUT, true, 1));
        assert!(!may_send_again(&error, &Method::POST, true, 1));
        assert!(!may_send_again(&error, &Method::PATCH, true, 1));
    }

    #[test]
    fn a_client_that_hangs_up_is_no_reason_to_ask_again() {
        for kind in [ErrorType::ConnectionClosed, ErrorType::ReadError] {
            let error = Error::new_down(kind);
            assert!(!may_send_again(&error, &Method::GET, true, 1));
        }
    }

    #[test]
    fn nothing_is_sent_again_without_its_body_or_for_ever() {
        let error = Error::new_up(ErrorType::WriteError);
        assert!(!may_send_again(&error, &Method::PUT, false, 1));
        assert!(!may_send_again(&error, &Method::PUT, true, MOST_TRIES));
        let timeout = Error::new_up(ErrorType::ReadTimedout);
        assert!(!may_send_again(&timeout, &Method::GET, true, 1));
    }

    #[test]
    fn what_the_upstream_did_is_told_apart() {
        let refusal = |kind| match classify(&Error::new_up(kind)) {
            Failure::Refused(refusal) => Some(refusal),
            Failure::ClientGone => None,
        };
        assert_eq!(
            refusal(ErrorType::ConnectTimedout),
            Some(Refusal::UpstreamTimeout)
        );
        assert_eq!(refusal(ErrorType::InvalidCert), Some(Refusal::UpstreamTls));
        assert_eq!(
            refusal(ErrorType::ConnectRefused),
            Some(Refusal::UpstreamUnreachable)
        );
        assert_eq!(
            refusal(ErrorType::InvalidHTTPHeader),
            Some(Refusal::UpstreamFailed)
        );
    }

    #[test]
    fn a_client_that_hangs_up_gets_no_answer() {
        let error = Error::new_down(ErrorType::ConnectionClosed);
        assert!(matches!(classify(&error), Failure::ClientGone));
    }
}
