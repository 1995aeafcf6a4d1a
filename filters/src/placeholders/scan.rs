//! Finds placeholders in a body. Where a form has percent-encoded the braces
//! (most libraries do), the encoded writing counts as well. What only looks
//! like a placeholder is text.

use knoxcall_bundle::template::{Segment, TemplateError, parse_placeholder};
use memchr::memmem;

use crate::inject::BodyType;

/// Longer text between the braces is no placeholder.
const LONGEST: usize = 512;

pub(super) struct Found<'b> {
    pub before: &'b [u8],
    pub subject: Subject,
    pub after: &'b [u8],
}

/// What is named, or why it can name nothing.
type Subject = Result<Segment, TemplateError>;

/// A brace as it stands in the body.
#[derive(Clone, Copy)]
struct Brace {
    opens: bool,
    end: usize,
}

/// The first placeholder of `body`. Each byte is looked at a bounded number of
/// times, whatever the braces.
pub(super) fn next(body: &[u8], kind: BodyType) -> Option<Found<'_>> {
    let encoded = match kind {
        BodyType::Encoded => return None,
        BodyType::Form => true,
        BodyType::Unnamed | BodyType::Json | BodyType::Xml | BodyType::Other => false,
    };
    let mut from = 0;
    loop {
        let (start, inner) = opening(body, from, encoded)?;
        if let Some((subject, end)) = content(body, inner, encoded) {
            return Some(Found {
                before: body.get(..start)?,
                subject,
                after: body.get(end..)?,
            });
        }
        from = start + 1;
    }
}

/// Where the next two braces open, and where what they hold begins.
fn opening(body: &[u8], from: usize, encoded: bool) -> Option<(usize, usize)> {
    let rest = body.get(from..)?;
    if !encoded {
        return memmem::find(rest, b"{{").map(|at| (from + at, from + at + 2));
    }
    let open = |at| brace(body, at, true).filter(|brace| brace.opens);
    memchr::memchr2_iter(b'{', b'%', rest)
        .map(|at| from + at)
        .find_map(|at| Some((at, open(open(at)?.end)?.end)))
}

/// The subject that begins at `inner`, and the placeholder's end. The next
/// brace has to be the first of the two that close it.
fn content(body: &[u8], inner: usize, encoded: bool) -> Option<(Subject, usize)> {
    let limit = body.len().min(inner.saturating_add(LONGEST));
    let rest = body.get(inner..limit)?;
    let (at, first) = memchr::memchr3_iter(b'{', b'}', b'%', rest)
        .map(|at| inner + at)
        .find_map(|at| Some((at, brace(body, at, encoded)?)))?;
    let second = brace(body, first.end, encoded)?;
    if first.opens || second.opens {
        return None;
    }
    let text = body.get(inner..at)?;
    let subject = match encoded {
        true => parse_placeholder(&decode_form(text)?),
        false => parse_placeholder(std::str::from_utf8(text).ok()?),
    };
    Some((subject?, second.end))
}

fn brace(body: &[u8], at: usize, encoded: bool) -> Option<Brace> {
    let (opens, length) = match body.get(at..)? {
        [b'{', ..] => (true, 1),
        [b'}', ..] => (false, 1),
        [b'%', b'7', b'b' | b'B', ..] if encoded => (true, 3),
        [b'%', b'7', b'd' | b'D', ..] if encoded => (false, 3),
        _ => return None,
    };
    Some(Brace {
        opens,
        end: at + length,
    })
}

fn decode_form(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => nibble(bytes.next()?)? << 4 | nibble(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
