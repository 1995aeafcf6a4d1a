//! The ways in which a value may stand in an answer: as it is, in base64 at any
//! of its three alignments (RFC 4648), percent-encoded (RFC 3986, section 2.1;
//! forms as in the URL standard), escaped for JSON (RFC 8259, section 7) or
//! XML, and in hex. One form for each way in which common encoders differ; a
//! text that mixes two ways is none of them.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// In bytes. What is shorter would be found where no secret is.
pub const SHORTEST: usize = 8;

pub(super) type Form = Zeroizing<Vec<u8>>;

/// Sorted, each once.
pub(super) fn all<'v>(values: impl Iterator<Item = &'v str>) -> Vec<Form> {
    let mut forms: Vec<Form> = values
        .map(str::trim)
        .filter(|value| value.len() >= SHORTEST)
        .flat_map(of_value)
        .filter(|form| form.len() >= SHORTEST)
        .collect();
    forms.sort_unstable_by(|one, other| one.as_slice().cmp(other));
    forms.dedup();
    forms
}

fn of_value(value: &str) -> impl Iterator<Item = Form> {
    let raw = Zeroizing::new(value.as_bytes().to_vec());
    std::iter::once(raw)
        .chain(base64(value.as_bytes()))
        .chain(percent(value))
        .chain(json(value))
        .chain(xml(value))
        .chain(HEX_DIGITS.map(|digits| hex(value, digits)))
}

fn base64(value: &[u8]) -> impl Iterator<Item = Form> {
    let alphabets = [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD];
    let forms = alphabets.map(|alphabet| (0..3).map(|before| aligned(alphabet, value, before)));
    forms.into_iter().flatten()
}

/// The digits that depend on `value` alone where `before` bytes of something
/// else (modulo 3) precede it, as in `user:password`.
fn aligned(alphabet: &GeneralPurpose, value: &[u8], before: usize) -> Form {
    let mut padded = Zeroizing::new(Vec::with_capacity(before + value.len()));
    padded.extend(std::iter::repeat_n(0, before));
    padded.extend_from_slice(value);
    let digits = Zeroizing::new(alphabet.encode(&*padded));
    let own = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
    Zeroizing::new(digits.as_bytes().get(own).unwrap_or_default().to_vec())
}

const HEX_DIGITS: [&[u8; 16]; 2] = [b"0123456789abcdef", b"0123456789ABCDEF"];

/// What an encoder leaves as it is, beside letters and digits.
struct PercentWay {
    keeps: &'static [u8],
    blank_is_plus: bool,
}

const PERCENT_WAYS: [PercentWay; 11] = [
    // `encodeURIComponent`
    keeping(b"-_.!~*'()"),
    // RFC 3986, the unreserved alone.
    keeping(b"-._~"),
    // `encodeURI`
    keeping(b"-_.!~*'();,/?:@&=+$#"),
    // A path, a segment of one.
    keeping(b"-._~/"),
    keeping(b"-._~$&+=:@"),
    // A path and a query as browsers write them (URL standard, section 1.3).
    keeping(b"!$%&'()*+,-./:;=@[\\]_|~"),
    keeping(b"!$%&()*+,-./:;=?@[\\]^_`{|}~"),
    // `grpc-message`
    keeping(b" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    // Forms: the URL standard and Java; Python and Go; PHP.
    form(b"*-._"),
    form(b"-._~"),
    form(b"-._"),
];

const fn keeping(keeps: &'static [u8]) -> PercentWay {
    PercentWay {
        keeps,
        blank_is_plus: false,
    }
}

const fn form(keeps: &'static [u8]) -> PercentWay {
    PercentWay {
        keeps,
        blank_is_plus: true,
    }
}

fn percent(value: &str) -> impl Iterator<Item = Form> {
    HEX_DIGITS.into_iter().flat_map(move |digits| {
        let ways = PERCENT_WAYS.iter();
        ways.map(move |way| way.encode(value, digits))
    })
}

impl PercentWay {
    fn encode(&self, value: &str, digits: &[u8; 16]) -> Form {
        let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 3));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || self.keeps.contains(&byte) {
                out.push(byte);
            } else if byte == b' ' && self.blank_is_plus {
                out.push(b'+');
            } else {
                out.push(b'%');
                push_hex(byte, digits, &mut out);
            }
        }
        out
    }
}

