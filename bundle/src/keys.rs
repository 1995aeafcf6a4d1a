//! API keys: made here, shown once, and known afterwards by their digest only.

use std::fmt;

use boring::error::ErrorStack;
use thiserror::Error;

use crate::ids::KeyId;
use crate::model::{KeyDigest, KeyKind};
use crate::secret::SecretValue;

/// Characters of a key's public part after its prefix (36^12, so that two keys
/// of one tenant do not meet by chance).
const ID_CHARACTERS: usize = 12;
/// Characters of the secret part: 48 of 62 are 285 bits.
const SECRET_CHARACTERS: usize = 48;

const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const MIXED: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that nobody has seen yet.
#[derive(Debug)]
pub struct NewKey {
    /// The whole key, for its one showing.
    pub text: SecretValue,
    /// Its public part.
    pub id: KeyId,
    pub digest: KeyDigest,
}

#[derive(Debug, Error)]
pub enum KeyError {
    #[error("the system's random source failed")]
    Random(#[from] ErrorStack),
    #[error(transparent)]
    Form(#[from] crate::ids::InvalidName),
}

impl NewKey {
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let (prefix, alphabet) = match kind {
            KeyKind::Live => ("tk_live_", LOWER),
            KeyKind::Test => ("tk_test_", LOWER),
            KeyKind::AccessKey => ("AKE", UPPER),
        };
        let id = format!("{prefix}{}", random_text(alphabet, ID_CHARACTERS)?);
        let text = format!("{id}_{}", random_text(MIXED, SECRET_CHARACTERS)?);
        Ok(Self {
            id: KeyId::try_from(id.as_str())?,
            digest: KeyDigest::of(text.as_bytes()),
            text: SecretValue::new(text),
        })
    }
}

impl KeyKind {
    /// Told by the prefix of a key's id. A bare `tk_` is of the time before
    /// there were test keys; what follows it must not look like a kind, because
    /// a slip in `tk_test_` would make a live key.
    pub fn of(id: &str) -> Option<Self> {
        let kinds = [
            ("tk_test_", Self::Test),
            ("tk_live_", Self::Live),
            ("AKE", Self::AccessKey),
        ];
        for (prefix, kind) in kinds {
            if let Some(rest) = id.strip_prefix(prefix) {
                return (!rest.is_empty()).then_some(kind);
            }
        }
        let rest = id.strip_prefix("tk_")?;
        let word = rest.get(..4).unwrap_or(rest).to_ascii_lowercase();
        let is_bare = !rest.is_empty() && !rest.contains('_') && word != "test" && word != "live";
        is_bare.then_some(Self::Live)
    }
}

impl KeyDigest {
    /// SHA-256 (FIPS 180-4) of a whole key.
    pub fn of(key: &[u8]) -> Self {
        Self(boring::sha::sha256(key))
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (position, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * position..2 * position + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

/// 64 hexadecimal digits in lower case, as `key_sha256` has them.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Uniform: bytes that would favour the alphabet's beginning are thrown away.
fn random_text(alphabet: &[u8], length: usize) -> Result<String, ErrorStack> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        boring::rand::rand_bytes(&mut bytes)?;
        let characters = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair)
            .filter_map(|byte| alphabet.get(byte % alphabet.len()));
        text.extend(
            characters
                .take(length - text.len())
                .map(|byte| char::from(*byte)),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_with_its_id_and_matches_its_digest() {
        for kind in [KeyKind::Live, KeyKind::Test, KeyKind::AccessKey] {
            let key = NewKey::generate(kind).unwrap();
            let text = key.text.expose();
            let secret = text.strip_prefix(&format!("{}_", key.id)).unwrap();
            assert_eq!(secret.len(), SECRET_CHARACTERS);
            assert_eq!(KeyKind::of(key.id.as_str()), Some(kind));
            assert_eq!(KeyDigest::of(text.as_bytes()), key.digest);
        }
    }

    #[test]
    fn two_keys_differ() {
        let [one, other] = [(); 2].map(|()| NewKey::generate(KeyKind::Live).unwrap());
        assert_ne!(one.id, other.id);
        assert_ne!(one.text, other.text);
    }

    #[test]
    fn debug_does_not_show_a_key() {
        let key = NewKey::generate(KeyKind::Live).unwrap();
        assert!(!format!("{key:?}").contains(key.text.expose()));
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = KeyDigest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(KeyDigest::from_hex(&digest.to_string()), Some(digest));
    }

    #[test]
    fn refuses_a_digest_that_is_not_64_hexadecimal_digits() {
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(KeyDigest::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_kind_is_told_by_the_prefix_of_an_id() {
        assert_eq!(KeyKind::of("tk_live_a1"), Some(KeyKind::Live));
        assert_eq!(KeyKind::of("tk_test_a1"), Some(KeyKind::Test));
        assert_eq!(KeyKind::of("AKEA1"), Some(KeyKind::AccessKey));
        assert_eq!(KeyKind::of("tk_old"), Some(KeyKind::Live));
    }

    #[test]
    fn a_slip_in_a_prefix_is_no_live_key() {
        for id in [
            "sk_live_x",
            "tk_tset_abc",
            "tk_Test_abc",
            "tk_testabc",
            "tk_Test",
            "tk_test",
            "tk_test_",
            "tk_live_",
            "tk_live",
            "tk__a",
            "tk_",
            "AKE",
            "ake1",
            "",
        ] {
            assert_eq!(KeyKind::of(id), None, "{id}");
        }
    }
}
