//! What is done to the answers of an upstream, before the client gets them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::json_path::JsonPath;

/// Of a route in one environment. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseSettings {
    pub headers: ResponseHeaders,
    /// In the document's order: of two that meet at one value the first counts.
    pub body: Vec<BodyRule>,
    pub not_json: NotJson,
    pub decoding: ResponseDecoding,
}

/// Applied in the order of the fields. What is renamed is neither removed nor
/// renamed again, and no new name stands twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseHeaders {
    pub remove: Vec<HeaderName>,
    /// From, to.
    pub rename: Vec<(HeaderName, HeaderName)>,
    pub set: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BodyRule {
    pub path: JsonPath,
    pub edit: BodyEdit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BodyEdit {
    Remove,
    /// By this JSON text.
    Replace(Arc<str>),
    /// Shows the last characters of a text, where at least as many stay hidden.
    Mask {
        keep_last: u8,
    },
}

/// What becomes of an answer that body rules cannot be applied to, because it
/// does not say that it is JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NotJson {
    #[default]
    Refuse,
    Pass,
}

/// How the bodies of answers are got at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseDecoding {
    /// The upstream is asked for them uncoded.
    #[default]
    Identity,
    /// gzip, br and zstd are asked for, and decoded.
    Decode,
}
