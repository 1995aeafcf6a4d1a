//! Signed requests: HMAC-SHA256 over the parts of a request, with a secret of
//! the client's. The rule: nothing reaches an upstream that requires a
//! signature unless these very bytes were signed, recently, and once. The
//! strings are defined in `docs/signing.md`.

use http::{HeaderName, HeaderValue};
use knoxcall_bundle::ids::{EnvironmentName, RouteId};
use knoxcall_bundle::{Signature, SignatureVersion, UnixSeconds};
use smallvec::SmallVec;
use uuid::fmt::Hyphenated;

use crate::admit::Admitted;
use crate::digest;
use crate::head::Head;
use crate::refusal::Refusal;

/// What must not be seen a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayClaim {
    /// Differs from client to client, and from signature (`v1`) or nonce
    /// (`v2`) to another.
    pub key: [u8; 32],
    /// When it may be forgotten: the first second at which the timestamp alone
    /// refuses the request, on whichever route of the tenant.
    pub expires: UnixSeconds,
    pub signed_at: UnixSeconds,
}

/// What is signed. All parts as they are on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Unix seconds in decimal digits.
    pub timestamp: &'a [u8],
    pub method: &'a str,
    /// Path and query.
    pub target: &'a [u8],
    pub body: &'a [u8],
    /// Present in `v2`, absent in `v1`.
    pub scope: Option<Scope<'a>>,
}

/// What `v2` binds a signature to.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The `Host` header, in any case.
    pub host: &'a [u8],
    pub route: RouteId,
    pub environment: &'a EnvironmentName,
    pub nonce: &'a [u8],
}

/// What a request says of its signature: complete, well-formed and timely,
/// but not yet verified. The body is not needed so far.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'h> {
    timestamp: &'h [u8],
    signed_at: UnixSeconds,
    code: [u8; 32],
    nonce: Option<&'h [u8]>,
}

/// `None` where the route asks for no signature.
pub fn verify(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    body: &[u8],
    now: UnixSeconds,
) -> Result<Option<ReplayClaim>, Refusal> {
    match presented(admitted, head, now)? {
        Some(presented) => presented.verify(admitted, head, body).map(Some),
        None => Ok(None),
    }
}

/// All of [`verify`] that can be judged before the body is read.
pub fn presented<'h>(
    admitted: &Admitted<'_, '_>,
    head: &Head<'h>,
    now: UnixSeconds,
) -> Result<Option<Presented<'h>>, Refusal> {
    let Some(rule) = &admitted.service.signature else {
        return Ok(None);
    };
    let presented = Presented::parse(rule, head)?;
    if now.0.abs_diff(presented.signed_at.0) > rule.tolerance.as_secs() {
        return Err(Refusal::SignatureExpired);
    }
    Ok(Some(presented))
}

impl<'h> Presented<'h> {
    fn parse(rule: &Signature, head: &Head<'h>) -> Result<Self, Refusal> {
        let code = required(head, &rule.signature_header)?;
        let timestamp = required(head, &rule.timestamp_header)?;
        let nonce = match rule.version {
            SignatureVersion::V1 => None,
            SignatureVersion::V2 => Some(required(head, &rule.nonce_header)?),
        };
        if nonce.is_some_and(|nonce| !is_nonce(nonce)) {
            return Err(Refusal::SignatureInvalid);
        }
        Ok(Self {
            timestamp,
            signed_at: parse_timestamp(timestamp).ok_or(Refusal::SignatureInvalid)?,
            code: parse_code(code, rule.version).ok_or(Refusal::SignatureInvalid)?,
            nonce,
        })
    }

    /// Every secret of the client is tried, also after one has fitted.
    pub fn verify(
        &self,
        admitted: &Admitted<'_, '_>,
        head: &Head<'_>,
        body: &[u8],
    ) -> Result<ReplayClaim, Refusal> {
        let rule = admitted.service.signature.as_ref();
        let client = admitted.caller.client();
        let (Some(rule), Some(client)) = (rule, client) else {
            return Err(Refusal::SignatureInvalid);
        };
        let message = self.message(admitted, head, body);
        let fits = client.signing_secrets.iter().fold(false, |fits, secret| {
            digest::equal(&message.code(secret.expose().as_bytes()), &self.code) | fits
        });
        if !fits {
            return Err(Refusal::SignatureInvalid);
        }
        let tolerance = admitted.tenant.longest_tolerance.max(rule.tolerance);
        let lasts = tolerance.as_secs().saturating_add(1);
        Ok(ReplayClaim {
            key: digest::sha256_of(&[
                admitted.tenant.id.0.as_bytes(),
                client.id.0.as_bytes(),
                self.nonce.map_or(b"v1", |_| b"v2"),
                self.nonce.unwrap_or(&self.code),
            ]),
            expires: UnixSeconds(self.signed_at.0.saturating_add(lasts)),
            signed_at: self.signed_at,
        })
    }

