//! Rewrites a template for the Liquid parser: every reference becomes a
//! generated variable (Liquid knows no `{{secret:NAME}}`, and would fail at
//! run time on a name that does not exist), and `{{if x}}` becomes `{% if x %}`.
//!
//! Loops and includes are refused: a template runs inside a request.

use super::liquid_bounds::GUARD;
use super::liquid_limits::{
    Blocks, Indexes, MAX_LOCALS, check_date_format, check_number, is_clock,
};
use super::{Segment, TemplateError, UNCLOSED_EXPRESSION, parse_placeholder, unknown_variable};
use crate::template::Builtin;

/// Every name a template of ours may not use itself.
const GENERATED: &str = "knoxcall_value_";

const KEYWORDS: [&str; 9] = [
    "and", "or", "contains", "true", "false", "nil", "null", "empty", "blank",
];

/// Tags that are also accepted in the form `{{if x}}`.
const CONDITIONALS: [&str; 6] = ["if", "elsif", "else", "endif", "unless", "endunless"];

const TAGS: [&str; 12] = [
    "if",
    "elsif",
    "else",
    "endif",
    "unless",
    "endunless",
    "case",
    "when",
    "endcase",
    "assign",
    "capture",
    "endcapture",
];

pub(super) struct Rewritten {
    pub(super) text: String,
    /// Every expression and tag as a template of its own. Liquid panics on
    /// some mistakes that follow other text; on these it cannot, and where all
    /// of them are valid, so is the syntax of the whole.
    pub(super) pieces: Vec<String>,
    pub(super) bindings: Vec<(String, Segment)>,
}

/// Whether plain placeholders are not enough.
pub(super) fn is_needed(text: &str) -> bool {
    text.contains("{%")
        || text.split("{{").skip(1).any(|after| {
            let inner = after.split("}}").next().unwrap_or(after);
            let first = first_word(inner.trim_start());
            inner.contains(['|', '\'', '"'])
                || inner.starts_with('-')
                || inner.ends_with('-')
                || CONDITIONALS.contains(&first)
        })
}

pub(super) fn rewrite(text: &str) -> Result<Rewritten, TemplateError> {
    let mut rewriter = Rewriter::default();
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (before, marked) = rest.split_at(at);
        rewriter.text.push_str(before);
        rest = match marked.strip_prefix("{{") {
            Some(inner) => rewriter.expression(inner)?,
            None => rewriter.tag(marked.get(2..).unwrap_or_default())?,
        };
    }
    rewriter.text.push_str(rest);
    Ok(Rewritten {
        text: rewriter.text,
        pieces: rewriter.pieces,
        bindings: rewriter.bindings,
    })
}

#[derive(Default)]
struct Rewriter {
    text: String,
    pieces: Vec<String>,
    bindings: Vec<(String, Segment)>,
    /// What `assign` and `capture` have made so far.
    locals: Vec<Local>,
    blocks: Blocks,
    /// Whether the value that is read may be `now` or `today`.
    clock: bool,
}

struct Local {
    name: String,
    clock: bool,
}

