//! A chunked request body as it comes from the socket (RFC 9112, section 7.1),
//! followed byte by byte to where it ends. Stricter than the RFC allows, as the
//! rest of hygiene: a bare LF ends no line, a size has digits, a trailer is a
//! field. Whoever reads the same bytes finds the same end.

use super::class::{Class, split_value};

/// Of the line that begins a chunk, extensions included.
const LONGEST_LINE: usize = 1024;
/// Of all trailer fields.
const LONGEST_TRAILERS: usize = 8 * 1024;
/// More digits than any chunk that could ever be sent needs.
const MOST_DIGITS: usize = 15;

/// What can be read in two ways, or by some only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body is not well-formed in its chunks")]
pub struct Malchunked;

/// How far into a body the bytes so far have come.
#[derive(Debug)]
pub struct Chunks {
    at: At,
    /// Of the line that has begun, without its end.
    line: Vec<u8>,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    SizeLine,
    /// So many bytes of a chunk are still to come.
    Data(u64),
    /// The CRLF behind a chunk's data.
    DataEnd,
    Trailer,
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            at: At::SizeLine,
            line: Vec::new(),
            trailer_bytes: 0,
        }
    }
}

impl Chunks {
    pub fn is_over(&self) -> bool {
        self.at == At::End
    }

    /// How many of the bytes belong to the body: all of them, unless it ends.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malchunked> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_over() {
            rest = match self.at {
                At::Data(left) => self.skip(left, rest),
                At::SizeLine | At::DataEnd | At::Trailer | At::End => self.read_line(rest)?,
            };
        }
        Ok(bytes.len() - rest.len())
    }

    fn skip<'b>(&mut self, left: u64, bytes: &'b [u8]) -> &'b [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        self.at = if left == 0 {
            At::DataEnd
        } else {
            At::Data(left)
        };
        bytes.get(here..).unwrap_or_default()
    }

    /// To the end of the line, or of what there is of it.
    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malchunked> {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (here, rest) = bytes
            .split_at_checked(end.unwrap_or(bytes.len()))
            .unwrap_or((bytes, b""));
        if self.line.len() + here.len() > LONGEST_LINE {
            return Err(Malchunked);
        }
        self.line.extend_from_slice(here);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.at = self.after(line.strip_suffix(b"\r\n").ok_or(Malchunked)?)?;
            self.line = line;
            self.line.clear();
        }
        Ok(rest)
    }

    /// Where a whole line leads.
    fn after(&mut self, line: &[u8]) -> Result<At, Malchunked> {
        match self.at {
            At::SizeLine => match size(line)? {
                0 => Ok(At::Trailer),
                size => Ok(At::Data(size)),
            },
            At::DataEnd if line.is_empty() => Ok(At::SizeLine),
            At::Trailer if line.is_empty() => Ok(At::End),
            At::Trailer => {
                self.trailer_bytes += line.len();
                let is_field = is_field(line) && self.trailer_bytes <= LONGEST_TRAILERS;
                is_field.then_some(At::Trailer).ok_or(Malchunked)
            }
            At::DataEnd | At::Data(_) | At::End => Err(Malchunked),
        }
    }
}

/// Of `size [";" extensions]`. What an extension says is nobody's business, but
/// it holds no control character.
fn size(line: &[u8]) -> Result<u64, Malchunked> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, extensions) = line.split_at_checked(digits.count()).ok_or(Malchunked)?;
    let text = std::str::from_utf8(digits).map_err(|_| Malchunked)?;
    let (_, behind) = split_value(extensions);
    let sound = extensions.is_empty() || extensions.starts_with(b";");
    if !sound || !behind.is_empty() || digits.len() > MOST_DIGITS {
        return Err(Malchunked);
    }
    u64::from_str_radix(text, 16).map_err(|_| Malchunked)
}

fn is_field(line: &[u8]) -> bool {
    let (name, rest) = Class::TOKEN.split(line);
    let value = rest.strip_prefix(b":").map(split_value);
    !name.is_empty() && value.is_some_and(|(_, behind)| behind.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes are the body; `None` where it has not ended.
    fn length(bytes: &[u8]) -> Result<Option<usize>, Malchunked> {
        let mut chunks = Chunks::default();
        let length = chunks.follow(bytes)?;
        Ok(chunks.is_over().then_some(length))
    }

    #[test]
    fn ends_with_the_empty_line_behind_the_last_chunk() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "000A;name=\"v\"\r\n0123456789\r\n0;x\r\n\r\n",
            "1\r\n\n\r\n0\r\nX-Sum: 1\r\nx-b:\r\n\r\n",
        ] {
            let more = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(length(more.as_bytes()), Ok(Some(body.len())), "{body:?}");
        }
        assert_eq!(length(b"5\r\nhello\r\n0\r\n"), Ok(None));
        assert_eq!(length(b"5\r\nhel"), Ok(None));
    }

    #[test]
    fn refuses_what_two_readers_could_read_in_two_ways() {
        for body in [
            "\r\n",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "0\r\nno field\r\n\r\n",
            "0\r\n: empty\r\n\r\n",
            "0\r\nX-A: 1\n\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(length(body.as_bytes()), Err(Malchunked), "{body:?}");
        }
    }

    #[test]
    fn refuses_lines_and_trailers_without_end() {
        let extension = format!("5;{}", "x".repeat(LONGEST_LINE));
        assert_eq!(length(extension.as_bytes()), Err(Malchunked));
        let trailers = "x-trailer: 0123456789\r\n".repeat(LONGEST_TRAILERS / 20);
        let body = format!("0\r\n{trailers}");
        assert_eq!(length(body.as_bytes()), Err(Malchunked));
    }

    proptest! {
        /// However the bytes are cut into reads.
        #[test]
        fn every_cut_leads_to_the_same_end(
            bytes in prop::collection::vec(prop::sample::select(b"05aA;x:\r\n \"".as_slice()), 0..60),
            at: prop::sample::Index,
        ) {
            let whole = length(&bytes);
            let (first, second) = bytes.split_at(at.index(bytes.len() + 1));
            let mut chunks = Chunks::default();
            let cut = chunks.follow(first).and_then(|taken| {
                let more = chunks.follow(second)?;
                Ok(chunks.is_over().then_some(taken + more))
            });
            prop_assert_eq!(whole, cut);
        }
    }
}
