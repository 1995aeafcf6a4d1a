//! Reads one request head from a connection, whole or not at all, before
//! Pingora sees a byte of it.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use knoxcall_filters::Refusal;
use knoxcall_filters::refusal::Malformation;
use memchr::memmem::Finder;
use tokio::io::AsyncReadExt;

use super::client_stream::ClientStream;
use super::deadline::Deadline;

/// Most heads fit; an idle connection holds one of these.
const FIRST_READ: usize = 2048;

#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub bytes: usize,
    /// From the first byte to the last.
    pub timeout: Duration,
}

pub enum ReadHead {
    /// The head ends at `end`; what follows belongs to the body.
    Complete { bytes: BytesMut, end: usize },
    /// What has come is no head, and will not become one in time.
    Refused(BytesMut, Refusal),
    /// Closed, or silent for too long: nothing to answer.
    Gone,
}

/// `deadline` is when a connection that says nothing is given up.
pub async fn read_head(
    stream: &mut ClientStream,
    deadline: &mut Deadline,
    limits: HeadLimits,
) -> ReadHead {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    let mut searched = 0;
    let mut has_begun = false;
    let mut may_skip = true;
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut bytes) => read,
            () = deadline.passed() => return out_of_time(bytes),
        };
        match read {
            Ok(0) | Err(_) => return closed(bytes),
            Ok(_) => {}
        }
        if may_skip && bytes.len() >= 2 {
            skip_empty_line(&mut bytes);
            may_skip = false;
        }
        match head_end(&bytes, searched) {
            Some(end) if end <= limits.bytes => return ReadHead::Complete { bytes, end },
            Some(_) => return ReadHead::Refused(bytes, Refusal::HeadTooLarge),
            None if bytes.len() > limits.bytes => {
                return ReadHead::Refused(bytes, Refusal::HeadTooLarge);
            }
            None => {}
        }
        if !has_begun {
            has_begun = true;
            deadline.set(limits.timeout);
        }
        searched = bytes.len();
    }
}

fn out_of_time(bytes: BytesMut) -> ReadHead {
    if bytes.is_empty() {
        ReadHead::Gone
    } else {
        ReadHead::Refused(bytes, Refusal::HeadTimeout)
    }
}

/// A client that has closed its side may still read an answer.
fn closed(bytes: BytesMut) -> ReadHead {
    if bytes.is_empty() {
        ReadHead::Gone
    } else {
        ReadHead::Refused(bytes, Refusal::Malformed(Malformation::InvalidHead))
    }
}

/// One empty line before the request line is ignored (RFC 9112, section 2.2);
/// some clients send it behind a body.
fn skip_empty_line(bytes: &mut BytesMut) {
    if bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
}

/// Where the empty line ends the head. Lines that end in a bare LF count here
/// too, so that hygiene can refuse them at once instead of at the deadline.
fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let text = bytes.get(from..)?;
    let end = match EMPTY_LINE.find(text) {
        Some(at) => Some(at + EMPTY_LINE.needle().len()),
        None => bare_end(text),
    };
    end.map(|end| from + end)
}

static EMPTY_LINE: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

fn bare_end(text: &[u8]) -> Option<usize> {
    let lines = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    lines
        .filter_map(|next| Some((next, text.get(next..)?)))
        .find_map(|(next, rest)| match rest {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_a_head() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n\r\nbody", 0), Some(18));
        assert_eq!(head_end(b"GET / HTTP/1.1\n\nbody", 0), Some(16));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n", 0), None);
    }

    #[test]
    fn finds_an_end_that_two_reads_share() {
        let head = b"GET / HTTP/1.1\r\n\r\n";
        for searched in 0..head.len() {
            assert_eq!(head_end(head, searched), Some(18), "after {searched} bytes");
        }
    }
}