impl Rewriter {
    /// After `{{`; returns what follows `}}`.
    fn expression<'a>(&mut self, text: &'a str) -> Result<&'a str, TemplateError> {
        let end = end_of(text, "}}").ok_or(UNCLOSED_EXPRESSION)?;
        let (inner, rest) = text.split_at(end);
        let (open, inner, close) = trims(inner);
        if CONDITIONALS.contains(&first_word(inner.trim_start())) {
            self.conditional(inner)?;
        } else {
            let value = self.values(inner, Spaces::InNames)?;
            let piece = format!("{{{{{open} {value} {close}}}}}");
            self.text.push_str(&piece);
            self.pieces.push(piece);
        }
        Ok(rest.get(2..).unwrap_or_default())
    }

    fn conditional(&mut self, inner: &str) -> Result<(), TemplateError> {
        let inner = inner.trim();
        let word = first_word(inner);
        let condition = self.values(
            inner.get(word.len()..).unwrap_or_default(),
            Spaces::EndNames,
        )?;
        self.emit(word, &condition, ("", ""))
    }

    /// Any tag's inside has the form of any other's: as `else`, which does not
    /// look at it, it is a template without the end of its block.
    fn emit(
        &mut self,
        word: &str,
        inside: &str,
        (open, close): (&str, &str),
    ) -> Result<(), TemplateError> {
        self.blocks.take(word)?;
        self.text
            .push_str(&format!("{{%{open} {word} {inside} {close}%}}"));
        self.pieces
            .push(format!("{{% if 1 %}}{{% else {inside} %}}{{% endif %}}"));
        Ok(())
    }

    /// After `{%`; returns what follows the tag, or the block that is opaque.
    fn tag<'a>(&mut self, text: &'a str) -> Result<&'a str, TemplateError> {
        let end = end_of(text, "%}").ok_or(TemplateError::Unclosed {
            open: "{%",
            close: "%}",
        })?;
        let (inner, rest) = text.split_at(end);
        let rest = rest.get(2..).unwrap_or_default();
        let (open, inner, close) = trims(inner);
        let inner = inner.trim();
        let word = first_word(inner);
        match word {
            "raw" => return self.raw(rest),
            "comment" => return after_block(rest, "endcomment").map(|(_, rest)| rest),
            _ if !TAGS.contains(&word) => {
                return Err(TemplateError::UnavailableTag(
                    word.chars().take(32).collect(),
                ));
            }
            _ => {}
        }
        let arguments = self.arguments(word, inner.get(word.len()..).unwrap_or_default())?;
        self.emit(word, &arguments, (open, close))?;
        Ok(rest)
    }

    fn arguments(&mut self, word: &str, text: &str) -> Result<String, TemplateError> {
        if !matches!(word, "assign" | "capture") {
            return self.values(text, Spaces::EndNames);
        }
        let text = text.trim_start();
        let name = identifier(text);
        if name.is_empty() || name.contains('.') || name.starts_with(GENERATED) {
            return Err(TemplateError::Liquid);
        }
        let value = self.values(text.get(name.len()..).unwrap_or_default(), Spaces::EndNames)?;
        if self.locals.len() == MAX_LOCALS {
            return Err(TemplateError::TooManyLocals);
        }
        self.locals.push(Local {
            name: name.to_owned(),
            clock: self.clock,
        });
        Ok(match word {
            "assign" => format!("{name} {value} | {GUARD}"),
            _ => format!("{name} {value}"),
        })
    }

    /// Text that stays as it is. Liquid's own `raw` would do, but not for
    /// braces that do not match.
    fn raw<'a>(&mut self, text: &'a str) -> Result<&'a str, TemplateError> {
        let (inside, rest) = after_block(text, "endraw")?;
        let name = self.bind(Segment::Text(inside.into()));
        self.text.push_str(&format!("{{{{ {name} }}}}"));
        Ok(rest)
    }

    /// Puts generated variables in the place of references; everything else
    /// stays.
    fn values(&mut self, text: &str, spaces: Spaces) -> Result<String, TemplateError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut after_pipe = false;
        let mut indexes = Indexes::default();
        self.clock = false;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\'' | '"' => quoted(rest),
                _ if is_name_start(first) => {
                    let word = identifier(rest);
                    let (length, replacement) = match after_pipe {
                        true => (word.len(), self.filter(word, rest)?),
                        false => self.word(word, rest, spaces)?,
                    };
                    out.push_str(&replacement);
                    rest = rest.get(length..).unwrap_or_default();
                    after_pipe = false;
                    continue;
                }
                _ if first.is_ascii_digit() => number(rest),
                _ => first.len_utf8(),
            };
            indexes.take(first)?;
            after_pipe = first == '|' || (after_pipe && first.is_whitespace());
            let (taken, left) = rest.split_at_checked(length).ok_or(TemplateError::Liquid)?;
            match first {
                '\'' | '"' => self.clock |= is_clock(taken),
                _ if first.is_ascii_digit() => check_number(taken, out.ends_with('-'))?,
                _ => {}
            }
            out.push_str(taken);
            rest = left;
        }
        Ok(out)
    }

    /// A filter's name, after the guard of what it reads. `date` reads a number
    /// of seconds only from a text.
    fn filter(&self, name: &str, text: &str) -> Result<String, TemplateError> {
        if name != "date" {
            return Ok(format!("{GUARD} | {name}"));
        }
        if self.clock {
            return Err(TemplateError::Clock);
        }
        check_date_format(text.get(name.len()..).unwrap_or_default())?;
        Ok(format!("{GUARD} | append: '' | {name}"))
    }

    /// A word that is no filter: how much of the text it takes, and what
    /// stands there instead.
    fn word(
        &mut self,
        word: &str,
        text: &str,
        spaces: Spaces,
    ) -> Result<(usize, String), TemplateError> {
        let after = text.get(word.len()..).unwrap_or_default();
        if matches!(word, "secret" | "secret_id" | "var") && after.trim_start().starts_with(':') {
            let length = placeholder(text, spaces);
            let inner = text.get(..length).unwrap_or_default();
            let segment = parse_placeholder(inner).ok_or(TemplateError::Empty)??;
            return Ok((length, self.bind(segment)));
        }
        let root = word.split('.').next().unwrap_or(word);
        if let Some(local) = self.locals.iter().rev().find(|local| local.name == root) {
            self.clock |= local.clock;
            return Ok((word.len(), word.to_owned()));
        }
        if KEYWORDS.contains(&word) {
            return Ok((word.len(), word.to_owned()));
        }
        let builtin = Builtin::parse(word).ok_or_else(|| unknown_variable(word))?;
        Ok((word.len(), self.bind(Segment::Builtin(builtin))))
    }

    fn bind(&mut self, segment: Segment) -> String {
        if let Some((name, _)) = self.bindings.iter().find(|(_, bound)| *bound == segment) {
            return name.clone();
        }
        let name = format!("{GENERATED}{}", self.bindings.len());
        self.bindings.push((name.clone(), segment));
        name
    }
}

