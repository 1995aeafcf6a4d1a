//! `logging.obfuscate`: what is masked in request records, beside what always
//! is. A path or pattern that would fail when the masks are made is refused.

use regex::RegexBuilder;

use crate::document::ObfuscateDocument;
use crate::json_path::JsonPath;
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
        if JsonPath::parse(path).is_err() {
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
