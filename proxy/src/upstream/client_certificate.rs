//! What upstreams see of us (mTLS): a chain and its key, parsed once for all
//! routes that show the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use boring::pkey::PKey;
use boring::x509::X509;
use knoxcall_bundle::KeyPair;
use pingora::utils::tls::CertKey;

use super::trust::TrustError;

#[derive(Default)]
pub struct ClientCertificates {
    /// By the digest of both. A pair that no snapshot shows any more is gone.
    parsed: Mutex<HashMap<[u8; 32], Weak<CertKey>>>,
}

impl ClientCertificates {
    pub fn of(&self, pair: &KeyPair) -> Result<Arc<CertKey>, TrustError> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parsed.get(&pair.digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let fresh = Arc::new(parse(pair)?);
        parsed.retain(|_, held| held.strong_count() > 0);
        parsed.insert(pair.digest, Arc::downgrade(&fresh));
        Ok(fresh)
    }
}

fn parse(pair: &KeyPair) -> Result<CertKey, TrustError> {
    let unreadable = |_| TrustError::ClientCertificate;
    let chain = X509::stack_from_pem(pair.chain.as_bytes()).map_err(unreadable)?;
    let key = PKey::private_key_from_pem(pair.key.expose().as_bytes()).map_err(unreadable)?;
    if chain.is_empty() {
        // Pingora would panic.
        return Err(TrustError::ClientCertificate);
    }
    Ok(CertKey::new(chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knoxcall_bundle::SecretValue;

    #[test]
    fn what_is_no_pair_is_refused() {
        let certificates = ClientCertificates::default();
        for chain in [
            "",
            "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
        ] {
            let pair = KeyPair::new(chain.into(), SecretValue::new("no key".to_owned()));
            assert!(certificates.of(&pair).is_err());
        }
    }
}
