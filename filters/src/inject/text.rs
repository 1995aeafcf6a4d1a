//! A template with everything in its place that cannot change any more: most
//! are a fixed text, some keep a gap for what the request knows, and only
//! real Liquid is rendered as Liquid. A value that was put in is text from
//! then on, whatever braces it holds.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use knoxcall_bundle::template::{Segment, Template};
use zeroize::Zeroizing;

use super::liquid::LiquidText;
use super::values::{Dynamic, RequestValues, Resolved, Values};
use crate::refusal::Refusal;

pub(crate) enum Text {
    Fixed(Zeroizing<String>),
    Pieces(Box<[Piece]>),
    Liquid(Box<LiquidText>),
    /// A secret or variable has no value here. The route serves nothing that
    /// needs this text, rather than send an empty credential.
    Unavailable,
    /// It depends on no request and cannot be rendered: it fails for each.
    Failing,
}

pub(crate) enum Piece {
    Text(Zeroizing<String>),
    OfRequest(Dynamic),
}

impl Text {
    /// Adds the names of the secrets it draws upon to `secrets`.
    pub(crate) fn compile(
        template: &Template,
        values: &Values<'_>,
        secrets: &mut Vec<Arc<str>>,
    ) -> Self {
        match template {
            Template::Segments(segments) => {
                note_secrets(segments.iter(), values, secrets);
                Self::from_segments(segments, values)
            }
            Template::Liquid(liquid) => {
                let bound = liquid.bindings.iter().map(|(_, segment)| segment);
                note_secrets(bound, values, secrets);
                LiquidText::compile(liquid, values)
            }
        }
    }

    pub(crate) fn render(&self, request: &RequestValues<'_>) -> Result<Cow<'_, str>, Refusal> {
        match self {
            Self::Fixed(text) => Ok(Cow::Borrowed(text)),
            Self::Pieces(pieces) => Ok(Cow::Owned(join(pieces, request))),
            Self::Liquid(liquid) => liquid.render(request).map(Cow::Owned),
            Self::Unavailable => Err(Refusal::SecretUnavailable),
            Self::Failing => Err(Refusal::Internal),
        }
    }

    fn from_segments(segments: &[Segment], values: &Values<'_>) -> Self {
        let mut pieces = Vec::new();
        for segment in segments {
            match values.resolve(segment) {
                Resolved::Known(text) => push_text(&mut pieces, &text),
                Resolved::OfRequest(which) => pieces.push(Piece::OfRequest(which)),
                Resolved::Missing => return Self::Unavailable,
            }
        }
        match pieces.pop() {
            None => Self::Fixed(Zeroizing::default()),
            Some(Piece::Text(text)) if pieces.is_empty() => Self::Fixed(text),
            Some(last) => {
                pieces.push(last);
                Self::Pieces(pieces.into())
            }
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(before)) => {
            // Grown by hand, so that no copy of a secret is left behind.
            let mut joined = Zeroizing::new(String::with_capacity(before.len() + text.len()));
            joined.push_str(before);
            joined.push_str(text);
            *before = joined;
        }
        Some(Piece::OfRequest(_)) | None => {
            pieces.push(Piece::Text(Zeroizing::new(text.to_owned())));
        }
    }
}

fn join(pieces: &[Piece], request: &RequestValues<'_>) -> String {
    let mut out = String::with_capacity(128);
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::OfRequest(which) => request.write(*which, &mut out),
        }
    }
    out
}

fn note_secrets<'s>(
    segments: impl Iterator<Item = &'s Segment>,
    values: &Values<'_>,
    secrets: &mut Vec<Arc<str>>,
) {
    for segment in segments {
        let Segment::Secret(reference) = segment else {
            continue;
        };
        let Some(secret) = values.secret(reference) else {
            continue;
        };
        if !secrets.iter().any(|name| **name == *secret.name.as_str()) {
            secrets.push(secret.name.shared());
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "Fixed([redacted])",
            Self::Pieces(_) => "Pieces([redacted])",
            Self::Liquid(_) => "Liquid([redacted])",
            Self::Unavailable => "Unavailable",
            Self::Failing => "Failing",
        })
    }
}
