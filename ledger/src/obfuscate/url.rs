//! What of a URL must not be seen: `user:password@`, and the values of
//! parameters whose names say that they are credentials. Works on any text in
//! which a URL or a form may stand, and errs on the side of masking.

use std::collections::HashSet;

use memchr::{memchr2, memmem};

use super::MASK;
use super::decode::Encoding;

/// Parameters that are always masked; `-` and `_` are the same.
const BUILT_IN: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "auth_token",
    "authorization",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "credential",
    "credentials",
    "id_token",
    "jwt",
    "key",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session_token",
    "sig",
    "signature",
    "subscription_key",
    "token",
    "x_amz_credential",
    "x_amz_security_token",
    "x_amz_signature",
    "x_goog_credential",
    "x_goog_signature",
];

/// Names compared without case, and with `-` for `_`.
pub(super) struct Names(HashSet<Vec<u8>>);

impl Names {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(|name| normal(name.as_bytes())).collect())
    }

    pub(super) fn parameters(more: &[String]) -> Self {
        Self::new(
            BUILT_IN
                .iter()
                .copied()
                .chain(more.iter().map(String::as_str)),
        )
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.0.contains(&normal(name))
    }
}

fn normal(name: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.iter().map(fold).collect()
}

/// `text` without user information and without the values of `names`; `None`
/// if there is nothing to mask. Parameters begin after the first of `?#;`.
pub(super) fn mask_url(text: &[u8], names: &Names) -> Option<Vec<u8>> {
    memchr2(b'=', b'@', text)?;
    let without_user = mask_user(text);
    let text = without_user.as_deref().unwrap_or(text);
    let start = text.iter().position(|byte| b"?#;".contains(byte));
    start
        .and_then(|start| mask_parameters(text, start + 1, names))
        .or(without_user)
}

/// A form (`application/x-www-form-urlencoded`): parameters from the beginning.
pub(super) fn mask_form(text: &[u8], names: &Names) -> Option<Vec<u8>> {
    mask_parameters(text, 0, names)
}

/// Masks the values of `names` from `start` on. A masked value reaches to the
/// next `&`: a `;` may be part of it.
fn mask_parameters(text: &[u8], start: usize, names: &Names) -> Option<Vec<u8>> {
    let (before, parameters) = text.split_at_checked(start)?;
    let mut out = before.to_vec();
    let mut masked = false;
    for (index, parameter) in parameters.split(|&byte| byte == b'&').enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        match secret_value_at(parameter, names) {
            Some(at) => {
                out.extend_from_slice(parameter.get(..at).unwrap_or_default());
                out.extend_from_slice(MASK.as_bytes());
                masked = true;
            }
            None => out.extend_from_slice(parameter),
        }
    }
    masked.then_some(out)
}

/// Where in `parameter` (which holds no `&`) a value begins that must be
/// masked, with all that follows.
fn secret_value_at(parameter: &[u8], names: &Names) -> Option<usize> {
    let mut at = 0;
    for part in parameter.split(|byte| b"?#;".contains(byte)) {
        if let Some(equals) = part.iter().position(|&byte| byte == b'=') {
            let (name, value) = part.split_at(equals);
            if value.len() > 1 && (is_secret(name, names) || nests_secret(value, names)) {
                return Some(at + equals + 1);
            }
        }
        at += part.len() + 1;
    }
    None
}

fn is_secret(name: &[u8], names: &Names) -> bool {
    let decoded = Encoding::Percent.decode_bytes(name);
    let name = decoded.as_deref().unwrap_or(name);
    names.contains(name) || member(name).is_some_and(|member| names.contains(member))
}

/// `password` of `user[password]`.
fn member(name: &[u8]) -> Option<&[u8]> {
    let inner = name.strip_suffix(b"]")?;
    inner.rsplit(|&byte| byte == b'[').next()
}

