//! A document from which unsound parts are cut. List items are only marked
//! first, so that paths stay true, and taken out at the end.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::problem::{Cause, DocPath, Noun, PathStep, Problem};

pub(crate) struct Pruned {
    value: Value,
    /// List items that are to be taken out; `null` stands in their place.
    marked: HashSet<DocPath>,
    /// Places that were told to be wrong in their shape.
    misfits: Vec<DocPath>,
}

/// A document that fits its schema.
pub(crate) struct Sound {
    pub(crate) value: Value,
    pub(crate) places: Places,
}

/// Where things were before the cut.
pub(crate) struct Places {
    /// By list: the original index of each item that is left.
    kept: HashMap<DocPath, Vec<usize>>,
    misfits: Vec<DocPath>,
}

impl Pruned {
    pub(super) fn new(value: Value) -> Self {
        Self {
            value,
            marked: HashSet::new(),
            misfits: Vec::new(),
        }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn is_cut(&self, path: &DocPath) -> bool {
        self.marked.contains(path)
    }

    /// Says whether anything changed.
    pub(super) fn cut(&mut self, paths: &[DocPath]) -> bool {
        let mut changed = false;
        for path in paths {
            changed |= self.cut_one(path);
        }
        changed
    }

    fn cut_one(&mut self, path: &DocPath) -> bool {
        let Some((last, parents)) = path.0.split_last() else {
            // The document itself is no mapping.
            let unfit = !self.value.is_object();
            self.value = Value::Object(serde_json::Map::new());
            return unfit;
        };
        let mut here = &mut self.value;
        for step in parents {
            let next = match step {
                PathStep::Key(key) => here.get_mut(key.as_str()),
                PathStep::Index(index) => here.get_mut(*index),
            };
            match next {
                Some(next) => here = next,
                None => return false,
            }
        }
        match (here, last) {
            (Value::Object(fields), PathStep::Key(key)) => fields.shift_remove(key).is_some(),
            (Value::Array(items), PathStep::Index(index)) => match items.get_mut(*index) {
                Some(item) => {
                    *item = Value::Null;
                    self.marked.insert(path.clone())
                }
                None => false,
            },
            _ => false,
        }
    }

    pub(super) fn forget<'a>(&mut self, problems: impl Iterator<Item = &'a Problem>) {
        self.misfits = problems.map(|problem| problem.path.clone()).collect();
    }

    pub(crate) fn finish(mut self) -> Sound {
        let mut kept = HashMap::new();
        if !self.marked.is_empty() {
            take_out(
                &mut self.value,
                &DocPath::default(),
                &self.marked,
                &mut kept,
            );
        }
        Sound {
            value: self.value,
            places: Places {
                kept,
                misfits: self.misfits,
            },
        }
    }
}

fn take_out(
    value: &mut Value,
    path: &DocPath,
    marked: &HashSet<DocPath>,
    kept: &mut HashMap<DocPath, Vec<usize>>,
) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                take_out(
                    field,
                    &path.clone().then(PathStep::Key(key.clone())),
                    marked,
                    kept,
                );
            }
        }
        Value::Array(items) => {
            let mut left = Vec::with_capacity(items.len());
            let mut indices = Vec::with_capacity(items.len());
            for (index, mut item) in std::mem::take(items).into_iter().enumerate() {
                let place = path.clone().then(PathStep::Index(index));
                if !marked.contains(&place) {
                    take_out(&mut item, &place, marked, kept);
                    left.push(item);
                    indices.push(index);
                }
            }
            *items = left;
            kept.insert(path.clone(), indices);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Places {
    /// The path in the document as written.
    pub(crate) fn original(&self, path: &DocPath) -> DocPath {
        let mut original = DocPath::default();
        for step in &path.0 {
            let step = match step {
                PathStep::Index(index) => {
                    let kept = self.kept.get(&original).and_then(|kept| kept.get(*index));
                    PathStep::Index(kept.copied().unwrap_or(*index))
                }
                PathStep::Key(_) => step.clone(),
            };
            original.0.push(step);
        }
        original
    }

    /// Whether a problem only follows from what is wrong in its shape.
    pub(crate) fn explains(&self, problem: &Problem) -> bool {
        let mut misfits = self.misfits.iter();
        misfits.any(|misfit| {
            problem.path.starts_with(misfit)
                || match problem.follows_from {
                    Some(Cause::Below) => misfit.starts_with(&problem.path),
                    Some(Cause::Section(noun)) => hides_names(misfit, noun),
                    None => false,
                }
        })
    }
}

/// Whether a misfit may be why a name, or a value under it, is not found.
fn hides_names(misfit: &DocPath, noun: Noun) -> bool {
    let in_section = misfit.section() == Some(noun.section());
    match noun {
        Noun::Secret | Noun::Variable | Noun::Client => in_section,
        Noun::Route | Noun::Environment => {
            let of_identity = match misfit.0.get(2) {
                None => true,
                Some(PathStep::Key(key)) => ["name", "slug", "id"].contains(&key.as_str()),
                Some(PathStep::Index(_)) => false,
            };
            in_section && of_identity
        }
    }
}
