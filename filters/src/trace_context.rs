//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): a trace that a
//! client has begun goes on to the upstream; where it has begun none, or says
//! nothing that can be understood, one begins here, and its id is the request's.
//! Where the gateway's own span is exported, the upstream's is below it.

use std::io::Write;
use std::num::NonZeroU64;

use http::{HeaderMap, HeaderValue};

use crate::head::Head;
use crate::names::{TRACEPARENT, TRACESTATE};

/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;
const SAMPLED: u8 = 1;
/// Random enough (Trace Context Level 2, section 3.2.2.5.2).
const RANDOM: u8 = 2;

/// What becomes of the gateway's own span of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// No spans are exported at all.
    #[default]
    Absent,
    /// Others are, this one is not.
    Unsampled,
    /// It is exported, and the parent of the upstream's.
    Own(NonZeroU64),
}

/// What a client says of the trace that it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace_id: u128,
    pub span_id: u64,
    pub is_sampled: bool,
}

/// The trace that a request belongs to already.
pub fn trace_id<'h>(head: &Head<'h>) -> Option<&'h [u8]> {
    given(head)?.get(TRACE_ID)
}

pub fn parent(head: &Head<'_>) -> Option<Parent> {
    let value = given(head)?;
    Some(Parent {
        trace_id: u128::from_str_radix(text(value, TRACE_ID)?, 16).ok()?,
        span_id: u64::from_str_radix(text(value, PARENT_ID)?, 16).ok()?,
        is_sampled: flags(value)? & SAMPLED != 0,
    })
}

/// Leaves in `headers` what the upstream is told.
pub(crate) fn pass_on(
    head: &Head<'_>,
    request_id: &HeaderValue,
    span: Span,
    headers: &mut HeaderMap,
) {
    let value = match (given(head), span) {
        (Some(_), Span::Absent | Span::Unsampled) => return,
        (Some(given), Span::Own(id)) => continued(given, id),
        (None, span) => {
            headers.remove(TRACESTATE);
            begun(request_id.as_bytes(), span)
        }
    };
    match value {
        Some(value) => headers.insert(TRACEPARENT, value),
        None => headers.remove(TRACEPARENT),
    };
}

fn given<'h>(head: &Head<'h>) -> Option<&'h [u8]> {
    let value = head.single(&TRACEPARENT).ok().flatten()?.as_bytes();
    is_sound(value).then_some(value)
}

fn text(value: &[u8], range: std::ops::Range<usize>) -> Option<&str> {
    std::str::from_utf8(value.get(range)?).ok()
}

fn flags(value: &[u8]) -> Option<u8> {
    u8::from_str_radix(text(value, FLAGS)?, 16).ok()
}

/// Of flags and versions that are not known nothing can be said, so nothing is
/// (section 3.2.2.5).
fn continued(given: &[u8], span: NonZeroU64) -> Option<HeaderValue> {
    let mut text = [b'-'; LENGTH];
    text.get_mut(..2)?.copy_from_slice(b"00");
    text.get_mut(TRACE_ID)?
        .copy_from_slice(given.get(TRACE_ID)?);
    write!(text.get_mut(PARENT_ID)?, "{span:016x}").ok()?;
    write!(
        text.get_mut(FLAGS)?,
        "{:02x}",
        flags(given)? & (SAMPLED | RANDOM)
    )
    .ok()?;
    HeaderValue::from_bytes(&text).ok()
}

/// A trace with the digits of a UUID for its id. Where nobody's span is the
/// upstream's parent, it has the second half of them, which is random.
fn begun(request_id: &[u8], span: Span) -> Option<HeaderValue> {
    let mut text = [b'-'; LENGTH];
    let mut digits = request_id.iter().filter(|byte| **byte != b'-');
    for (place, digit) in text.get_mut(TRACE_ID)?.iter_mut().zip(&mut digits) {
        *place = *digit;
    }
    text.get_mut(..2)?.copy_from_slice(b"00");
    let flags = match span {
        Span::Absent | Span::Own(_) => b"03",
        Span::Unsampled => b"02",
    };
    text.get_mut(FLAGS)?.copy_from_slice(flags);
    match span {
        Span::Own(id) => write!(text.get_mut(PARENT_ID)?, "{id:016x}").ok()?,
        Span::Absent | Span::Unsampled => {
            text.copy_within(TRACE_ID.start + 16..TRACE_ID.end, PARENT_ID.start);
        }
    }
    is_sound(&text)
        .then(|| HeaderValue::from_bytes(&text).ok())
        .flatten()
}

/// Of a later version, what is known of it (section 4.3).
fn is_sound(value: &[u8]) -> bool {
    let [
        b'0'..=b'9' | b'a'..=b'f',
        b'0'..=b'9' | b'a'..=b'f',
        b'-',
        ..,
    ] = value
    else {
        return false;
    };
    let is_first_version = value.starts_with(b"00");
    let ends_well = match value.get(LENGTH) {
        None => value.len() == LENGTH,
        Some(next) => !is_first_version && *next == b'-',
    };
    let is_id = |range| value.get(range).is_some_and(is_id);
    ends_well
        && !value.starts_with(b"ff")
        && is_id(TRACE_ID)
        && value.get(TRACE_ID.end) == Some(&b'-')
        && is_id(PARENT_ID)
        && value.get(PARENT_ID.end) == Some(&b'-')
        && value.get(PARENT_ID.end + 1..LENGTH).is_some_and(is_hex)
}

fn is_hex(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &[u8]) -> bool {
    is_hex(text) && text.iter().any(|byte| *byte != b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn knows_what_is_sound() {
        for (value, sound) in [
            (PARENT, true),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                true,
            ),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                false,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_sound(value.as_bytes()), sound, "{value}");
        }
    }

    const REQUEST_ID: &[u8] = b"01938c0e-7a1b-7c3d-9e4f-a0b1c2d3e4f5";
    const OWN: Span = Span::Own(NonZeroU64::new(0xabc).unwrap());

    #[test]
    fn a_trace_begins_with_the_requests_own_id() {
        for (span, rest) in [
            (Span::Absent, "9e4fa0b1c2d3e4f5-03"),
            (Span::Unsampled, "9e4fa0b1c2d3e4f5-02"),
            (OWN, "0000000000000abc-03"),
        ] {
            let value = begun(REQUEST_ID, span).unwrap();
            let expected = format!("00-01938c0e7a1b7c3d9e4fa0b1c2d3e4f5-{rest}");
            assert_eq!(value, expected, "{span:?}");
        }
    }

    #[test]
    fn a_trace_goes_on_below_the_gateways_own_span() {
        let id = NonZeroU64::new(0xabc).unwrap();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (given, expected) in [
            (PARENT.to_owned(), format!("00-{trace}-0000000000000abc-01")),
            (
                format!("cc-{trace}-00f067aa0ba902b7-ff-more"),
                format!("00-{trace}-0000000000000abc-03"),
            ),
        ] {
            assert!(is_sound(given.as_bytes()));
            assert_eq!(continued(given.as_bytes(), id).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(value: Vec<u8>) {
            let _ = is_sound(&value);
            let _ = begun(&value, OWN);
            let _ = continued(&value, NonZeroU64::MIN);
        }
    }
}
