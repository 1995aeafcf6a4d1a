//! The value of a secret: zeroised when dropped, silent in `Debug`, and
//! compared in constant time.

use secrecy::{ExposeSecret, SecretString};

#[derive(Clone)]
pub struct SecretValue(SecretString);

impl SecretValue {
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The plaintext. Call it where the value enters an upstream request, a
    /// digest or a mask, and nowhere else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.expose().as_bytes(), other.expose().as_bytes());
        ours.len() == theirs.len() && boring::memcmp::eq(ours, theirs)
    }
}

impl Eq for SecretValue {}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue([redacted])")
    }
}