/// A value that is itself an encoded URL or query with such a parameter.
fn nests_secret(value: &[u8], names: &Names) -> bool {
    Encoding::Percent
        .decode_bytes(value)
        .is_some_and(|decoded| {
            mask_user(&decoded).is_some()
                || decoded
                    .split(|byte| b"?#;&".contains(byte))
                    .skip(1)
                    .any(|part| secret_value_at(part, names).is_some())
        })
}

/// Masks the user information of each `scheme://user@host` (RFC 3986, section
/// 3.2.1).
fn mask_user(text: &[u8]) -> Option<Vec<u8>> {
    const AUTHORITY: &[u8] = b"://";
    let mut out = Vec::new();
    let mut copied = 0;
    for found in memmem::find_iter(text, AUTHORITY) {
        let start = found + AUTHORITY.len();
        let rest = text.get(start..)?;
        let end = rest
            .iter()
            .position(|byte| b"/?#".contains(byte))
            .unwrap_or(rest.len());
        let Some(at) = rest.get(..end)?.iter().rposition(|&byte| byte == b'@') else {
            continue;
        };
        out.extend_from_slice(text.get(copied..start)?);
        out.extend_from_slice(MASK.as_bytes());
        copied = start + at;
    }
    out.extend_from_slice(text.get(copied..)?);
    (copied > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let names = Names::parameters(&["Ssn".to_owned()]);
        let masked = mask_url(text.as_bytes(), &names).unwrap_or(text.as_bytes().to_vec());
        String::from_utf8(masked).unwrap()
    }

    #[test]
    fn masks_the_values_of_secret_parameters_only() {
        for (text, expected) in [
            ("/a?token=x&b=1", "/a?token=[redacted]&b=1"),
            ("/a?b=1&API-Key=x", "/a?b=1&API-Key=[redacted]"),
            ("/a?%74oken=x", "/a?%74oken=[redacted]"),
            ("/a?ssn=1&SSN=2", "/a?ssn=[redacted]&SSN=[redacted]"),
            ("/a?user[password]=x", "/a?user[password]=[redacted]"),
            (
                "/a?user%5Bpassword%5D=x",
                "/a?user%5Bpassword%5D=[redacted]",
            ),
            ("/a?q=a=b&token=x=y", "/a?q=a=b&token=[redacted]"),
            ("/cb#access_token=x", "/cb#access_token=[redacted]"),
            ("/a;token=x?b=1", "/a;token=[redacted]"),
            ("/a?b=1;token=x;y", "/a?b=1;token=[redacted]"),
            ("/a?b=1?token=x", "/a?b=1?token=[redacted]"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn leaves_other_parameters() {
        for text in [
            "/a",
            "/token=x",
            "/a?tokens=x&keyboard=y",
            "/a?token=&b=1",
            "/a?token",
            "/@x",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn masks_a_value_that_nests_a_secret_parameter() {
        let nested = "/go?to=https%3A%2F%2Fx%2F%3Fa%3D1%26token%3Dabc&n=1";
        assert_eq!(masked(nested), "/go?to=[redacted]&n=1");
        assert_eq!(
            masked("/go?to=https%3A%2F%2Fu%3Ap%40x"),
            "/go?to=[redacted]"
        );
        let harmless = "/go?to=https%3A%2F%2Fx%2F%3Fa%3D1";
        assert_eq!(masked(harmless), harmless);
    }

    #[test]
    fn masks_user_information() {
        assert_eq!(
            masked("http://u:p@ss@host/x?y=1"),
            "http://[redacted]@host/x?y=1"
        );
        assert_eq!(masked("http://host/a@b"), "http://host/a@b");
        assert_eq!(
            masked("redis://:pw@r, amqp://q@s"),
            "redis://[redacted]@r, amqp://[redacted]@s"
        );
    }

    #[test]
    fn masks_a_form_from_its_first_parameter() {
        let names = Names::parameters(&[]);
        let masked = mask_form(b"password=a+b&x=1", &names).unwrap();
        assert_eq!(masked, b"password=[redacted]&x=1");
        assert!(mask_form(b"x=1&y=2", &names).is_none());
    }
}
