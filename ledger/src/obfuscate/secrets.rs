//! Finds secret values in text, as they are and as they may have been encoded:
//! percent-encoded, JSON-escaped, both in any order, or within base64 of either
//! alphabet at any alignment (RFC 4648). Built once per bundle.
//!
//! Values are searched for without the white space around them. One of fewer
//! than [`SHORTEST`] bytes is not searched for: it would mask half of every
//! record, and is no secret in any case.

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::MASK;
use super::decode::Encoding;

/// In bytes.
const SHORTEST: usize = 4;

/// How many encodings around each other are looked through.
const DEPTH: u8 = 2;

pub(super) struct Secrets(Option<AhoCorasick>);

impl Secrets {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new<'a>(values: impl Iterator<Item = &'a str>) -> Result<Self, BuildError> {
        let forms: BTreeSet<Vec<u8>> = values
            .map(str::trim)
            .filter(|value| value.len() >= SHORTEST)
            .flat_map(forms)
            .collect();
        if forms.is_empty() {
            return Ok(Self(None));
        }
        // The leftmost kinds are the ones that search a few values by SIMD.
        AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(forms)
            .map(|automaton| Self(Some(automaton)))
    }

    pub(super) fn appear_in(&self, text: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_some_and(|automaton| appears(automaton, text, DEPTH))
    }

    /// `text` without secrets; `None` if it has none.
    pub(super) fn mask(&self, text: &[u8]) -> Option<Vec<u8>> {
        let automaton = self.0.as_ref()?;
        let mut found = Vec::new();
        collect(automaton, text, DEPTH, &mut |range| found.push(range));
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        Some(without(text, &found))
    }
}

fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![value.as_bytes().to_vec()];
    if value.contains(' ') {
        // A form's way to write a space.
        forms.push(value.replace(' ', "+").into_bytes());
    }
    for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.extend((0..3).filter_map(|before| base64_core(alphabet, value.as_bytes(), before)));
    }
    forms
}

/// The base64 digits that depend on `value` alone when `before` bytes of
/// something else (modulo 3) precede it: what a longer text that has the value
/// in it, such as `user:password`, must contain.
fn base64_core(alphabet: &GeneralPurpose, value: &[u8], before: usize) -> Option<Vec<u8>> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(value);
    let digits = alphabet.encode(&padded).into_bytes();
    let first = (before * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    digits
        .get(first..last)
        .filter(|core| core.len() >= SHORTEST)
        .map(<[u8]>::to_vec)
}

fn appears(automaton: &AhoCorasick, text: &[u8], depth: u8) -> bool {
    automaton.is_match(text)
        || depth > 0
            && Encoding::ALL.into_iter().any(|encoding| {
                encoding
                    .decode_bytes(text)
                    .is_some_and(|decoded| appears(automaton, &decoded, depth - 1))
            })
}

/// Gives `found` the range in `text` of each secret, however encoded.
fn collect(automaton: &AhoCorasick, text: &[u8], depth: u8, found: &mut dyn FnMut(Range<usize>)) {
    let mut from = 0;
    while let Some(hit) = automaton.find(Input::new(text).range(from..)) {
        found(hit.range());
        // Not from its end: two secrets may overlap.
        from = hit.start() + 1;
    }
    if depth == 0 {
        return;
    }
    for encoding in Encoding::ALL {
        if let Some(decoded) = encoding.decode(text) {
            let mut outer = |range: Range<usize>| found(decoded.source(&range));
            collect(automaton, &decoded.bytes, depth - 1, &mut outer);
        }
    }
}

