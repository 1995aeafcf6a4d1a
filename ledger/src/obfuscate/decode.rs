//! The two encodings under which a value hides in a record's text: percent
//! encoding (RFC 3986, section 2.1) and JSON string escapes (RFC 8259, section
//! 7). Lenient: what is no escape stays as it is.

use std::ops::Range;

use memchr::memchr;

#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    Percent,
    Json,
}

/// Decoded bytes that know where they came from.
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    /// For each byte, and for the end, where its source begins.
    origins: Vec<usize>,
}

impl Encoding {
    pub(super) const ALL: [Self; 2] = [Self::Percent, Self::Json];

    /// `None` if `bytes` hold no escape at all.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Decoded> {
        memchr(self.mark(), bytes)?;
        let mut decoded = Decoded {
            bytes: Vec::with_capacity(bytes.len()),
            origins: Vec::with_capacity(bytes.len() + 1),
        };
        self.pieces(bytes, |piece, source| decoded.push(piece, source));
        decoded.origins.push(bytes.len());
        (decoded.bytes.len() < bytes.len()).then_some(decoded)
    }

    /// The bytes alone; `None` if `bytes` hold no escape at all.
    pub(super) fn decode_bytes(self, bytes: &[u8]) -> Option<Vec<u8>> {
        memchr(self.mark(), bytes)?;
        let mut decoded = Vec::with_capacity(bytes.len());
        self.pieces(bytes, |piece, _| decoded.extend_from_slice(piece));
        (decoded.len() < bytes.len()).then_some(decoded)
    }

    fn mark(self) -> u8 {
        match self {
            Self::Percent => b'%',
            Self::Json => b'\\',
        }
    }

    /// Gives `emit` runs without an escape as they are, and each escape as the
    /// (fewer) bytes that it stands for, with the range it came from.
    fn pieces(self, bytes: &[u8], mut emit: impl FnMut(&[u8], Range<usize>)) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = memchr(self.mark(), rest).unwrap_or(rest.len());
            let (run, escape) = rest.split_at(plain);
            emit(run, at..at + plain);
            at += plain;
            if escape.is_empty() {
                return;
            }
            let (piece, length) = self.escape(escape);
            emit(piece.as_bytes(), at..at + length);
            at += length;
        }
    }

    fn escape(self, bytes: &[u8]) -> (Piece, usize) {
        let decoded = match self {
            Self::Percent => percent_escape(bytes),
            Self::Json => json_escape(bytes),
        };
        decoded.unwrap_or((Piece::byte(self.mark()), 1))
    }
}

impl Decoded {
    /// Where in the source `range` of the decoded bytes came from.
    pub(super) fn source(&self, range: &Range<usize>) -> Range<usize> {
        let origin = |at: usize| self.origins.get(at).copied().unwrap_or(0);
        origin(range.start)..origin(range.end)
    }

    fn push(&mut self, piece: &[u8], source: Range<usize>) {
        if piece.len() == source.len() {
            self.origins.extend(source);
        } else {
            self.origins.extend(piece.iter().map(|_| source.start));
        }
        self.bytes.extend_from_slice(piece);
    }
}

/// What one escape stands for: at most one character, so at most four bytes.
struct Piece {
    bytes: [u8; 4],
    length: usize,
}

impl Piece {
    fn byte(byte: u8) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            length: 1,
        }
    }

    fn character(character: char) -> Self {
        let mut bytes = [0; 4];
        let length = character.encode_utf8(&mut bytes).len();
        Self { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn percent_escape(bytes: &[u8]) -> Option<(Piece, usize)> {
    let digits = bytes.get(1..3)?;
    let byte = u8::try_from(hex(digits)?).ok()?;
    Some((Piece::byte(byte), 3))
}

fn json_escape(bytes: &[u8]) -> Option<(Piece, usize)> {
    let byte = match bytes.get(1)? {
        letter @ (b'"' | b'\\' | b'/') => *letter,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'u' => return unicode_escape(bytes),
        _ => return None,
    };
    Some((Piece::byte(byte), 2))
}

/// `\uXXXX`, or two of them that form a surrogate pair.
fn unicode_escape(bytes: &[u8]) -> Option<(Piece, usize)> {
    let first = unit(bytes)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((Piece::character(character), 6));
    }
    let second = unit(bytes.get(6..)?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((Piece::character(character), 12))
}

fn unit(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [b'\\', b'u', digits @ ..] => hex(digits.get(..4)?),
        [] | [_, ..] => None,
    }
}

fn hex(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value: u16, &digit| {
        let nibble = char::from(digit).to_digit(16)?;
        Some(value << 4 | u16::try_from(nibble).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(encoding: Encoding, text: &str) -> Option<String> {
        encoding
            .decode_bytes(text.as_bytes())
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn decodes_each_escape_once() {
        let percent = decoded(Encoding::Percent, "a%2Fb%2f%2525");
        assert_eq!(percent.as_deref(), Some("a/b/%25"));
        let json = decoded(Encoding::Json, r#"\"\/\\n\u0041\uD83E\udd80"#);
        assert_eq!(json.as_deref(), Some("\"/\\nA🦀"));
    }

    #[test]
    fn leaves_what_is_no_escape() {
        for text in ["100%", "%zz", "%4", "%"] {
            assert_eq!(decoded(Encoding::Percent, text), None, "{text}");
        }
        for text in [r"\x41", r"\u00", r"\ud800", "\\"] {
            assert_eq!(decoded(Encoding::Json, text), None, "{text}");
        }
    }

    #[test]
    fn tells_where_decoded_bytes_came_from() {
        let decoded = Encoding::Percent.decode(b"ab%63d").unwrap();
        assert_eq!(decoded.bytes, b"abcd");
        assert_eq!(decoded.source(&(2..3)), 2..5);
        assert_eq!(decoded.source(&(1..4)), 1..6);
    }

    proptest! {
        #[test]
        fn reverses_what_a_json_writer_did(text: String) {
            let written = serde_json::to_string(&text).unwrap();
            let inner = &written.as_bytes()[1..written.len() - 1];
            let read = Encoding::Json.decode_bytes(inner).unwrap_or(inner.to_vec());
            prop_assert_eq!(read, text.as_bytes());
        }

        #[test]
        fn accounts_for_each_byte_of_the_source(bytes in "[%\\\\u0-9a-f\"]{0,40}") {
            for encoding in Encoding::ALL {
                if let Some(decoded) = encoding.decode(bytes.as_bytes()) {
                    prop_assert_eq!(decoded.source(&(0..decoded.bytes.len())), 0..bytes.len());
                    prop_assert!(decoded.origins.is_sorted());
                }
            }
        }
    }
}
