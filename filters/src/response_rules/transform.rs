//! A route's rules on JSON bodies. Each rule is looked up in the body as it
//! came, so that their order matters only where two meet at one value: the
//! first counts. What lies within a value that is removed, replaced or masked
//! goes with it. Everything else stays byte for byte (RFC 8259, section 6:
//! numbers are texts to us); a name that stands twice is found twice.

use std::sync::Arc;

use knoxcall_bundle::json_path::JsonPath;
use knoxcall_bundle::{BodyEdit, BodyRule};
use serde::de::IgnoredAny;

use super::TransformError;
use super::mask::mask;
use super::walk::Walk;

#[derive(Debug)]
pub(super) struct BodyRules(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    path: JsonPath,
    edit: Edit,
}

#[derive(Debug)]
pub(super) enum Edit {
    Remove,
    Replace(Arc<str>),
    Mask { keep_last: usize },
}

impl Edit {
    /// JSON text in the place of this one; `None`: nothing.
    pub(super) fn apply(&self, raw: &str) -> Option<Arc<str>> {
        match self {
            Self::Remove => None,
            Self::Replace(with) => Some(with.clone()),
            Self::Mask { keep_last } => Some(mask(raw, *keep_last).into()),
        }
    }
}

impl BodyRules {
    /// `None` without any rule.
    pub(super) fn compile(rules: &[BodyRule]) -> Option<Self> {
        let compiled = rules.iter().map(|rule| Rule {
            path: rule.path.clone(),
            edit: match &rule.edit {
                BodyEdit::Remove => Edit::Remove,
                BodyEdit::Replace(with) => Edit::Replace(with.clone()),
                BodyEdit::Mask { keep_last } => Edit::Mask {
                    keep_last: usize::from(*keep_last),
                },
            },
        });
        (!rules.is_empty()).then(|| Self(compiled.collect()))
    }

    /// `None` where no rule finds anything.
    pub(super) fn transform(
        &self,
        body: &[u8],
        limit: usize,
    ) -> Result<Option<Vec<u8>>, TransformError> {
        let text = std::str::from_utf8(body).map_err(|_| TransformError::Malformed)?;
        // Judged by a strict parser that keeps nothing and does not recurse;
        // the walk may then go by brackets and quotes.
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| TransformError::Malformed)?;
        Walk::new(text, self, limit).over_document()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn path(&self, index: usize) -> Option<&JsonPath> {
        self.0.get(index).map(|rule| &rule.path)
    }

    pub(super) fn edit(&self, index: usize) -> Option<&Edit> {
        self.0.get(index).map(|rule| &rule.edit)
    }
}
