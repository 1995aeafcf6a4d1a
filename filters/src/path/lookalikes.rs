//! How careless and how helpful readers see a decoded path: some take
//! encodings that are too long for UTF-8 (RFC 3629, section 10), some fold
//! full-width dots and slashes to the plain ones (Unicode's compatibility
//! forms, NFKC), some cut off whatever is blank.

/// The path in ASCII, with every character that may be taken for a dot, a
/// slash, a semicolon or a blank as that one, and `x` for all others. `None`
/// where it holds a code that is too long: nobody honest writes one. Bytes
/// that are no UTF-8 at all pass, for paths in Latin-1.
pub(super) fn plain(decoded: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(decoded.len());
    let mut rest = decoded;
    while let Some((first, after)) = rest.split_first() {
        if first.is_ascii() {
            plain.push(*first);
            rest = after;
            continue;
        }
        if is_overlong(rest) {
            return None;
        }
        let (sign, length) = sign(rest);
        plain.push(sign);
        rest = rest.get(length..).unwrap_or_default();
    }
    Some(plain)
}

/// A whole sequence that stands for less than its length is for.
fn is_overlong(bytes: &[u8]) -> bool {
    let (length, second) = match bytes {
        [0xC0 | 0xC1, second, ..] => (2, (*second, 0xBF)),
        [0xE0, second, ..] => (3, (*second, 0x9F)),
        [0xF0, second, ..] => (4, (*second, 0x8F)),
        [0xF8, second, ..] => (5, (*second, 0x87)),
        [0xFC, second, ..] => (6, (*second, 0x83)),
        _ => return false,
    };
    let continues = bytes
        .get(2..length)
        .is_some_and(|more| more.iter().all(|byte| (0x80..=0xBF).contains(byte)));
    continues && (0x80..=second.1).contains(&second.0)
}

/// What the text begins with, and how many bytes that takes.
fn sign(bytes: &[u8]) -> (u8, usize) {
    if let Some(character) = first_character(bytes) {
        return (look(character), character.len_utf8());
    }
    match bytes {
        // Some decoders look at no more than the lower bits of what follows.
        [0xC0, second, ..] if matches!(second & 0x3F, 0x2E | 0x2F) => (second & 0x3F, 2),
        [0xC1, second, ..] if second & 0x3F == 0x1C => (b'\\', 2),
        // The blanks of Latin-1, no-break space among them.
        [0x80..=0xA0, ..] => (b' ', 1),
        _ => (b'x', 1),
    }
}

fn first_character(bytes: &[u8]) -> Option<char> {
    let longest = bytes.get(..4).unwrap_or(bytes);
    let valid = match std::str::from_utf8(longest) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(longest.get(..error.valid_up_to())?).ok()?,
    };
    valid.chars().next()
}

fn look(character: char) -> u8 {
    match character {
        // Full stops small and full-width, leaders of one to three dots.
        '\u{FF0E}' | '\u{FE52}' | '\u{2024}'..='\u{2026}' => b'.',
        '\u{FF0F}' | '\u{FF3C}' | '\u{FE68}' => b'/',
        '\u{FF1B}' | '\u{FE54}' => b';',
        // What has no width: some file systems do not see it in a name.
        '\u{AD}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' => b' ',
        blank if blank.is_whitespace() || blank.is_control() => b' ',
        _ => b'x',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_each_character_may_be_taken_for() {
        for (decoded, seen) in [
            ("a\u{FF0E}\u{2025}\u{2026}\u{FE52}", "a...."),
            ("a\u{FF0F}b\u{FF3C}c\u{FE68}", "a/b/c/"),
            ("..\u{FF1B}v", "..;v"),
            ("..\u{A0}\u{3000}\u{200B}\u{FEFF}\u{AD}\u{85}", "..      "),
            ("\u{e9}\u{20AC}\u{1F600}.", "xxx."),
        ] {
            assert_eq!(plain(decoded.as_bytes()).as_deref(), Some(seen.as_bytes()));
        }
    }

    #[test]
    fn refuses_codes_that_are_too_long_whatever_they_stand_for() {
        for decoded in [
            b"\xC0\xAE".as_slice(),
            b"\xC0\xAF",
            b"\xC1\x9C",
            b"\xC1\x81",
            b"\xE0\x80\xAE",
            b"\xE0\x9F\xBF",
            b"\xF0\x80\x80\xAE",
            b"\xF0\x8F\xBF\xBF",
            b"\xF8\x80\x80\x80\xAE",
            b"\xFC\x80\x80\x80\x80\xAE",
            b"a/\xFC\x83\xBF\xBF\xBF\xBF/b",
        ] {
            assert_eq!(plain(decoded), None, "{}", decoded.escape_ascii());
        }
    }

    #[test]
    fn latin_1_passes() {
        for (decoded, seen) in [
            (b"caf\xE9/\xE0 la".as_slice(), "cafx/x la"),
            (b"VOIL\xC0", "VOILx"),
            (b"VOIL\xC0.html", "VOIL.html"),
            (b"\xA0", " "),
            (b"\xF0", "x"),
        ] {
            let seen = Some(seen.as_bytes());
            assert_eq!(
                plain(decoded).as_deref(),
                seen,
                "{}",
                decoded.escape_ascii()
            );
        }
    }
}
