//! Which bytes may stand where in a head (RFC 9110 sections 5.5 and 5.6.2,
//! RFC 3986 section 3). Every byte of every request is asked this: one table
//! answers for all classes, and arithmetic for the values, which are most of
//! a head.

/// A set of bytes, one bit of the table.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

impl Class {
    /// `tchar` of RFC 9110 section 5.6.2.
    pub(super) const TOKEN: Self = Self(1);

    /// Of a path: `pchar` and slashes, RFC 3986 section 3.3. The `%` of an
    /// escape is not among them, it stands for no byte alone.
    pub(super) const PATH: Self = Self(1 << 1);

    /// Of a query, again without `%`: RFC 3986 section 3.4, and brackets,
    /// which RFC 3986 keeps out of queries and browsers send in them all the
    /// same.
    pub(super) const QUERY: Self = Self(1 << 2);

    /// Of a host that is not a bracketed address. Not all of `reg-name`:
    /// escapes and sub-delimiters stand in no DNS name, and parsers disagree
    /// on them.
    pub(super) const HOST: Self = Self(1 << 3);

    pub(super) const BRACKETED: Self = Self(1 << 4);

    /// Of a field value: no control character but HTAB. Bytes above ASCII are
    /// `obs-text` of RFC 9110 section 5.5.
    const VALUE: Self = Self(1 << 5);

    fn has(self, byte: u8) -> bool {
        classes(byte) & self.0 != 0
    }

    pub(super) fn has_all(self, text: &[u8]) -> bool {
        self.split(text).1.is_empty()
    }

    /// As much of `text` as is of this class, and the rest.
    pub(super) fn split(self, text: &[u8]) -> (&[u8], &[u8]) {
        let mut rest = text;
        while let Some((four, after)) = rest.split_first_chunk::<4>()
            && self.has_four(four)
        {
            rest = after;
        }
        while let Some((byte, after)) = rest.split_first()
            && self.has(*byte)
        {
            rest = after;
        }
        text.split_at(text.len() - rest.len())
    }

    /// One branch for four bytes.
    fn has_four(self, bytes: &[u8; 4]) -> bool {
        let common = bytes.iter().fold(self.0, |all, byte| all & classes(*byte));
        common != 0
    }
}

fn classes(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    add(&mut classes, Class::TOKEN, b"!#$%&'*+-.^_`|~");
    add(&mut classes, Class::PATH, b"-._~!$&'()*+,;=:@/");
    add(&mut classes, Class::QUERY, b"-._~!$&'()*+,;=:@/?[]");
    add(&mut classes, Class::HOST, b"-._");
    add(&mut classes, Class::BRACKETED, b":.");
    add_values(&mut classes);
    classes
};

/// Letters and digits, and these.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse"
)]
const fn add(classes: &mut [u8; 256], class: Class, others: &[u8]) {
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            classes[byte] |= class.0;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        classes[others[at] as usize] |= class.0;
        at += 1;
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse"
)]
const fn add_values(classes: &mut [u8; 256]) {
    let mut byte = 0;
    while byte < classes.len() {
        if byte == b'\t' as usize || (byte >= b' ' as usize && byte != 0x7F) {
            classes[byte] |= Class::VALUE.0;
        }
        byte += 1;
    }
}

/// As much of `text` as may be a field value, and the rest: in a sound head
/// this begins with the CR.
pub(super) fn split_value(text: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<32>()
        && !has_control(block)
    {
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        // Read so that the lowest bit belongs to the first byte.
        let controls = controls(u64::from_le_bytes(*word));
        if controls == 0 {
            rest = after;
            continue;
        }
        // What is found may be HTAB: the table decides.
        let first = controls.trailing_zeros() as usize / 8;
        match rest.split_at_checked(first) {
            Some((_, [byte, after @ ..])) if Class::VALUE.has(*byte) => rest = after,
            Some((_, after)) => return text.split_at(text.len() - after.len()),
            None => break,
        }
    }
    let (_, rest) = Class::VALUE.split(rest);
    text.split_at(text.len() - rest.len())
}

/// Without early return: the compiler looks at many bytes at once.
fn has_control(block: &[u8; 32]) -> bool {
    block.iter().fold(false, |found, byte| {
        found | (*byte < b' ') | (*byte == 0x7F)
    })
}

/// The highest bit of each byte tells whether it is a control character. Sums
/// are of seven bits, so that none carries into the next byte.
fn controls(word: u64) -> u64 {
    let low = word & every(0x7F);
    let is_printed = low + every(0x80 - b' ');
    let is_delete = low + every(1);
    (!is_printed | is_delete) & !word & every(0x80)
}

const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_its_control_characters_among_any_neighbours() {
        for byte in 0..=u8::MAX {
            for beside in 0..=u8::MAX {
                let bytes = [beside, byte, beside, beside, byte, byte, beside, byte];
                let told = controls(u64::from_le_bytes(bytes)).to_le_bytes();
                let expected = bytes.map(|byte| u8::from(byte.is_ascii_control()) << 7);
                assert_eq!(told, expected, "{byte:#x} beside {beside:#x}");
            }
        }
    }

    #[test]
    fn a_value_ends_at_the_same_byte_wherever_it_stands() {
        for length in 0..90 {
            let value = &"\u{e9}\tv ".repeat(20).into_bytes()[..length];
            for byte in (0..=u8::MAX).filter(|byte| !Class::VALUE.has(*byte)) {
                for after in [b"".as_slice(), b"\n", &[b'a'; 40]] {
                    let text = [value, &[byte], after].concat();
                    let expected = text.split_at(length);
                    assert_eq!(split_value(&text), expected, "{byte:#x} at {length}");
                }
            }
            assert_eq!(split_value(value), (value, b"".as_slice()));
        }
    }

    #[test]
    fn a_name_ends_at_the_same_byte_wherever_it_stands() {
        for length in 0..20 {
            let name = &"X-Ab_9.z".repeat(3).into_bytes()[..length];
            for byte in (0..=u8::MAX).filter(|byte| !Class::TOKEN.has(*byte)) {
                let text = [name, &[byte], b"after"].concat();
                let expected = text.split_at(length);
                assert_eq!(Class::TOKEN.split(&text), expected, "{byte:#x} at {length}");
            }
        }
    }

    #[test]
    fn a_class_is_what_its_grammar_lists() {
        let members = |class: Class| {
            (0..=u8::MAX)
                .filter(|byte| class.has(*byte) && !byte.is_ascii_alphanumeric())
                .map(char::from)
                .collect::<String>()
        };
        for byte in (0..=u8::MAX).filter(u8::is_ascii_alphanumeric) {
            assert!(Class(u8::MAX).has(byte));
        }
        for byte in 0..=u8::MAX {
            let is_control = byte.is_ascii_control() && byte != b'\t';
            assert_eq!(Class::VALUE.has(byte), !is_control, "{byte:#x}");
        }
        assert_eq!(members(Class::TOKEN), "!#$%&'*+-.^_`|~");
        assert_eq!(members(Class::PATH), "!$&'()*+,-./:;=@_~");
        assert_eq!(members(Class::QUERY), "!$&'()*+,-./:;=?@[]_~");
        assert_eq!(members(Class::HOST), "-._");
        assert_eq!(members(Class::BRACKETED), ".:");
    }
}