/// How an encoder writes what need not be escaped.
#[derive(Clone, Copy)]
struct JsonWay {
    digits: &'static [u8; 16],
    /// By number.
    escapes: &'static [u8],
    escapes_slash: bool,
    ascii_only: bool,
}

/// Nobody beyond the rule; what is unsafe in HTML; the same and what is unsafe
/// in attributes, as Gson and .NET see it.
const JSON_ESCAPES: [&[u8]; 4] = [b"", b"<>&", b"<>&='", b"<>&'+`\""];

fn json(value: &str) -> impl Iterator<Item = Form> {
    let ways = HEX_DIGITS.into_iter().flat_map(|digits| {
        JSON_ESCAPES.into_iter().flat_map(move |escapes| {
            let flags = [(false, false), (false, true), (true, false), (true, true)];
            flags.map(|(escapes_slash, ascii_only)| JsonWay {
                digits,
                escapes,
                escapes_slash,
                ascii_only,
            })
        })
    });
    ways.map(|way| way.encode(value))
}

impl JsonWay {
    fn encode(self, value: &str) -> Form {
        let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 6));
        for c in value.chars() {
            match short_escape(c) {
                _ if self.is_numbered(c) => self.push_number(c, &mut out),
                Some(escape) => out.extend([b'\\', escape]),
                None if c == '/' && self.escapes_slash => out.extend(*b"\\/"),
                None => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        out
    }

    fn is_numbered(self, c: char) -> bool {
        let is_listed = u8::try_from(c).is_ok_and(|byte| self.escapes.contains(&byte));
        let is_control = c < ' ' && short_escape(c).is_none();
        is_listed || is_control || self.ascii_only && !c.is_ascii()
    }

    fn push_number(self, c: char, out: &mut Vec<u8>) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.extend(*b"\\u");
            for byte in unit.to_be_bytes() {
                push_hex(byte, self.digits, out);
            }
        }
    }
}

fn short_escape(c: char) -> Option<u8> {
    match c {
        '"' | '\\' => u8::try_from(c).ok(),
        '\u{8}' => Some(b'b'),
        '\u{c}' => Some(b'f'),
        '\n' => Some(b'n'),
        '\r' => Some(b'r'),
        '\t' => Some(b't'),
        _ => None,
    }
}

/// How an encoder writes what XML itself leaves open.
struct XmlWay {
    /// For text alone quotes need not be escaped.
    double_quote: &'static str,
    single_quote: &'static str,
    others: &'static [(u8, &'static str)],
}

const XML_WAYS: [XmlWay; 9] = [
    quoting("\"", "'", &[]),
    quoting("&quot;", "&apos;", &[]),
    quoting("&quot;", "&#39;", &[]),
    quoting("&quot;", "&#x27;", &[]),
    // PHP
    quoting("&quot;", "&#039;", &[]),
    quoting("&#34;", "&#39;", &[]),
    // Go's templates; Handlebars; Mustache.
    quoting("&#34;", "&#39;", &[(b'+', "&#43;")]),
    quoting("&quot;", "&#x27;", &[(b'=', "&#x3D;"), (b'`', "&#x60;")]),
    quoting(
        "&quot;",
        "&#39;",
        &[(b'/', "&#x2F;"), (b'=', "&#x3D;"), (b'`', "&#x60;")],
    ),
];

const fn quoting(
    double_quote: &'static str,
    single_quote: &'static str,
    others: &'static [(u8, &'static str)],
) -> XmlWay {
    XmlWay {
        double_quote,
        single_quote,
        others,
    }
}

fn xml(value: &str) -> impl Iterator<Item = Form> {
    XML_WAYS.iter().map(|way| way.encode(value))
}

impl XmlWay {
    fn encode(&self, value: &str) -> Form {
        let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 6));
        for byte in value.bytes() {
            match self.escape(byte) {
                Some(escape) => out.extend(escape.bytes()),
                None => out.push(byte),
            }
        }
        out
    }

    fn escape(&self, byte: u8) -> Option<&'static str> {
        match byte {
            b'&' => Some("&amp;"),
            b'<' => Some("&lt;"),
            b'>' => Some("&gt;"),
            b'"' => Some(self.double_quote),
            b'\'' => Some(self.single_quote),
            other => {
                let mut others = self.others.iter();
                others.find(|(own, _)| *own == other).map(|(_, text)| *text)
            }
        }
    }
}

fn hex(value: &str, digits: &[u8; 16]) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 2));
    for byte in value.bytes() {
        push_hex(byte, digits, &mut out);
    }
    out
}

