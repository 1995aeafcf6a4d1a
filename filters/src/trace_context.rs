//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): a trace that a
//! client has begun goes on to the upstream; where it has begun none, or says
//! nothing that can be understood, one begins here, and its id is the request's.

use http::{HeaderMap, HeaderValue};

use crate::head::Head;
use crate::names::{TRACEPARENT, TRACESTATE};

/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;
/// Sampled, and random enough (Trace Context Level 2, section 3.2.2.5.2).
const FLAGS: &[u8] = b"03";

/// The trace that a request belongs to already.
pub fn trace_id<'h>(head: &Head<'h>) -> Option<&'h [u8]> {
    let value = head.single(&TRACEPARENT).ok().flatten()?.as_bytes();
    is_sound(value).then(|| value.get(TRACE_ID)).flatten()
}

/// Leaves in `headers` what the upstream is told.
pub(crate) fn pass_on(head: &Head<'_>, request_id: &HeaderValue, headers: &mut HeaderMap) {
    if trace_id(head).is_some() {
        return;
    }
    headers.remove(TRACESTATE);
    match begun(request_id.as_bytes()) {
        Some(value) => headers.insert(TRACEPARENT, value),
        None => headers.remove(TRACEPARENT),
    };
}

/// A trace with the digits of a UUID for its id, and the second half of them,
/// which is random, for the span's.
fn begun(request_id: &[u8]) -> Option<HeaderValue> {
    let mut text = [b'-'; LENGTH];
    let mut digits = request_id.iter().filter(|byte| **byte != b'-');
    for (place, digit) in text.get_mut(TRACE_ID)?.iter_mut().zip(&mut digits) {
        *place = *digit;
    }
    text.get_mut(..2)?.copy_from_slice(b"00");
    text.copy_within(TRACE_ID.start + 16..TRACE_ID.end, PARENT_ID.start);
    text.get_mut(PARENT_ID.end + 1..)?.copy_from_slice(FLAGS);
    is_sound(&text)
        .then(|| HeaderValue::from_bytes(&text).ok())
        .flatten()
}

/// Of a later version, what is known of it (section 4.3).
fn is_sound(value: &[u8]) -> bool {
    let [b'0'..=b'9' | b'a'..=b'f', b'0'..=b'9' | b'a'..=b'f', b'-', ..] = value else {
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
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("", false),
        ] {
            assert_eq!(is_sound(value.as_bytes()), sound, "{value}");
        }
    }

    #[test]
    fn a_trace_begins_with_the_requests_own_id() {
        let value = begun(b"01938c0e-7a1b-7c3d-9e4f-a0b1c2d3e4f5").unwrap();
        assert_eq!(
            value,
            "00-01938c0e7a1b7c3d9e4fa0b1c2d3e4f5-9e4fa0b1c2d3e4f5-03"
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(value: Vec<u8>) {
            let _ = is_sound(&value);
            let _ = begun(&value);
        }
    }
}
