//! What is wrong with a document, and where. Checks never stop at the first
//! mistake: they add to `Problems` and go on.

use std::collections::HashSet;
use std::fmt;

/// The way to a place in a document: `routes[3].inject_headers.Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DocPath(pub(crate) Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathStep {
    Key(String),
    Index(usize),
}

impl DocPath {
    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The top-level field that the path is in.
    pub(crate) fn section(&self) -> Option<&str> {
        match self.0.first() {
            Some(PathStep::Key(key)) => Some(key),
            Some(PathStep::Index(_)) | None => None,
        }
    }

    pub(crate) fn then(mut self, step: PathStep) -> Self {
        self.0.push(step);
        self
    }
}

impl fmt::Display for DocPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if position == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where a check is: a path that costs nothing until there is a problem.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At {
        parent: None,
        step: Step::Root,
    };

    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    pub(crate) fn path(&self) -> DocPath {
        let mut path = self.parent.map(At::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Key(key) => path.0.push(PathStep::Key(key.to_owned())),
            Step::Index(index) => path.0.push(PathStep::Index(index)),
        }
        path
    }
}

/// What a name in a document stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Secret,
    Variable,
    Client,
    Route,
    Environment,
}

impl Noun {
    /// The field in which such names are declared.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Variable => "variables",
            Self::Client => "clients",
            Self::Route => "routes",
            Self::Environment => "environments",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Variable => "variable",
            Self::Client => "client",
            Self::Route => "route",
            Self::Environment => "environment",
        }
    }
}

/// What a mistake may follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another section, in which a name or value is not found.
    Section(Noun),
    /// Something below its place, which seems to be missing.
    Below,
}

/// One mistake. Its texts never quote a value of `secrets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: DocPath,
    /// Where it is not the line of the path.
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
    /// The place that the message ends with.
    pub(crate) other: Option<DocPath>,
    /// What may be its only reason: it is not told where that is wrong in its
    /// shape.
    pub(crate) follows_from: Option<Cause>,
}

/// Every mistake once, in the order of discovery.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    seen: HashSet<(DocPath, String)>,
}

impl Problems {
    pub(crate) fn add(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.insert(at, message.into(), remedy.into(), None);
    }

    /// A mistake that may only follow from another section's.
    pub(crate) fn add_about(
        &mut self,
        about: Noun,
        at: &At<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let cause = Some(Cause::Section(about));
        self.insert(at, message.into(), remedy.into(), cause);
    }

    /// Something that is missing below a place.
    pub(crate) fn add_missing(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.insert(at, message.into(), remedy.into(), Some(Cause::Below));
    }

    /// A mistake that takes two; the message ends with the other's place.
    pub(crate) fn add_clash(
        &mut self,
        at: &At<'_>,
        message: &str,
        other: DocPath,
        remedy: impl Into<String>,
    ) {
        let before = self.list.len();
        self.insert(at, message.to_owned(), remedy.into(), None);
        if let Some(problem) = self.list.get_mut(before) {
            problem.other = Some(other);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.list
    }

    fn insert(
        &mut self,
        at: &At<'_>,
        message: String,
        remedy: String,
        follows_from: Option<Cause>,
    ) {
        let path = at.path();
        if self.seen.insert((path.clone(), message.clone())) {
            self.list.push(Problem {
                path,
                line: None,
                message,
                remedy: Some(remedy).filter(|text| !text.is_empty()),
                other: None,
                follows_from,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_document() {
        let routes = At::ROOT.key("routes");
        let third = routes.index(3);
        let headers = third.key("inject_headers");
        assert_eq!(
            headers.key("Authorization").path().to_string(),
            "routes[3].inject_headers.Authorization"
        );
    }

    #[test]
    fn the_same_mistake_is_told_once() {
        let mut problems = Problems::default();
        problems.add(&At::ROOT.key("routes"), "is wrong", "");
        problems.add(&At::ROOT.key("routes"), "is wrong", "");
        assert_eq!(problems.len(), 1);
    }
}
