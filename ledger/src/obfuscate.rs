//! What a record must not show: headers, parameters and JSON members by name,
//! text by pattern, and every secret value wherever it stands. Compiled once
//! per bundle, applied by the ledger's thread before anything is written.
//!
//! Where a rule cannot be applied with certainty (a JSON body that does not
//! parse), the whole is masked.

mod decode;
mod json_path;
mod secrets;
mod url;

use std::borrow::Cow;
use std::fmt;

use regex::bytes::{NoExpand, Regex};
use serde_json::Value;

use crate::record::{Body, BodyKind};
use json_path::JsonPath;
use secrets::Secrets;
use url::Names;

/// What stands in a record for what it must not show.
pub const MASK: &str = "[redacted]";

/// Headers that are always masked whole; `-` and `_` are the same.
const HEADERS: &[&str] = &[
    "api-key",
    "apikey",
    "authorization",
    "cookie",
    "dpop",
    "ocp-apim-subscription-key",
    "private-token",
    "proxy-authorization",
    "set-cookie",
    "stripe-signature",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-knoxcall-agent-token",
    "x-knoxcall-key",
    "x-shopify-access-token",
    "x-signature",
    "x-vault-token",
    "x-xsrf-token",
];

/// What to mask beyond what is always masked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Header names, without case.
    pub headers: Vec<String>,
    /// Names of query and form parameters, without case.
    pub query: Vec<String>,
    /// Paths into captured JSON bodies: `$.user.ssn`, `$.items[*].card`, `$..pin`.
    pub json_paths: Vec<String>,
    /// Regular expressions, for any text that comes from a client or upstream.
    pub patterns: Vec<String>,
}

/// A rule that cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("json path {path:?} {reason}")]
    JsonPath { path: String, reason: &'static str },
    #[error("pattern {pattern:?} is no regular expression: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("pattern {pattern:?} matches the empty text, so it would mask everything")]
    MatchesEmpty { pattern: String },
    /// The search for secret values would be too large.
    #[error("too many secret values to search for: {0}")]
    Secrets(String),
}

/// Compiled rules. Silent in `Debug`, because it holds secret values.
pub struct Obfuscator {
    headers: Names,
    parameters: Names,
    json_paths: Vec<JsonPath>,
    patterns: Vec<Regex>,
    secrets: Secrets,
}

impl Obfuscator {
    /// `secret_values` of fewer than four bytes (white space around them not
    /// counted) are not searched for.
    pub fn new<'a>(
        rules: &Rules,
        secret_values: impl Iterator<Item = &'a str>,
    ) -> Result<Self, RuleError> {
        let headers = HEADERS
            .iter()
            .copied()
            .chain(rules.headers.iter().map(String::as_str));
        Ok(Self {
            headers: Names::new(headers),
            parameters: Names::parameters(&rules.query),
            json_paths: rules
                .json_paths
                .iter()
                .map(|path| compile_path(path))
                .collect::<Result<_, _>>()?,
            patterns: rules
                .patterns
                .iter()
                .map(|pattern| compile_pattern(pattern))
                .collect::<Result<_, _>>()?,
            secrets: Secrets::new(secret_values)
                .map_err(|error| RuleError::Secrets(error.to_string()))?,
        })
    }

    /// Any text: credentials in URLs, patterns, secret values.
    pub fn text<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.without_rules(self.without_secrets(text))
    }

    /// The value of the header called `name`.
    pub fn header<'t>(&self, name: &[u8], value: &'t [u8]) -> Cow<'t, [u8]> {
        if self.hides_header(name) {
            return Cow::Borrowed(MASK.as_bytes());
        }
        self.text(value)
    }

    /// A captured body.
    pub fn body<'t>(&self, body: &'t Body) -> Cow<'t, [u8]> {
        self.without_rules(self.without_members(body, self.without_secrets(body.bytes.as_bytes())))
    }

    pub(crate) fn hides_header(&self, name: &[u8]) -> bool {
        self.headers.contains(name)
    }

    /// Whether [`Self::without_secrets`] would change `text`.
    pub(crate) fn sees_secrets(&self, text: &[u8]) -> bool {
        self.secrets.appear_in(text)
    }

    pub(crate) fn without_secrets<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.secrets
            .mask(text)
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Text without what the rules on URLs and the patterns hide.
    pub(crate) fn without_rules<'t>(&self, text: Cow<'t, [u8]>) -> Cow<'t, [u8]> {
        let mut text = replaced(text, |text| url::mask_url(text, &self.parameters));
        for pattern in &self.patterns {
            text = replaced(text, |text| {
                match pattern.replace_all(text, NoExpand(MASK.as_bytes())) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(masked) => Some(masked),
                }
            });
        }
        text
    }

    /// A body's `text` without the members that the rules name.
    pub(crate) fn without_members<'t>(&self, body: &Body, text: Cow<'t, [u8]>) -> Cow<'t, [u8]> {
        let says_json = match body.kind {
            BodyKind::Json => true,
            // The caller's word, and curl's default for anything.
            BodyKind::Form | BodyKind::Other => false,
        };
        let text = match says_json || looks_like_json(&text) {
            true => replaced(text, |text| self.mask_json(text)),
            false => text,
        };
        match body.kind {
            BodyKind::Form => replaced(text, |text| url::mask_form(text, &self.parameters)),
            BodyKind::Json | BodyKind::Other => text,
        }
    }

    fn mask_json(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.json_paths.is_empty() || text.is_empty() {
            return None;
        }
        let masked = serde_json::from_slice(text).and_then(|mut value: Value| {
            self.json_paths
                .iter()
                .for_each(|path| path.mask(&mut value));
            serde_json::to_vec(&value)
        });
        // Not JSON, or only its beginning: no path can be trusted to be found.
        Some(masked.unwrap_or_else(|_| MASK.into()))
    }
}