/// Puts one mask for each stretch that `ranges` (sorted by start) cover.
fn without(text: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut covered = 0;
    for range in ranges {
        if range.start >= covered && (range.start > covered || covered == 0) {
            out.extend_from_slice(text.get(covered..range.start).unwrap_or_default());
            out.extend_from_slice(MASK.as_bytes());
        }
        covered = covered.max(range.end);
    }
    out.extend_from_slice(text.get(covered..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().copied()).unwrap()
    }

    fn masked(secrets: &Secrets, text: &str) -> String {
        let masked = secrets
            .mask(text.as_bytes())
            .unwrap_or(text.as_bytes().to_vec());
        String::from_utf8(masked).unwrap()
    }

    #[test]
    fn masks_a_value_as_it_is() {
        let secrets = secrets(&["hunter2"]);
        assert_eq!(masked(&secrets, "hunter2"), "[redacted]");
        assert_eq!(
            masked(&secrets, "a hunter2, hunter2"),
            "a [redacted], [redacted]"
        );
        assert_eq!(masked(&secrets, "hunter2hunter2"), "[redacted]");
        assert_eq!(masked(&secrets, "hunter3"), "hunter3");
    }

    #[test]
    fn masks_a_percent_encoded_value_in_either_case() {
        let secrets = secrets(&["p/w d+é"]);
        for text in [
            "p%2Fw%20d%2B%C3%A9",
            "p%2fw%20d%2b%c3%a9",
            "p/w+d%2Bé",
            "%70/w d+é",
            "p%252Fw%2520d%252Bé",
        ] {
            assert_eq!(masked(&secrets, text), "[redacted]", "{text}");
        }
    }

    #[test]
    fn masks_a_json_escaped_value() {
        let secrets = secrets(&["a\"b\\c\nd/é"]);
        for text in [
            r#"a\"b\\c\nd/é"#,
            r#"a\"b\\c\nd\/\u00e9"#,
            r#"a\\\"b\\\\c\\nd\\\/\\u00E9"#,
        ] {
            assert_eq!(masked(&secrets, text), "[redacted]", "{text}");
        }
        let both = r#"%22a\%22b\\c\nd%2F\u00e9%22"#;
        assert_eq!(masked(&secrets, both), "%22[redacted]%22");
    }

    #[test]
    fn masks_a_value_within_base64_at_any_alignment() {
        let secrets = secrets(&["correct horse ?>~ÿ"]);
        for user in ["", "u", "us", "user"] {
            let text = format!("{user}:correct horse ?>~ÿ!");
            for encoded in [
                BASE64_STANDARD.encode(&text),
                BASE64_URL_SAFE_NO_PAD.encode(&text),
            ] {
                let left = masked(&secrets, &encoded);
                assert!(left.contains(MASK), "{encoded}");
                assert!(left.len() < MASK.len() + 12, "{left}");
            }
        }
    }

    #[test]
    fn masks_secrets_that_overlap() {
        assert_eq!(
            masked(&secrets(&["abcdef", "defghi"]), "xabcdefghix"),
            "x[redacted]x"
        );
        assert_eq!(
            masked(&secrets(&["abcd", "abcdefgh"]), "abcdefgh"),
            "[redacted]"
        );
    }

    #[test]
    fn ignores_white_space_around_a_value() {
        assert_eq!(masked(&secrets(&["hunter2\n"]), "hunter2"), "[redacted]");
    }

    #[test]
    fn does_not_search_for_what_is_too_short_to_be_secret() {
        let secrets = secrets(&["abc", "", "  a \n"]);
        assert_eq!(masked(&secrets, "abc a"), "abc a");
        assert!(!secrets.appear_in(b"abc a"));
    }

    proptest! {
        #[test]
        fn a_value_is_seen_and_masked_between_any_texts(
            value in "[ -~é\n]{4,12}",
            before in "[ -~\n%\\\\]{0,8}",
            after: String,
        ) {
            let secrets = secrets(&[&value]);
            let text = format!("{before}{value}{after}");
            let among_others = format!("{before}\n{text}\n{after}\n");
            if value.trim().len() >= SHORTEST {
                prop_assert!(secrets.appear_in(among_others.as_bytes()));
                let left = secrets.mask(text.as_bytes()).unwrap();
                prop_assert!(memchr::memmem::find(&left, value.trim().as_bytes()).is_none());
            }
        }

        #[test]
        fn text_without_a_secret_is_not_touched(text in "[a-z %\\\\]{0,60}") {
            prop_assert!(secrets(&["HUNTER22", "S3CRET"]).mask(text.as_bytes()).is_none());
        }
    }
}
