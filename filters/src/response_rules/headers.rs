//! Headers of an answer: removed, then renamed, then set. Names that frame the
//! message or are the gateway's own are no part of a valid bundle.

use http::{HeaderMap, HeaderName, HeaderValue};
use knoxcall_bundle::ResponseHeaders;
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct HeaderRules {
    remove: Box<[HeaderName]>,
    rename: Box<[(HeaderName, HeaderName)]>,
    set: Box<[(HeaderName, HeaderValue)]>,
}

impl HeaderRules {
    pub(super) fn compile(headers: &ResponseHeaders) -> Self {
        Self {
            remove: headers.remove.as_slice().into(),
            rename: headers.rename.as_slice().into(),
            set: headers.set.as_slice().into(),
        }
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (from, to) in &self.rename {
            rename(headers, from, to);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

fn rename(headers: &mut HeaderMap, from: &HeaderName, to: &HeaderName) {
    let values = headers.get_all(from).iter().cloned();
    let values: SmallVec<[HeaderValue; 2]> = values.collect();
    if values.is_empty() {
        return;
    }
    headers.remove(from);
    headers.remove(to);
    for value in values {
        headers.append(to, value);
    }
}
