//! Placeholders in a client's own body: `{{secret:NAME}}`,
//! `{{secret_id:UUID}}` and `{{var:KEY}}`, on routes that allow at least one
//! secret (`body_secrets`). The rule: only what is allowed is filled in, all
//! else that is named is refused, and a value that was filled in is data:
//! it is written by the body's own rules and never searched again.

mod scan;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use knoxcall_bundle::SecretValue;
use knoxcall_bundle::ids::{SecretId, SecretName, VariableKey};
use knoxcall_bundle::template::{SecretRef, Segment};

use crate::inject::{BodyType, Values};
use crate::refusal::Refusal;
use scan::Found;

/// What filling in may add to a body, unless it is less than the body itself.
const GROWTH: usize = 1024 * 1024;

pub(crate) struct Placeholders {
    secrets: Box<[AllowedSecret]>,
    variables: Box<[(VariableKey, Arc<str>)]>,
}

struct AllowedSecret {
    id: SecretId,
    name: SecretName,
    /// `None`: it has no value in this environment.
    value: Option<SecretValue>,
}

impl Placeholders {
    /// `None` where no secret is allowed.
    pub(crate) fn compile(values: &Values<'_>, allowed: &[SecretId]) -> Option<Self> {
        if allowed.is_empty() {
            return None;
        }
        let secrets = allowed
            .iter()
            .filter_map(|id| values.secret_by_id(*id))
            .map(|secret| AllowedSecret {
                id: secret.id,
                name: secret.name.clone(),
                value: secret.values.get(values.environment).cloned(),
            });
        let variables = values.tenant.variables.iter().filter_map(|variable| {
            let value = variable.values.get(values.environment)?;
            Some((variable.key.clone(), value.clone()))
        });
        Some(Self {
            secrets: secrets.collect(),
            variables: variables.collect(),
        })
    }

    /// Borrowed where there is nothing to fill in. The names of the secrets
    /// that were filled in are added to `used`.
    pub(crate) fn fill<'b>(
        &self,
        body: &'b [u8],
        kind: BodyType,
        used: &mut Vec<Arc<str>>,
    ) -> Result<Cow<'b, [u8]>, Refusal> {
        let longest = body.len() + body.len().max(GROWTH);
        let mut out = Vec::new();
        let mut rest = body;
        while let Some(found) = scan::next(rest, kind) {
            let Found {
                before,
                subject,
                after,
            } = found;
            out.extend_from_slice(before);
            let subject = subject.map_err(|_| Refusal::SecretNotAllowed)?;
            write_value(self.value_of(&subject, used)?, kind, &mut out)?;
            if out.len() + after.len() > longest {
                return Err(Refusal::BodyTooLarge);
            }
            rest = after;
        }
        if rest.len() == body.len() {
            return Ok(Cow::Borrowed(body));
        }
        out.extend_from_slice(rest);
        Ok(Cow::Owned(out))
    }

    fn value_of(&self, subject: &Segment, used: &mut Vec<Arc<str>>) -> Result<&str, Refusal> {
        match subject {
            Segment::Secret(reference) => self.secret(reference, used),
            Segment::Variable(key) => self.variable(key),
            Segment::Text(_) | Segment::Builtin(_) => Err(Refusal::SecretNotAllowed),
        }
    }

    fn secret(&self, reference: &SecretRef, used: &mut Vec<Arc<str>>) -> Result<&str, Refusal> {
        let mut allowed = self.secrets.iter();
        let secret = match reference {
            SecretRef::Name(name) => allowed.find(|secret| secret.name == *name),
            SecretRef::Id(id) => allowed.find(|secret| secret.id == *id),
        };
        let secret = secret.ok_or(Refusal::SecretNotAllowed)?;
        let value = secret.value.as_ref().map_or("", SecretValue::expose);
        if value.trim().is_empty() {
            return Err(Refusal::SecretUnavailable);
        }
        if !used.iter().any(|name| **name == *secret.name.as_str()) {
            used.push(secret.name.shared());
        }
        Ok(value)
    }

    fn variable(&self, key: &VariableKey) -> Result<&str, Refusal> {
        let mut variables = self.variables.iter();
        match variables.find(|(own, _)| own == key) {
            Some((_, value)) => Ok(value),
            None => Err(Refusal::SecretNotAllowed),
        }
    }
}

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Placeholders([redacted])")
    }
}

/// So that a value cannot end the place where it stands.
fn write_value(value: &str, kind: BodyType, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match kind {
        BodyType::Json => write_json(value, out)?,
        BodyType::Form => write_form(value, out),
        BodyType::Xml => write_xml(value, out)?,
        BodyType::Unnamed | BodyType::Other | BodyType::Encoded => {
            refuse_line_breaks(value)?;
            out.extend_from_slice(value.as_bytes());
        }
    }
    Ok(())
}

/// RFC 8259, section 7; the quotes are the client's.
fn write_json(value: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let quoted = serde_json::to_string(value).map_err(|_| Refusal::Internal)?;
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    out.extend_from_slice(inner.unwrap_or_default().as_bytes());
    Ok(())
}

/// All but the unreserved characters of RFC 3986, section 2.3.
fn write_form(value: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
}

/// XML 1.0, section 2.4; NUL has no way to be written at all.
fn write_xml(value: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    for byte in value.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&apos;"),
            0 => return Err(Refusal::SecretUnavailable),
            other => out.push(other),
        }
    }
    Ok(())
}

/// In a type whose rules we do not know, a line break may end a part.
fn refuse_line_breaks(value: &str) -> Result<(), Refusal> {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    match value.as_bytes().iter().any(breaks) {
        true => Err(Refusal::SecretUnavailable),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