    fn message<'a>(
        &'a self,
        admitted: &'a Admitted<'_, '_>,
        head: &'a Head<'_>,
        body: &'a [u8],
    ) -> Message<'a> {
        Message {
            timestamp: self.timestamp,
            method: head.method.as_str(),
            target: head.target,
            body,
            scope: self.nonce.map(|nonce| Scope {
                host: head.host,
                route: admitted.route.id,
                environment: &admitted.service.environment,
                nonce,
            }),
        }
    }
}

impl Message<'_> {
    /// The authentication code of the canonical string.
    pub fn code(&self, secret: &[u8]) -> [u8; 32] {
        let method = self.method.as_bytes();
        let Some(scope) = &self.scope else {
            let parts: [&[u8]; 7] = [
                self.timestamp,
                b"\n",
                method,
                b"\n",
                self.target,
                b"\n",
                self.body,
            ];
            return digest::hmac_sha256(secret, &parts);
        };
        let mut host = SmallVec::<[u8; 128]>::from_slice(scope.host);
        host.make_ascii_lowercase();
        let mut route = [0; Hyphenated::LENGTH];
        let route = scope.route.0.hyphenated().encode_lower(&mut route);
        let parts: [&[u8]; 16] = [
            b"v2\n",
            self.timestamp,
            b"\n",
            method,
            b"\n",
            &host,
            b"\n",
            self.target,
            b"\n",
            route.as_bytes(),
            b"\n",
            scope.environment.as_str().as_bytes(),
            b"\n",
            scope.nonce,
            b"\n",
            self.body,
        ];
        digest::hmac_sha256(secret, &parts)
    }

    /// The headers that a client adds: signature, timestamp and nonce.
    pub fn sign(&self, rule: &Signature, secret: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
        let nonce = self.scope.map(|scope| (&rule.nonce_header, scope.nonce));
        let code = hex(&self.code(secret));
        [
            (&rule.signature_header, code.as_slice()),
            (&rule.timestamp_header, self.timestamp),
        ]
        .into_iter()
        .chain(nonce)
        .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value).ok()?)))
        .collect()
    }
}

fn required<'h>(head: &Head<'h>, name: &HeaderName) -> Result<&'h [u8], Refusal> {
    match head.single(name)? {
        Some(value) if !value.is_empty() => Ok(value.as_bytes()),
        Some(_) | None => Err(Refusal::SignatureMissing),
    }
}

/// `[A-Za-z0-9_-]{16,128}`
pub fn is_nonce(text: &[u8]) -> bool {
    (16..=128).contains(&text.len())
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Digits only, at most twelve: no sign, no space, no fraction.
fn parse_timestamp(text: &[u8]) -> Option<UnixSeconds> {
    if text.is_empty() || text.len() > 12 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|byte| u64::from(byte - b'0'));
    Some(UnixSeconds(digits.fold(0, |sum, digit| sum * 10 + digit)))
}

/// 64 hexadecimal digits, which the version may precede: `v1=`.
fn parse_code(text: &[u8], version: SignatureVersion) -> Option<[u8; 32]> {
    let prefix: &[u8] = match version {
        SignatureVersion::V1 => b"v1=",
        SignatureVersion::V2 => b"v2=",
    };
    let digits = text.strip_prefix(prefix).unwrap_or(text);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let mut code = [0; 32];
    if pairs.len() != code.len() {
        return None;
    }
    for (byte, [high, low]) in code.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(code)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn hex(code: &[u8; 32]) -> Vec<u8> {
    let digit = |nibble: u8| match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    };
    code.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)])
        .collect()
}

#[cfg(test)]
mod tests;
