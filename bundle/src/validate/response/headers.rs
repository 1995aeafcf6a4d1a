//! Which headers of an answer may be removed, renamed or set: not what frames
//! the message or belongs to one connection (RFC 9110, 7.6.1), nor what the
//! gateway itself says. Rules that would undo one another are refused, so that
//! applying them twice is applying them once.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::document::ResponseHeadersDocument;
use crate::model::ResponseHeaders;
use crate::problem::{At, Problems};

use super::super::header;

/// `Content-Encoding` too: bodies are told apart by it.
const FRAMING: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const OUR_PREFIXES: [&str; 3] = ["x-request-id", "x-knox", "x-ratelimit-"];

pub(super) fn headers(
    document: &ResponseHeadersDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> ResponseHeaders {
    let remove_at = at.key("remove");
    let remove = document.remove.iter().enumerate();
    let remove: Vec<_> = remove
        .filter_map(|(index, text)| changeable(text, &remove_at.index(index), problems))
        .collect();
    let set = sets(&document.set, &at.key("set"), problems);
    let rename = Renames {
        pairs: pairs(&document.rename, &at.key("rename"), problems),
        remove: &remove,
        set: &set,
    };
    let rename = rename.checked(&at.key("rename"), problems);
    ResponseHeaders {
        remove,
        rename,
        set,
    }
}

fn changeable(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderName> {
    let name = header::name(text, at, problems)?;
    let read = header::as_read(&name);
    if FRAMING.contains(&read.as_str()) {
        let remedy = "it frames the message or belongs to one connection";
        problems.add(at, "cannot be changed", remedy);
        return None;
    }
    if OUR_PREFIXES.iter().any(|ours| read.starts_with(ours)) {
        let remedy = "the gateway says it itself";
        problems.add(at, "cannot be changed", remedy);
        return None;
    }
    Some(name)
}

fn sets(
    given: &BTreeMap<String, String>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut set: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(given.len());
    for (text, value) in given {
        let at = at.key(text);
        let name = changeable(text, &at, problems);
        let value = plain(value, &at, problems);
        let (Some(name), Some(value)) = (name, value) else {
            continue;
        };
        if set.iter().any(|(other, _)| *other == name) {
            let remedy = "names are compared without case";
            problems.add(&at, "is set twice", remedy);
        }
        set.push((name, value));
    }
    set
}

fn plain(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderValue> {
    if text.contains("{{") || text.contains("{%") {
        let remedy = "write plain text: a client would see what is filled in";
        problems.add(at, "is a template", remedy);
        return None;
    }
    let value = HeaderValue::from_bytes(text.as_bytes()).ok();
    if value.is_none() {
        let remedy = "write the value on one line, in quotes";
        problems.add(at, "has a line break or control character", remedy);
    }
    value
}

struct Pair<'d> {
    text: &'d str,
    from: HeaderName,
    to: HeaderName,
}

fn pairs<'d>(
    given: &'d BTreeMap<String, String>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<Pair<'d>> {
    let pairs = given.iter().filter_map(|(text, to)| {
        let at = at.key(text);
        let from = changeable(text, &at, problems);
        let to = changeable(to, &at, problems);
        Some(Pair {
            text,
            from: from?,
            to: to?,
        })
    });
    pairs.collect()
}

struct Renames<'d> {
    pairs: Vec<Pair<'d>>,
    remove: &'d [HeaderName],
    set: &'d [(HeaderName, HeaderValue)],
}

impl Renames<'_> {
    fn checked(self, at: &At<'_>, problems: &mut Problems) -> Vec<(HeaderName, HeaderName)> {
        for (index, pair) in self.pairs.iter().enumerate() {
            if let Some((message, remedy)) = self.fault(index, pair) {
                problems.add(&at.key(pair.text), message, remedy);
            }
        }
        let pairs = self.pairs.into_iter();
        pairs.map(|pair| (pair.from, pair.to)).collect()
    }

    fn fault(&self, index: usize, pair: &Pair<'_>) -> Option<(&'static str, &'static str)> {
        let before = || self.pairs.iter().take(index);
        if pair.from == pair.to {
            return Some(("is renamed to itself", "leave it out"));
        }
        if self.remove.contains(&pair.from) {
            return Some(("is removed before it is renamed", "keep one of the two"));
        }
        if self.remove.contains(&pair.to) {
            let remedy = "the renamed values take the place of the upstream's own";
            return Some(("takes a name that is removed", remedy));
        }
        if before().any(|other| other.from == pair.from) {
            return Some(("is renamed twice", "names are compared without case"));
        }
        if before().any(|other| other.to == pair.to) {
            return Some((
                "takes the name that another one takes",
                "keep one of the two",
            ));
        }
        if self.pairs.iter().any(|other| other.from == pair.to) {
            let remedy = "what is renamed is not renamed again";
            return Some(("takes a name that is renamed itself", remedy));
        }
        if self.set.iter().any(|(name, _)| *name == pair.to) {
            return Some(("takes a name that is set as well", "keep one of the two"));
        }
        if self.set.iter().any(|(name, _)| *name == pair.from) {
            let remedy = "set it under another name";
            return Some(("is set again under its old name", remedy));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(
        remove: &[&str],
        rename: &[(&str, &str)],
        set: &[(&str, &str)],
    ) -> ResponseHeadersDocument {
        let text = |text: &str| text.to_owned();
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs.map(|(one, other)| (text(one), text(other))).collect()
        };
        ResponseHeadersDocument {
            remove: remove.iter().map(|name| text(name)).collect(),
            rename: map(rename),
            set: map(set),
        }
    }

    fn told(document: &ResponseHeadersDocument) -> Vec<String> {
        let mut problems = Problems::default();
        headers(document, &At::ROOT, &mut problems);
        let problems = problems.into_vec().into_iter();
        problems
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect()
    }

    #[test]
    fn takes_names_and_plain_values() {
        let document = document(
            &["Server", "x-powered-by"],
            &[("X-Old", "X-New")],
            &[("Cache-Control", "no-store"), ("X-Place", "Zürich, {x}")],
        );
        assert_eq!(told(&document), [""; 0]);
        let rules = headers(&document, &At::ROOT, &mut Problems::default());
        assert_eq!(rules.remove.len(), 2);
        assert_eq!(rules.rename.len(), 1);
        assert_eq!(rules.set.len(), 2);
    }

    #[test]
    fn refuses_framing_and_our_own_names_everywhere() {
        for name in [
            "Content-Length",
            "transfer_encoding",
            "CONNECTION",
            "Content-Encoding",
            "Trailer",
            "X-Request-Id",
            "x-knox-upstream-status",
            "X-Knoxcall-Key",
            "X-RateLimit-Limit",
        ] {
            let message = "cannot be changed";
            assert_eq!(
                told(&document(&[name], &[], &[])),
                [format!("remove[0]: {message}")]
            );
            assert_eq!(
                told(&document(&[], &[("x-a", name)], &[])),
                [format!("rename.x-a: {message}")]
            );
            assert_eq!(
                told(&document(&[], &[(name, "x-a")], &[])),
                [format!("rename.{name}: {message}")]
            );
            assert_eq!(
                told(&document(&[], &[], &[(name, "a")])),
                [format!("set.{name}: {message}")]
            );
        }
    }

    #[test]
    fn refuses_values_that_are_no_plain_line() {
        assert_eq!(
            told(&document(
                &[],
                &[],
                &[
                    ("x-a", "{{secret:token}}"),
                    ("x-b", "{% if x %}"),
                    ("x-c", "a\nb"),
                ]
            )),
            [
                "set.x-a: is a template",
                "set.x-b: is a template",
                "set.x-c: has a line break or control character",
            ]
        );
    }

    #[test]
    fn refuses_rules_that_undo_one_another() {
        let rename =
            |pairs: &[(&str, &str)]| told(&document(&["x-gone"], pairs, &[("x-set", "a")]));
        assert_eq!(
            rename(&[("x-a", "X-A")]),
            ["rename.x-a: is renamed to itself"]
        );
        assert_eq!(
            rename(&[("X-Gone", "x-b")]),
            ["rename.X-Gone: is removed before it is renamed"]
        );
        assert_eq!(
            rename(&[("x-a", "X-Gone")]),
            ["rename.x-a: takes a name that is removed"]
        );
        assert_eq!(
            rename(&[("X-A", "x-b"), ("x-a", "x-c")]),
            ["rename.x-a: is renamed twice"]
        );
        assert_eq!(
            rename(&[("x-a", "x-c"), ("x-b", "x-c")]),
            ["rename.x-b: takes the name that another one takes"]
        );
        assert_eq!(
            rename(&[("x-a", "x-b"), ("x-b", "x-c")]),
            ["rename.x-a: takes a name that is renamed itself"]
        );
        assert_eq!(
            rename(&[("x-a", "x-set")]),
            ["rename.x-a: takes a name that is set as well"]
        );
        assert_eq!(
            rename(&[("x-set", "x-a")]),
            ["rename.x-set: is set again under its old name"]
        );
    }

    #[test]
    fn refuses_one_name_that_is_set_twice() {
        assert_eq!(
            told(&document(&[], &[], &[("X-A", "1"), ("x-a", "2")])),
            ["set.x-a: is set twice"]
        );
    }
}
