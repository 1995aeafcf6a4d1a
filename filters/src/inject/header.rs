//! The value of an injected header. A value that HTTP cannot carry (RFC 9110,
//! section 5.5: CR, LF, NUL and other controls) is never sent: the request
//! fails as if the secret in it had none.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use knoxcall_bundle::template::Template;
use zeroize::Zeroizing;

use super::text::Text;
use super::values::{RequestValues, Values};
use crate::refusal::Refusal;

#[derive(Debug)]
pub(crate) enum HeaderSource {
    /// Rendered when the bundle was compiled.
    Fixed(HeaderValue),
    OfRequest(Text),
    Unavailable,
    Failing,
}

impl HeaderSource {
    pub(crate) fn compile(
        template: &Template,
        values: &Values<'_>,
        secrets: &mut Vec<Arc<str>>,
    ) -> Self {
        match Text::compile(template, values, secrets) {
            Text::Fixed(text) => match zeroised(text) {
                Some(value) => Self::Fixed(value),
                None => Self::Unavailable,
            },
            Text::Unavailable => Self::Unavailable,
            Text::Failing => Self::Failing,
            text @ (Text::Pieces(_) | Text::Liquid(_)) => Self::OfRequest(text),
        }
    }

    pub(crate) fn value(&self, request: &RequestValues<'_>) -> Result<HeaderValue, Refusal> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::OfRequest(text) => {
                let rendered = text.render(request)?.into_owned();
                sensitive(Bytes::from(rendered)).ok_or(Refusal::SecretUnavailable)
            }
            Self::Unavailable => Err(Refusal::SecretUnavailable),
            Self::Failing => Err(Refusal::Internal),
        }
    }
}

/// Shared by all requests without a copy, and wiped with the bundle.
fn zeroised(text: Zeroizing<String>) -> Option<HeaderValue> {
    struct Owner(Zeroizing<String>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    sensitive(Bytes::from_owner(Owner(text)))
}

fn sensitive(bytes: Bytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}
