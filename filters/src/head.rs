//! The head of a request as the filters see it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::refusal::{Malformation, Refusal};

#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    /// The request target as received: path and query, nothing decoded.
    pub target: &'a [u8],
    /// `Host`, or `:authority`; hygiene has made sure that they agree.
    pub host: &'a [u8],
    pub version: Version,
    pub headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// The one value of a header that a decision depends on. A second copy is
    /// refused: another hop might read the other one.
    pub fn single(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::Malformed(Malformation::DuplicateHeader)),
        }
    }

    pub fn path(&self) -> &'a [u8] {
        match memchr::memchr(b'?', self.target) {
            Some(at) => self.target.get(..at).unwrap_or(self.target),
            None => self.target,
        }
    }

    /// With its question mark; empty where there is none.
    pub fn query(&self) -> &'a [u8] {
        self.target.get(self.path().len()..).unwrap_or_default()
    }
}
