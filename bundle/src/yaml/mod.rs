//! YAML 1.2 text to a tree that knows the line of every node.
//!
//! Only what a configuration needs is read: one document, text keys, no
//! anchors, aliases or tags (nothing expands), no duplicate keys, a bounded
//! depth. Messages never quote the text.

mod node;
mod scalar;

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::problem::{DocPath, PathStep, Problem};

pub(crate) use node::Node;
use node::{Content, Entry};

/// Mappings and lists within each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// A tree, and what is wrong with the text.
pub(crate) struct Parsed {
    pub(crate) root: Node,
    pub(crate) problems: Vec<Problem>,
    /// Whether the tree is the whole document, so that its content can be judged.
    pub(crate) complete: bool,
}

pub(crate) fn parse(text: &str) -> Parsed {
    let last = last_line(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let done = match event {
            Ok((event, span)) => builder.take(event, span.start.line().min(last)),
            Err(error) => {
                let message = format!("is not valid YAML: {}", error.info());
                builder.stop(error.marker().line().min(last), &message, "")
            }
        };
        if done {
            break;
        }
    }
    builder.finish()
}

/// The parser places what is missing at the end after it, on a line that may
/// not exist.
fn last_line(text: &str) -> usize {
    let ended = text.strip_suffix("\r\n");
    let ended = ended.or_else(|| text.strip_suffix(['\r', '\n']));
    let text = ended.unwrap_or(text);
    let breaks = text.matches(['\r', '\n']).count();
    1 + breaks - text.matches("\r\n").count()
}

/// A mapping or list that is not finished.
enum Frame {
    List {
        line: usize,
        items: Vec<Node>,
    },
    Map {
        line: usize,
        entries: Vec<Entry>,
        keys: HashSet<String>,
        pending: Option<Pending>,
    },
}

/// A key that waits for its value.
struct Pending {
    key: String,
    line: usize,
    duplicate: bool,
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
    incomplete: bool,
}

impl Builder {
    /// Says whether reading is over.
    fn take(&mut self, event: Event<'_>, line: usize) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => false,
            Event::DocumentStart(_) => {
                self.documents += 1;
                self.documents > 1
                    && self.stop(
                        line,
                        "a second YAML document begins here",
                        "one file holds one document",
                    )
            }
            Event::Alias(_) => self.stop(
                line,
                "YAML aliases are not supported",
                "write the value where it is used",
            ),
            Event::Scalar(text, style, anchor, tag) => {
                self.decoration(line, anchor, tag.as_deref()) || self.scalar(&text, style, line)
            }
            Event::SequenceStart(anchor, tag) => {
                let frame = Frame::List {
                    line,
                    items: Vec::new(),
                };
                self.decoration(line, anchor, tag.as_deref()) || self.open(frame, line)
            }
            Event::MappingStart(anchor, tag) => {
                let frame = Frame::Map {
                    line,
                    entries: Vec::new(),
                    keys: HashSet::new(),
                    pending: None,
                };
                self.decoration(line, anchor, tag.as_deref()) || self.open(frame, line)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(node) = self.stack.pop().map(Frame::finish) {
                    self.place(node);
                }
                false
            }
        }
    }

    fn decoration(&mut self, line: usize, anchor: usize, tag: Option<&Tag>) -> bool {
        if anchor != 0 {
            return self.stop(
                line,
                "YAML anchors are not supported",
                "write the value where it is used",
            );
        }
        tag.is_some()
            && self.stop(
                line,
                "YAML tags are not supported",
                "leave the tag out; quotes make text of a number",
            )
    }

    fn open(&mut self, frame: Frame, line: usize) -> bool {
        if self.awaits_key() {
            return self.stop(line, "a key must be text", "");
        }
        if self.stack.len() >= MAX_DEPTH {
            return self.stop(line, "is nested too deeply", "at most 64 levels");
        }
        self.stack.push(frame);
        false
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: usize) -> bool {
        if self.awaits_key() {
            self.key(text, line);
            return false;
        }
        match scalar::resolve(text, style) {
            Ok(value) => {
                let number = value.as_number();
                let respelled = number.is_some_and(|number| number.to_string() != text);
                let content = match respelled {
                    true => Content::Respelled(value),
                    false => Content::Scalar(value),
                };
                self.place(Node { line, content });
                false
            }
            Err(message) => self.stop(line, message, "put it in quotes to make it text"),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { pending: None, .. }))
    }

    fn key(&mut self, text: &str, line: usize) {
        let Some(Frame::Map { keys, pending, .. }) = self.stack.last_mut() else {
            return;
        };
        let duplicate = !keys.insert(text.to_owned());
        *pending = Some(Pending {
            key: text.to_owned(),
            line,
            duplicate,
        });
        if duplicate {
            self.problem(line, "is written twice", "keep one of them");
        }
    }

    fn place(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map {
                entries, pending, ..
            }) => {
                if let Some(pending) = pending.take().filter(|pending| !pending.duplicate) {
                    entries.push(Entry {
                        key: pending.key,
                        line: pending.line,
                        value: node,
                    });
                }
            }
        }
    }

    fn stop(&mut self, line: usize, message: &str, remedy: &str) -> bool {
        self.incomplete = true;
        self.problem(line, message, remedy);
        true
    }

    fn problem(&mut self, line: usize, message: &str, remedy: &str) {
        self.problems.push(Problem {
            path: self.path(),
            line: Some(line),
            message: message.to_owned(),
            remedy: Some(remedy.to_owned()).filter(|text| !text.is_empty()),
            other: None,
            follows_from: None,
        });
    }

    fn path(&self) -> DocPath {
        let steps = self.stack.iter().filter_map(|frame| match frame {
            Frame::List { items, .. } => Some(PathStep::Index(items.len())),
            Frame::Map { pending, .. } => {
                let pending = pending.as_ref()?;
                Some(PathStep::Key(pending.key.clone()))
            }
        });
        DocPath(steps.collect())
    }

    fn finish(self) -> Parsed {
        let empty = Node {
            line: 1,
            content: Content::Map(Vec::new()),
        };
        Parsed {
            root: self.root.unwrap_or(empty),
            problems: self.problems,
            complete: !self.incomplete,
        }
    }
}

