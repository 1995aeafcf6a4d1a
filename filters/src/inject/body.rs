//! The body that is sent in place of the client's: its placeholders filled
//! first, then the route's JSON merged into it. What was put in is not read
//! again.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::values::RequestValues;
use super::{BodyTemplate, Injector};
use crate::head::Head;
use crate::refusal::Refusal;

#[derive(Clone, Debug)]
pub struct NewBody {
    pub content: Bytes,
    /// The names of the secrets in it.
    pub secrets: Vec<Arc<str>>,
}

/// By what rules a value is written into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyType {
    /// No `Content-Type`.
    Unnamed,
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    Xml,
    Other,
    /// Compressed, or JSON in another charset: not to be looked into.
    Encoded,
}

impl BodyType {
    pub(crate) fn of(head: &Head<'_>) -> Result<Self, Refusal> {
        if let Some(encoding) = head.single(&CONTENT_ENCODING)?
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Ok(Self::Encoded);
        }
        Ok(match head.single(&CONTENT_TYPE)? {
            Some(value) => Self::named(value.as_bytes()),
            None => Self::Unnamed,
        })
    }

    /// RFC 9110, section 8.3.1, and the suffixes of RFC 6839.
    pub(crate) fn named(value: &[u8]) -> Self {
        let mut parts = value.split(|byte| *byte == b';');
        let essence = parts.next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        match Self::of_essence(&essence) {
            Self::Json if parts.any(is_other_charset) => Self::Encoded,
            kind => kind,
        }
    }

    fn of_essence(essence: &[u8]) -> Self {
        match essence {
            b"application/json" => Self::Json,
            b"application/x-www-form-urlencoded" => Self::Form,
            b"application/xml" | b"text/xml" => Self::Xml,
            other if other.ends_with(b"+json") => Self::Json,
            other if other.ends_with(b"+xml") => Self::Xml,
            _ => Self::Other,
        }
    }
}

/// Of the parameters of a JSON type. It knows none (RFC 8259, section 11), but
/// there are readers who go by it.
fn is_other_charset(parameter: &[u8]) -> bool {
    let is_equals = |byte: &u8| *byte == b'=';
    let mut parts = parameter.splitn(2, is_equals).map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let value = parts.next().unwrap_or_default();
    let value = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    let is_utf8 = value.eq_ignore_ascii_case(b"utf-8") || value.eq_ignore_ascii_case(b"utf8");
    name.starts_with(b"charset") && !is_utf8
}

impl Injector {
    /// `None` where the client's body goes on as it is.
    pub fn body(
        &self,
        head: &Head<'_>,
        body: &[u8],
        request: &RequestValues<'_>,
    ) -> Result<Option<NewBody>, Refusal> {
        if !self.rewrites_body(head.method) {
            return Ok(None);
        }
        let kind = BodyType::of(head)?;
        let mut secrets = Vec::new();
        let filled = match &self.placeholders {
            Some(placeholders) => placeholders.fill(body, kind, &mut secrets)?,
            None => Cow::Borrowed(body),
        };
        let content = match (&self.body, filled) {
            (Some(template), filled) => template.merge(&filled, kind, request, &mut secrets)?,
            (None, Cow::Owned(filled)) => filled,
            (None, Cow::Borrowed(_)) => return Ok(None),
        };
        Ok(Some(NewBody {
            content: content.into(),
            secrets,
        }))
    }
}

impl BodyTemplate {
    fn merge(
        &self,
        client: &[u8],
        kind: BodyType,
        request: &RequestValues<'_>,
        secrets: &mut Vec<Arc<str>>,
    ) -> Result<Vec<u8>, Refusal> {
        let client = match kind {
            BodyType::Json | BodyType::Unnamed if client.is_empty() => None,
            BodyType::Json => Some(client),
            BodyType::Unnamed
            | BodyType::Form
            | BodyType::Xml
            | BodyType::Other
            | BodyType::Encoded => return Err(Refusal::BodyNotJson),
        };
        let merged = self.json.merge_into(client, request)?;
        for name in &self.secrets {
            if !secrets.contains(name) {
                secrets.push(name.clone());
            }
        }
        Ok(merged)
    }
}
