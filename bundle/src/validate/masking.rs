//! `logging.obfuscate`: what is masked in request records, beside what always
//! is. A path or pattern that would fail when the masks are made is refused.

use regex::RegexBuilder;

use crate::document::ObfuscateDocument;
use crate::problem::{At, Problems};
use crate::settings::{Obfuscate, Pattern};

use super::header;

/// Bytes that a compiled pattern may take.
const PATTERN_SIZE_LIMIT: usize = 1024 * 1024;

pub(super) fn obfuscate(
    document: &ObfuscateDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> Obfuscate {
    let paths_at = at.key("json_paths");
    for (index, path) in document.json_paths.iter().enumerate() {
        if !is_json_path(path) {
            let remedy = "write $.user.ssn, $.items[*].card, $['a b'] or $..pin";
            problems.add(&paths_at.index(index), "is not a JSON path", remedy);
        }
    }
    Obfuscate {
        headers: header::names(&document.headers, &at.key("headers"), problems),
        query: document.query.clone(),
        json_paths: document.json_paths.clone(),
        patterns: patterns(&document.patterns, &at.key("patterns"), problems),
    }
}

fn patterns(texts: &[String], at: &At<'_>, problems: &mut Problems) -> Vec<Pattern> {
    let texts = texts.iter().enumerate();
    texts
        .filter_map(|(index, text)| {
            let compiled = RegexBuilder::new(text)
                .size_limit(PATTERN_SIZE_LIMIT)
                .build();
            let at = at.index(index);
            match compiled {
                Ok(regex) if regex.is_match("") => {
                    problems.add(&at, "matches the empty text", "use + in the place of *");
                    None
                }
                Ok(regex) => Some(Pattern(regex)),
                Err(regex::Error::CompiledTooBig(_)) => {
                    problems.add(&at, "is too large once compiled", "use smaller repetitions");
                    None
                }
                Err(_) => {
                    let remedy = "the syntax is that of the Rust crate `regex`";
                    problems.add(&at, "is not a regular expression", remedy);
                    None
                }
            }
        })
        .collect()
}

/// `$` and then `.name`, `.*`, `..name`, `['name']`, `[0]` or `[*]`: the part
/// of RFC 9535 that records can be masked by.
fn is_json_path(path: &str) -> bool {
    let Some(mut rest) = path.strip_prefix('$').filter(|rest| !rest.is_empty()) else {
        return false;
    };
    while !rest.is_empty() {
        match after_step(rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

fn after_step(rest: &str) -> Option<&str> {
    if let Some(inner) = rest.strip_prefix('[') {
        return after_bracket(inner);
    }
    if let Some(after) = rest.strip_prefix(".*") {
        return Some(after);
    }
    let name = rest.strip_prefix("..").or_else(|| rest.strip_prefix('.'))?;
    match name.find(['.', '[']).unwrap_or(name.len()) {
        0 => None,
        length => name.get(length..),
    }
}

fn after_bracket(inner: &str) -> Option<&str> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let (_, after) = quoted.split_once(quote)?;
            return after.strip_prefix(']');
        }
    }
    let (index, after) = inner.split_once(']')?;
    let is_index =
        index.bytes().all(|byte| byte.is_ascii_digit()) && index.parse::<usize>().is_ok();
    (index == "*" || is_index).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_json_paths() {
        for path in [
            "$.a",
            "$.user.ssn",
            "$.items[*].card",
            "$[0]",
            "$.a[0][*].b",
            "$['a b'][0]",
            "$[\"a.b\"]",
            "$.*",
            "$..pin",
            "$.a..pin",
        ] {
            assert!(is_json_path(path), "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_json_path() {
        for path in [
            "",
            "$",
            "a.b",
            "$.",
            "$..",
            "$.a...b",
            "$.a[",
            "$.a[x]",
            "$.a[]",
            "$a",
            "$['a",
            "$['a'",
            "$[99999999999999999999]",
            "$[?(@.a)]",
            "$[1:2]",
        ] {
            assert!(!is_json_path(path), "{path}");
        }
    }
}
