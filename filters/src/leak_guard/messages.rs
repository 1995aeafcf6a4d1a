//! Where messages end in a body that carries several: nothing of one waits for
//! the next. gRPC and Connect put five bytes before each message, WebSocket up
//! to 14 before each frame (RFC 6455, section 5.2), and server-sent events end
//! with an empty line (HTML standard, section 9.2.5).

use smallvec::SmallVec;

use super::Coding;

/// Follows a body to the end of what has come of it.
pub(super) enum Messages {
    /// One message, as long as the body.
    Whole,
    Events(LastBytes),
    Prefixed(Prefixed),
}

/// The last four bytes of a body, the first of them first.
#[derive(Default)]
pub(super) struct LastBytes([u8; 4]);

pub(super) struct Prefixed {
    /// How long the payload is behind a prefix, once it is whole.
    payload: fn(&[u8]) -> Option<u64>,
    /// What is here of the prefix.
    prefix: SmallVec<[u8; 14]>,
    /// What is still to come of the payload.
    left: u64,
}

impl Messages {
    pub(super) fn of(coding: Coding) -> Self {
        match coding {
            Coding::Plain | Coding::Foreign | Coding::Encoded => Self::Whole,
            Coding::Events => Self::Events(LastBytes::default()),
            Coding::Messages => Self::Prefixed(Prefixed::new(message_length)),
            Coding::WebSocket => Self::Prefixed(Prefixed::new(frame_length)),
        }
    }

    /// Is the end of this part the end of a message?
    pub(super) fn end_with(&mut self, part: &[u8]) -> bool {
        match self {
            Self::Whole => false,
            Self::Events(last) => last.end_an_event(part),
            Self::Prefixed(prefixed) => prefixed.end_with(part),
        }
    }
}

impl LastBytes {
    fn end_an_event(&mut self, part: &[u8]) -> bool {
        for byte in part.iter().skip(part.len().saturating_sub(4)) {
            self.0.rotate_left(1);
            let [.., last] = &mut self.0;
            *last = *byte;
        }
        let ends: [&[u8]; 4] = [b"\n\n", b"\r\r", b"\n\r\n", b"\r\r\n"];
        ends.iter().any(|end| self.0.ends_with(end))
    }
}

impl Prefixed {
    fn new(payload: fn(&[u8]) -> Option<u64>) -> Self {
        Self {
            payload,
            prefix: SmallVec::new(),
            left: 0,
        }
    }

    fn end_with(&mut self, mut part: &[u8]) -> bool {
        loop {
            part = self.skip_payload(part);
            let Some((next, rest)) = part.split_first() else {
                return self.left == 0;
            };
            self.prefix.push(*next);
            part = rest;
            if let Some(length) = (self.payload)(&self.prefix) {
                self.left = length;
                self.prefix.clear();
            }
        }
    }

    fn skip_payload<'p>(&mut self, part: &'p [u8]) -> &'p [u8] {
        let here = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let skipped = self.left.min(here);
        self.left -= skipped;
        let skipped = usize::try_from(skipped).unwrap_or(part.len());
        part.get(skipped..).unwrap_or_default()
    }
}

fn message_length(prefix: &[u8]) -> Option<u64> {
    let (_, length) = prefix.split_first()?;
    Some(u32::from_be_bytes(*length.first_chunk()?).into())
}

fn frame_length(prefix: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = prefix else {
        return None;
    };
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        short => (short.into(), rest),
    };
    let is_masked = second & 0x80 != 0;
    (!is_masked || rest.len() >= 4).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of its bytes a body is between two messages.
    fn ends(coding: Coding, body: &[u8]) -> Vec<usize> {
        let mut messages = Messages::of(coding);
        let bytes = body.chunks(1).enumerate();
        let ends = bytes.filter_map(|(at, byte)| messages.end_with(byte).then_some(at + 1));
        let ends: Vec<usize> = ends.collect();
        for at in 1..=body.len() {
            let mut messages = Messages::of(coding);
            let is_end = messages.end_with(&body[..at]);
            assert_eq!(is_end, ends.contains(&at), "{at} bytes at once");
        }
        ends
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        assert_eq!(ends(Coding::Events, b"data: a\n\ndata: b\n"), [9]);
        assert_eq!(ends(Coding::Events, b"data: a\r\n\r\n:\n"), [11]);
        assert_eq!(ends(Coding::Events, b"data: a\r\r"), [9]);
    }

    #[test]
    fn a_message_ends_where_its_prefix_says() {
        let two = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01";
        assert_eq!(
            ends(Coding::Messages, two),
            [1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
        );
    }

    #[test]
    fn a_frame_ends_where_its_head_says() {
        let mut frames = vec![0x81, 3, b'a', b'b', b'c'];
        frames.extend([0x82, 126, 0, 200]);
        frames.extend([b'x'; 200]);
        frames.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        frames.extend(vec![b'y'; 65_536]);
        frames.extend([0x89, 0x82, 1, 2, 3, 4, b'm', b'm']);
        let mut messages = Messages::of(Coding::WebSocket);
        for length in [5, 204, 65_546, 8] {
            let frame: Vec<u8> = frames.drain(..length).collect();
            let (most, last) = frame.split_at(length - 1);
            assert!(!messages.end_with(most));
            assert!(messages.end_with(last));
        }
    }

    #[test]
    fn any_other_body_is_one_message() {
        assert!(ends(Coding::Plain, b"a\n\nb\n\n").is_empty());
    }
}