/// Whether a space belongs to a secret's name: alone in `{{ }}` it does, in a
/// condition it ends it.
#[derive(Clone, Copy)]
enum Spaces {
    InNames,
    EndNames,
}

/// The length of `secret:NAME` at the beginning of a text.
fn placeholder(text: &str, spaces: Spaces) -> usize {
    let colon = text.find(':').map_or(text.len(), |at| at + 1);
    let name = text.get(colon..).unwrap_or_default();
    let leading = name.len() - name.trim_start().len();
    let ends = |c: char| match spaces {
        Spaces::InNames => c == '|',
        Spaces::EndNames => c.is_whitespace() || matches!(c, '|' | '=' | '!' | '<' | '>' | ','),
    };
    let name = name.trim_start();
    let length = name.find(ends).unwrap_or(name.len());
    let trimmed = name.get(..length).unwrap_or(name).trim_end().len();
    colon + leading + trimmed
}

/// Where a tag or expression ends; what is in quotes does not count.
fn end_of(text: &str, close: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let first = rest.chars().next()?;
        if rest.starts_with(close) {
            return Some(at);
        }
        at += match first {
            '\'' | '"' => quoted(rest),
            _ => first.len_utf8(),
        };
    }
    None
}

/// The length of a quoted text; an unclosed quote is a character.
pub(super) fn quoted(text: &str) -> usize {
    let quote = text.chars().next().map_or(0, char::len_utf8);
    let (mark, inside) = text.split_at(quote);
    inside.find(mark).map_or(quote, |end| end + 2 * quote)
}

fn number(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len())
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// `client.name`: letters, digits, `_`, `-` and dots.
fn identifier(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))
        .unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

fn first_word(text: &str) -> &str {
    let text = text.strip_prefix('-').unwrap_or(text).trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// The marks of whitespace control around a tag's inside.
fn trims(inner: &str) -> (&'static str, &str, &'static str) {
    let (open, inner) = match inner.strip_prefix('-') {
        Some(inner) => ("-", inner),
        None => ("", inner),
    };
    match inner.strip_suffix('-') {
        Some(inner) => (open, inner, "-"),
        None => (open, inner, ""),
    }
}

/// Splits at the end tag of a block whose inside is not parsed.
fn after_block<'a>(text: &'a str, end: &'static str) -> Result<(&'a str, &'a str), TemplateError> {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("{%")) {
        let start = from + at;
        let tag = text.get(start + 2..).unwrap_or_default();
        let Some((inner, rest)) = tag.split_once("%}") else {
            break;
        };
        if trims(inner).1.trim() == end {
            return Ok((text.get(..start).unwrap_or_default(), rest));
        }
        from = start + 2;
    }
    Err(TemplateError::Liquid)
}