impl Default for Obfuscator {
    /// What is always masked, and no secret values.
    fn default() -> Self {
        Self {
            headers: Names::new(HEADERS.iter().copied()),
            parameters: Names::parameters(&[]),
            json_paths: Vec::new(),
            patterns: Vec::new(),
            secrets: Secrets::none(),
        }
    }
}

impl fmt::Debug for Obfuscator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Obfuscator([redacted])")
    }
}

fn compile_path(path: &str) -> Result<JsonPath, RuleError> {
    JsonPath::parse(path).map_err(|reason| RuleError::JsonPath {
        path: path.to_owned(),
        reason,
    })
}

fn compile_pattern(pattern: &str) -> Result<Regex, RuleError> {
    let regex = Regex::new(pattern).map_err(|error| RuleError::Pattern {
        pattern: pattern.to_owned(),
        reason: last_line(&error),
    })?;
    if regex.is_match(b"") {
        return Err(RuleError::MatchesEmpty {
            pattern: pattern.to_owned(),
        });
    }
    Ok(regex)
}

/// The regex library draws its errors over several lines; the last says what.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn looks_like_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn replaced<'t>(text: Cow<'t, [u8]>, mask: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Cow<'t, [u8]> {
    match mask(&text) {
        Some(masked) => Cow::Owned(masked),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Text;

    fn obfuscator(rules: &Rules) -> Obfuscator {
        Obfuscator::new(rules, ["hunter2"].into_iter()).unwrap()
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    fn masked_body(rules: &Rules, kind: BodyKind, text: &str) -> String {
        let body = Body {
            bytes: text.into(),
            kind,
            truncated: false,
        };
        String::from_utf8(obfuscator(rules).body(&body).into_owned()).unwrap()
    }

    #[test]
    fn masks_credentials_in_headers_by_name() {
        let rules = Rules {
            headers: strings(&["X-Tenant-Pin"]),
            ..Rules::default()
        };
        let masks = obfuscator(&rules);
        for name in [
            "authorization",
            "Cookie",
            "X_Api_Key",
            "DPoP",
            "x-knoxcall-key",
            "x-tenant-PIN",
        ] {
            assert_eq!(
                &*masks.header(name.as_bytes(), b"abc"),
                MASK.as_bytes(),
                "{name}"
            );
        }
        assert_eq!(&*masks.header(b"accept", b"abc"), b"abc");
    }

    #[test]
    fn masks_a_url_and_a_secret_in_a_header_of_any_name() {
        let masks = obfuscator(&Rules::default());
        let referer = masks.header(b"referer", b"https://x/?token=abc&p=hunter2");
        assert_eq!(&*referer, b"https://x/?token=[redacted]&p=[redacted]");
    }

    #[test]
    fn masks_by_pattern() {
        let rules = Rules {
            patterns: strings(&[r"\b\d{4}-\d{4}\b", "(?i)iban [a-z0-9]+"]),
            ..Rules::default()
        };
        let masks = obfuscator(&rules);
        assert_eq!(
            &*masks.text(b"1234-5678 and IBAN de12"),
            b"[redacted] and [redacted]"
        );
        assert_eq!(&*masks.text(b"12345678"), b"12345678");
    }

    #[test]
    fn masks_members_of_a_json_body() {
        let rules = Rules {
            json_paths: strings(&["$.user.ssn", "$..pin"]),
            ..Rules::default()
        };
        let body = r#"{"user":{"ssn":"1","name":"é"},"x":[{"pin":2}],"p":"hunter2"}"#;
        let expected = r#"{"user":{"ssn":"[redacted]","name":"é"},"x":[{"pin":"[redacted]"}],"p":"[redacted]"}"#;
        assert_eq!(masked_body(&rules, BodyKind::Json, body), expected);
        assert_eq!(masked_body(&rules, BodyKind::Other, body), expected);
    }

    #[test]
    fn masks_members_of_json_that_is_said_to_be_a_form() {
        let rules = Rules {
            json_paths: strings(&["$.ssn"]),
            ..Rules::default()
        };
        let masked = |text| masked_body(&rules, BodyKind::Form, text);
        assert_eq!(
            masked(r#" {"ssn":"1","n":2}"#),
            r#"{"ssn":"[redacted]","n":2}"#
        );
        assert_eq!(masked(r#"{"ssn":"1","cut":"#), MASK);
        assert_eq!(masked("ssn=1&password=b"), "ssn=1&password=[redacted]");
    }

    #[test]
    fn masks_the_whole_of_a_json_body_whose_members_cannot_be_told() {
        let rules = Rules {
            json_paths: strings(&["$.ssn"]),
            ..Rules::default()
        };
        for text in [
            r#"{"ssn":"1","cut":"#,
            r#" {"ssn":1}{"ssn":2}"#,
            "\u{feff}{\"ssn\":1}",
        ] {
            assert_eq!(masked_body(&rules, BodyKind::Json, text), MASK, "{text}");
        }
        let deep = "[".repeat(200);
        assert_eq!(masked_body(&rules, BodyKind::Other, &deep), MASK);
        assert_eq!(
            masked_body(&rules, BodyKind::Other, "plain text"),
            "plain text"
        );
    }

    #[test]
    fn masks_parameters_of_a_form() {
        let masked = masked_body(&Rules::default(), BodyKind::Form, "user=a&password=b");
        assert_eq!(masked, "user=a&password=[redacted]");
    }

    #[test]
    fn leaves_a_body_without_rules_as_it_came() {
        let text = "{ \"a\" : 1,\n\"b\":[ ] }";
        assert_eq!(masked_body(&Rules::default(), BodyKind::Json, text), text);
    }

    #[test]
    fn refuses_rules_that_do_not_compile_by_name() {
        let error = |rules: Rules| {
            Obfuscator::new(&rules, std::iter::empty())
                .unwrap_err()
                .to_string()
        };
        let path = error(Rules {
            json_paths: strings(&["user.ssn"]),
            ..Rules::default()
        });
        assert_eq!(path, r#"json path "user.ssn" must begin with $"#);
        let pattern = error(Rules {
            patterns: strings(&["(a"]),
            ..Rules::default()
        });
        assert_eq!(
            pattern,
            r#"pattern "(a" is no regular expression: unclosed group"#
        );
        let empty = error(Rules {
            patterns: strings(&["a*"]),
            ..Rules::default()
        });
        assert!(
            empty.contains(r#"pattern "a*" matches the empty text"#),
            "{empty}"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let masks = obfuscator(&Rules::default());
        let body = Body {
            bytes: Text::from("hunter2"),
            kind: BodyKind::Other,
            truncated: false,
        };
        assert!(!format!("{masks:?} {body:?}").contains("hunter2"));
    }
}
