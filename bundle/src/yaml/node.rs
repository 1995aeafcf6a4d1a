//! A YAML document as a tree that knows the line of every node.

use serde_json::{Map, Value};

use crate::problem::{DocPath, PathStep};

#[derive(Clone)]
pub(crate) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    Scalar(Value),
    /// A number that JSON spells in another way.
    Respelled(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// The items of a list; nothing for anything else.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Node> {
        let items = match &self.content {
            Content::List(items) => items.as_slice(),
            Content::Scalar(_) | Content::Respelled(_) | Content::Map(_) => &[],
        };
        items.iter()
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            Content::Respelled(_) | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// Whether this is a number that JSON spells in another way.
    pub(crate) fn is_respelled(&self) -> bool {
        matches!(self.content, Content::Respelled(_))
    }

    /// What is directly below, in its order.
    pub(crate) fn children(&self) -> Vec<(PathStep, &Node)> {
        match &self.content {
            Content::Scalar(_) | Content::Respelled(_) => Vec::new(),
            Content::List(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, item)| (PathStep::Index(index), item))
                    .collect()
            }
            Content::Map(entries) => entries
                .iter()
                .map(|entry| (PathStep::Key(entry.key.clone()), &entry.value))
                .collect(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) | Content::Respelled(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::to_json).collect(),
            Content::Map(entries) => {
                let pairs = entries.iter();
                Value::Object(
                    pairs
                        .map(|entry| (entry.key.clone(), entry.value.to_json()))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }

    /// The line of a place, or of the nearest thing around it that exists.
    pub(crate) fn line_of(&self, path: &DocPath) -> usize {
        let mut node = self;
        let mut line = self.line;
        for step in &path.0 {
            let next = match (&node.content, step) {
                (Content::Map(entries), PathStep::Key(key)) => entries
                    .iter()
                    .find(|entry| entry.key == *key)
                    .map(|entry| (entry.line, &entry.value)),
                (Content::List(items), PathStep::Index(index)) => {
                    items.get(*index).map(|item| (item.line, item))
                }
                (
                    Content::Scalar(_) | Content::Respelled(_) | Content::List(_) | Content::Map(_),
                    _,
                ) => None,
            };
            match next {
                Some((at, below)) => (line, node) = (at, below),
                None => break,
            }
        }
        line
    }
}
