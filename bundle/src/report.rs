//! All mistakes of a file at once, each with its line and a remedy.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::problem::{DocPath, PathStep, Problem};
use crate::yaml::Node;

/// Why a configuration is refused. Its `Display` is what an operator reads.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
pub struct Report {
    pub file: String,
    pub problems: Vec<ReportedProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportedProblem {
    /// From 1; absent where the file could not be read at all.
    pub line: Option<usize>,
    /// Empty: the document as a whole.
    pub path: String,
    pub message: String,
    pub remedy: Option<String>,
}

impl Report {
    /// A report of one mistake that has no place in the document.
    /// Without a remedy where the message says it all.
    pub(crate) fn of_file(file: &str, message: String, remedy: &str) -> Self {
        Self {
            file: file.to_owned(),
            problems: vec![ReportedProblem {
                line: None,
                path: String::new(),
                message,
                remedy: (!remedy.is_empty()).then(|| remedy.to_owned()),
            }],
        }
    }

    pub(crate) fn new(file: &str, root: &Node, problems: Vec<Problem>) -> Self {
        let shown = Shown::of(root);
        let mut problems: Vec<_> = problems
            .into_iter()
            .map(|problem| ReportedProblem {
                line: Some(problem.line.unwrap_or_else(|| root.line_of(&problem.path))),
                path: shown.path(&problem.path).to_string(),
                message: match &problem.other {
                    Some(other) => format!("{} {}", problem.message, shown.path(other)),
                    None => problem.message,
                },
                remedy: problem.remedy,
            })
            .collect();
        problems.sort_by_key(|problem| problem.line);
        Self {
            file: file.to_owned(),
            problems,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            f.write_str(&self.file)?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            if !problem.path.is_empty() {
                write!(f, ": {}", problem.path)?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(remedy) = &problem.remedy {
                write!(f, " ({remedy})")?;
            }
            writeln!(f)?;
        }
        match self.problems.len() {
            1 => f.write_str("1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

/// Which keys below `secrets` may be told. A slip of the pen (`value:s3cret`)
/// makes a key of a value, so only keys that are known otherwise are.
struct Shown {
    environments: HashSet<String>,
}

const SECRET_FIELDS: [&str; 8] = [
    "name",
    "id",
    "optional",
    "description",
    "environments",
    "from_env",
    "from_file",
    "value",
];

impl Shown {
    fn of(root: &Node) -> Self {
        let declared = root.get("environments").into_iter().flat_map(Node::items);
        Self {
            environments: declared
                .filter_map(|environment| environment.get("name")?.text())
                .chain(["production"])
                .map(str::to_owned)
                .collect(),
        }
    }

    fn path(&self, path: &DocPath) -> DocPath {
        if path.section() != Some("secrets") {
            return path.clone();
        }
        let steps = path
            .0
            .iter()
            .enumerate()
            .map(|(position, step)| match step {
                PathStep::Key(key) if position > 0 && !self.may_tell(key) => {
                    PathStep::Key("?".to_owned())
                }
                PathStep::Key(_) | PathStep::Index(_) => step.clone(),
            });
        DocPath(steps.collect())
    }

    fn may_tell(&self, key: &str) -> bool {
        SECRET_FIELDS.contains(&key) || self.environments.contains(key)
    }
}
