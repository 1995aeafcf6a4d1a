//! A header value is one line (RFC 9110, 5.5). One with a line break or another
//! control character would fail every request, so it is refused where it can
//! be known: in the text of a template, and in the values that it names.

use crate::ids::EnvironmentName;
use crate::problem::{At, Noun, Problems};
use crate::template::{SecretRef, Segment, Template};

use super::context::{DeclaredSecret, Names};

/// `text` is what `template` was parsed from.
pub(super) fn check(
    text: &str,
    template: &Template,
    environment: &EnvironmentName,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let broken = match template {
        Template::Segments(segments) => {
            check_values(segments, environment, names, at, problems);
            segments.iter().any(is_broken)
        }
        // A value may be read in another branch, or through a filter: only
        // the text around the tags is certain.
        Template::Liquid(_) => literals(text).any(breaks),
    };
    if broken {
        let remedy = "write the value on one line, in quotes";
        problems.add(at, "has a line break or control character", remedy);
    }
}

fn is_broken(segment: &Segment) -> bool {
    match segment {
        Segment::Text(text) => breaks(text),
        Segment::Secret(_) | Segment::Variable(_) | Segment::Builtin(_) => false,
    }
}

fn breaks(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_control() && c != '\t')
}

fn check_values(
    segments: &[Segment],
    environment: &EnvironmentName,
    names: &Names<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    for segment in segments {
        let (noun, name, broken) = match segment {
            Segment::Secret(SecretRef::Name(name)) => {
                let secret = names.secret(name.as_str());
                (
                    Noun::Secret,
                    name.to_string(),
                    has_broken(secret, environment),
                )
            }
            Segment::Secret(SecretRef::Id(id)) => {
                let secret = names.secret_by_id(*id);
                (
                    Noun::Secret,
                    id.to_string(),
                    has_broken(secret, environment),
                )
            }
            Segment::Variable(key) => {
                let variable = names.variable(key.as_str());
                let value = variable.and_then(|variable| variable.values.get(environment));
                let broken = value.is_some_and(|value| breaks(value));
                (Noun::Variable, key.to_string(), broken)
            }
            Segment::Builtin(_) | Segment::Text(_) => continue,
        };
        if broken {
            let message = format!(
                "the {} `{name}` has a line break or control character in `{environment}`",
                noun.word()
            );
            problems.add_about(
                noun,
                at,
                message,
                "no header can carry it: store it without",
            );
        }
    }
}

fn has_broken(secret: Option<&DeclaredSecret>, environment: &EnvironmentName) -> bool {
    let value = secret.and_then(|secret| secret.values.get(environment));
    value.is_some_and(|value| breaks(value.expose()))
}

/// The text between the tags of a Liquid template, without what `-` strips.
/// What is captured is left out: it is not sent as it stands.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    let mut found = Vec::new();
    let (mut rest, mut strips, mut captured) = (text, false, false);
    loop {
        let start = rest.find("{{").into_iter().chain(rest.find("{%")).min();
        let (literal, marked) = rest.split_at(start.unwrap_or(rest.len()));
        let (inner, after) = tag(marked);
        let literal = if strips {
            literal.trim_start()
        } else {
            literal
        };
        if !captured {
            let before_strips = inner.starts_with('-');
            found.push(if before_strips {
                literal.trim_end()
            } else {
                literal
            });
        }
        if start.is_none() {
            return found.into_iter();
        }
        match inner.trim_matches('-').split_whitespace().next() {
            Some("capture") => captured = true,
            Some("endcapture") => captured = false,
            Some(_) | None => {}
        }
        strips = inner.ends_with('-');
        rest = after;
    }
}

/// The inside of the tag that a text begins with, and what follows it.
fn tag(marked: &str) -> (&str, &str) {
    let close = if marked.starts_with("{{") { "}}" } else { "%}" };
    let inner = marked.get(2..).unwrap_or_default();
    inner.split_once(close).unwrap_or((inner, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_text_between_tags() {
        let found = |text| literals(text).collect::<Vec<_>>().join("|");
        assert_eq!(found("a{% if b %}c{% endif %}d\n"), "a|c|d\n");
        assert_eq!(found("\n{%- if b -%}\n c \n{%- endif -%}\n"), "|c|");
        assert_eq!(
            found("{% capture x %}\n{{ y }}\n{% endcapture %}{{ x | strip }}"),
            "||"
        );
        assert_eq!(found("a{{ b"), "a|");
    }
}