impl Frame {
    fn finish(self) -> Node {
        match self {
            Self::List { line, items } => Node {
                line,
                content: Content::List(items),
            },
            Self::Map { line, entries, .. } => Node {
                line,
                content: Content::Map(entries),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(text: &str) -> Value {
        let parsed = parse(text);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        parsed.root.to_json()
    }

    fn problem(text: &str) -> (usize, String) {
        let parsed = parse(text);
        let problem = parsed.problems.first().expect("a problem");
        (problem.line.expect("a line"), problem.message.clone())
    }

    #[test]
    fn reads_mappings_lists_and_scalars() {
        assert_eq!(
            value("a: 1\nb: [x, 'y', true]\nc:\n  - d: ~\n"),
            json!({"a": 1, "b": ["x", "y", true], "c": [{"d": null}]})
        );
    }

    #[test]
    fn an_empty_file_is_an_empty_document() {
        assert_eq!(value(""), json!({}));
        assert_eq!(value("# only a comment\n"), json!({}));
    }

    #[test]
    fn finds_the_line_of_a_place_and_of_what_surrounds_it() {
        let root = parse("a: 1\nroutes:\n  - slug: x\n    open: true\n").root;
        let routes = DocPath::default().then(PathStep::Key("routes".into()));
        let first = routes.clone().then(PathStep::Index(0));
        assert_eq!(root.line_of(&routes), 2);
        assert_eq!(root.line_of(&first), 3);
        assert_eq!(
            root.line_of(&first.clone().then(PathStep::Key("open".into()))),
            4
        );
        assert_eq!(
            root.line_of(&first.then(PathStep::Key("missing".into()))),
            3
        );
    }

    #[test]
    fn a_duplicate_key_is_refused_and_the_first_is_kept() {
        let parsed = parse("a: 1\nb: 2\na: 3\n");
        assert!(parsed.complete);
        assert_eq!(parsed.root.to_json(), json!({"a": 1, "b": 2}));
        assert_eq!(
            problem("a: 1\nb: 2\na: 3\n"),
            (3, "is written twice".into())
        );
    }

    #[test]
    fn refuses_anchors_aliases_and_tags() {
        assert_eq!(problem("a: &x 1\n").1, "YAML anchors are not supported");
        assert_eq!(
            problem("a: [1]\nb: !!str 2\n"),
            (2, "YAML tags are not supported".into())
        );
        assert!(!parse("a: &x 1\nb: *x\n").complete);
    }

    #[test]
    fn refuses_a_second_document_and_a_key_that_is_not_text() {
        assert_eq!(
            problem("a: 1\n---\nb: 2\n").1,
            "a second YAML document begins here"
        );
        assert_eq!(problem("? [a]\n: 1\n").1, "a key must be text");
    }

    #[test]
    fn refuses_what_is_nested_too_deeply() {
        let nested = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert_eq!(problem(&nested).1, "is nested too deeply");
        assert!(!parse(&"[".repeat(100_000)).complete);
        assert!(parse(nested.get(1..2 * MAX_DEPTH + 1).unwrap()).complete);
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        assert_eq!(problem("a: 1\nb: ]\nc: 2\n").0, 2);
    }

    #[test]
    fn a_syntax_error_at_the_end_is_on_the_last_line() {
        for (text, line) in [
            ("a: 1\nb: [1, 2", 2),
            ("a: 1\nb: [1, 2\n", 2),
            ("a: 1\r\nb: [1, 2\r\n", 2),
            ("a: 1\nb: [1, 2\n\n", 3),
            ("[", 1),
            ("a: 1\nb: \"", 2),
        ] {
            assert_eq!(problem(text).0, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let parsed = parse(&text);
            prop_assert!(parsed.complete || !parsed.problems.is_empty());
        }

        #[test]
        fn never_panics_on_what_looks_like_yaml(text in "[-a:\\[\\]{}&*!|>'\"#, \n~0-9.]{0,80}") {
            let parsed = parse(&text);
            prop_assert!(parsed.complete || !parsed.problems.is_empty());
            let lines = text.split(['\r', '\n']).count();
            prop_assert!(parsed.problems.iter().all(|problem| problem.line <= Some(lines)));
        }
    }
}
