//! The certificate that a route shows to its upstreams: a chain and the key
//! that belongs to it. Nothing of either is quoted.

use std::sync::Arc;

use boring::pkey::PKey;
use boring::x509::X509;

use crate::document::UpstreamCertificateDocument;
use crate::ids::EnvironmentName;
use crate::model::{ClientCertificate, KeyPair};
use crate::problem::{At, Noun, Problems};
use crate::secret::SecretValue;

use super::Sources;
use super::context::{DeclaredSecret, Names};
use super::templates::named_secret;

/// What a part of the pair came to.
enum Part<T> {
    Held(T),
    /// Its secret is optional and has no value here.
    Absent,
    /// Told already.
    Mistaken,
}

pub(super) struct ClientCertificates<'a> {
    pub(super) names: &'a Names<'a>,
    pub(super) environment: &'a EnvironmentName,
}

impl ClientCertificates<'_> {
    pub(super) fn read(
        &self,
        document: &UpstreamCertificateDocument,
        at: &At<'_>,
        sources: &mut dyn Sources,
        problems: &mut Problems,
    ) -> Option<ClientCertificate> {
        let chain = self.chain(document, at, sources, problems);
        let key = self.secret(&document.key, &at.key("key"), problems);
        match (chain, key) {
            (Part::Held(chain), Part::Held(key)) => judge(document, chain, key, at, problems),
            (Part::Mistaken, _) | (_, Part::Mistaken) => None,
            (Part::Absent, _) | (_, Part::Absent) => Some(ClientCertificate::Unavailable),
        }
    }

    fn chain(
        &self,
        document: &UpstreamCertificateDocument,
        at: &At<'_>,
        sources: &mut dyn Sources,
        problems: &mut Problems,
    ) -> Part<Arc<str>> {
        match (&document.certificate, &document.certificate_file) {
            (Some(name), None) => {
                let value = self.secret(name, &at.key("certificate"), problems);
                value.map(|value| value.expose().into())
            }
            (None, Some(file)) => match sources.certificates(file) {
                Ok(chain) => Part::Held(chain),
                Err(unavailable) => {
                    let at = at.key("certificate_file");
                    problems.add(&at, unavailable.message, unavailable.remedy);
                    Part::Mistaken
                }
            },
            (None, None) | (Some(_), Some(_)) => {
                let message = "needs exactly one of certificate and certificate_file";
                problems.add_missing(at, message, "a secret's name or a path");
                Part::Mistaken
            }
        }
    }

    fn secret(&self, text: &str, at: &At<'_>, problems: &mut Problems) -> Part<SecretValue> {
        let Some(secret) = named_secret(bare(text), self.names, at, problems) else {
            return Part::Mistaken;
        };
        match secret.values.get(self.environment) {
            Some(value) => Part::Held(value.clone()),
            None => self.without_value(secret, at, problems),
        }
    }

    fn without_value(
        &self,
        secret: &DeclaredSecret,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Part<SecretValue> {
        if secret.has_value_in(self.environment) {
            return Part::Mistaken;
        }
        if secret.optional {
            return Part::Absent;
        }
        let message = format!("the secret has no value in `{}`", self.environment);
        let remedy = "give it one, or declare it optional: true (requests then get 503)";
        problems.add_about(Noun::Secret, at, message, remedy);
        Part::Mistaken
    }
}

impl<T> Part<T> {
    fn map<U>(self, then: impl FnOnce(T) -> U) -> Part<U> {
        match self {
            Self::Held(value) => Part::Held(then(value)),
            Self::Absent => Part::Absent,
            Self::Mistaken => Part::Mistaken,
        }
    }
}

/// A name may be written as templates write it.
fn bare(text: &str) -> &str {
    let inner = text
        .trim()
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"));
    inner
        .and_then(|inner| inner.trim().strip_prefix("secret:"))
        .unwrap_or(text)
}

fn judge(
    document: &UpstreamCertificateDocument,
    chain: Arc<str>,
    key: SecretValue,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<ClientCertificate> {
    let certificates = X509::stack_from_pem(chain.as_bytes()).unwrap_or_default();
    let parsed_key = PKey::private_key_from_pem(key.expose().as_bytes());
    if certificates.is_empty() {
        let at = at.key(match document.certificate {
            Some(_) => "certificate",
            None => "certificate_file",
        });
        let remedy = "PEM: it begins with -----BEGIN CERTIFICATE-----";
        problems.add(&at, "holds no certificates that can be read", remedy);
    }
    if parsed_key.is_err() {
        let remedy = "PEM, without a passphrase: it begins with -----BEGIN PRIVATE KEY-----";
        let at = at.key("key");
        problems.add(&at, "holds no private key that can be read", remedy);
    }
    let (leaf, parsed_key) = (certificates.first()?, parsed_key.ok()?);
    let belongs = leaf
        .public_key()
        .is_ok_and(|public| public.public_eq(&parsed_key));
    if !belongs {
        let remedy = "the certificate of the key comes first, its intermediates after it";
        problems.add(
            &at.key("key"),
            "is not the key of the first certificate",
            remedy,
        );
        return None;
    }
    Some(ClientCertificate::Held(Arc::new(KeyPair::new(chain, key))))
}