fn push_hex(byte: u8, digits: &[u8; 16], out: &mut Vec<u8>) {
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend([digit(byte >> 4), digit(byte & 0x0f)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, form: &str) -> bool {
        all([value].into_iter())
            .iter()
            .any(|own| **own == form.as_bytes())
    }

    #[test]
    fn a_plain_key_has_few_forms() {
        // Itself, three of base64, two of hex.
        assert_eq!(all(["sk_live_4f9a8b7c"].into_iter()).len(), 6);
    }

    #[test]
    fn white_space_around_a_value_does_not_count() {
        assert_eq!(
            all([" secret-12\n"].into_iter()),
            all(["secret-12"].into_iter())
        );
    }

    #[test]
    fn what_is_short_has_no_form() {
        assert!(all(["1234567", "", " 1234567 "].into_iter()).is_empty());
        assert!(!all(["12345678"].into_iter()).is_empty());
    }

    #[test]
    fn base64_has_the_digits_of_the_value_alone() {
        // `Aladdin:open sesame` of RFC 7617, without what `Aladdin:` shares.
        assert!(has("open sesame", "9wZW4gc2VzYW1l"));
        assert!(has("open sesame", "b3BlbiBzZXNhbW"));
        assert!(has("open sesame", "vcGVuIHNlc2FtZ"));
        assert!(has("????>>>>????", "Pz8_Pz4-Pj4_Pz8_"));
        assert!(has("????>>>>????", "Pz8/Pz4+Pj4/Pz8/"));
    }

    #[test]
    fn percent_encoding_in_either_case_and_by_any_common_encoder() {
        let value = "p/w d+é(~*)";
        for form in [
            "p%2Fw%20d%2B%C3%A9(~*)",
            "p%2fw%20d%2b%c3%a9(~*)",
            "p%2Fw%20d%2B%C3%A9%28~%2A%29",
            "p/w%20d+%C3%A9(~*)",
            "p/w%20d%2B%C3%A9%28~%2A%29",
            "p%2Fw+d%2B%C3%A9%28%7E*%29",
            "p%2Fw+d%2B%C3%A9%28~%2A%29",
            "p%2fw+d%2b%c3%a9%28%7e%2a%29",
            "p/w%20d+%C3%A9(~*)",
            "p/w d+%C3%A9(~*)",
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn json_escapes_by_any_common_encoder() {
        let value = "a\"b\\c\nd/é<&>'\u{1}😀+=";
        for form in [
            r#"a\"b\\c\nd/é<&>'\u0001😀+="#,
            r#"a\"b\\c\nd\/\u00e9<&>'\u0001\ud83d\ude00+="#,
            r#"a\"b\\c\nd/\u00e9<&>'\u0001\ud83d\ude00+="#,
            r#"a\"b\\c\nd/é\u003c\u0026\u003e'\u0001😀+="#,
            r#"a\"b\\c\nd/é\u003c\u0026\u003e\u0027\u0001😀+\u003d"#,
            r#"a\u0022b\\c\nd/\u00E9\u003C\u0026\u003E\u0027\u0001\uD83D\uDE00\u002B="#,
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn json_is_escaped_as_we_write_it() {
        let value = "tab\t quote\" back\\ del\u{7f} \u{b} end";
        let written = serde_json::to_string(value).unwrap();
        assert!(has(value, written.trim_matches('"')));
    }

    #[test]
    fn xml_is_escaped_by_any_common_encoder() {
        let value = "a<b>&\"c'd-e";
        for form in [
            "a&lt;b&gt;&amp;\"c'd-e",
            "a&lt;b&gt;&amp;&quot;c&apos;d-e",
            "a&lt;b&gt;&amp;&quot;c&#39;d-e",
            "a&lt;b&gt;&amp;&quot;c&#x27;d-e",
            "a&lt;b&gt;&amp;&#34;c&#39;d-e",
            "a&lt;b&gt;&amp;&quot;c&#039;d-e",
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn html_is_escaped_by_any_common_template() {
        let value = "a'b+c/d=`\"";
        for form in [
            "a&#39;b&#43;c/d=`&#34;",
            "a&#x27;b+c/d&#x3D;&#x60;&quot;",
            "a&#39;b+c&#x2F;d&#x3D;&#x60;&quot;",
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn hex_in_either_case() {
        assert!(has("jklmnopz", "6a6b6c6d6e6f707a"));
        assert!(has("jklmnopz", "6A6B6C6D6E6F707A"));
    }
}
