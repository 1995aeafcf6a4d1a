//! Whom we believe: the system's roots, and beside them a route's own CAs.
//!
//! Pingora takes a peer's CA list *instead of* the system's roots, so a route
//! with its own CAs gets a list of both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use boring::x509::X509;
use pingora::protocols::tls::{CaType, SslDigest};
use pingora::upstreams::peer::HttpPeer;
use thiserror::Error;

use super::address_name::is_named;

#[derive(Debug, Error)]
pub enum TrustError {
    #[error("custom CA: not a certificate in PEM form")]
    NotPem,
    #[error("custom CA: the file holds no certificate")]
    Empty,
    #[error("the system's root certificates cannot be read from {path}")]
    SystemRoots { path: String },
    #[error("client_certificate: not a certificate chain and its key in PEM form")]
    ClientCertificate,
}

#[derive(Default)]
pub struct Trust {
    /// By the PEM text: parsed once for all routes that share it.
    lists: Mutex<HashMap<String, Arc<CaType>>>,
}

impl Trust {
    /// `None`: the system's roots alone, which the connector has loaded.
    pub fn roots_for(&self, custom_pem: Option<&str>) -> Result<Option<Arc<CaType>>, TrustError> {
        let Some(pem) = custom_pem else {
            return Ok(None);
        };
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lists.get(pem) {
            return Ok(Some(known.clone()));
        }
        let mut roots = parse(pem.as_bytes())?;
        roots.extend(system_roots()?);
        let list: Arc<CaType> = Arc::new(roots.into_boxed_slice());
        lists.insert(pem.to_owned(), list.clone());
        Ok(Some(list))
    }
}

/// May this connection be used? To be asked before anything is sent: Pingora
/// would speak TLS 1.0 to an upstream that knows no better, and take an address
/// for a name.
pub fn is_sound(peer: &HttpPeer, tls: Option<&SslDigest>) -> bool {
    let uses_old_tls =
        tls.is_some_and(|tls| !matches!(tls.version.as_ref(), "TLSv1.2" | "TLSv1.3"));
    !uses_old_tls && is_named(peer, tls)
}

fn parse(pem: &[u8]) -> Result<Vec<X509>, TrustError> {
    let certificates = X509::stack_from_pem(pem).map_err(|_| TrustError::NotPem)?;
    if certificates.is_empty() {
        return Err(TrustError::Empty);
    }
    Ok(certificates)
}

/// A machine without root certificates is fine: then the custom CAs are all.
fn system_roots() -> Result<Vec<X509>, TrustError> {
    let Some(path) = openssl_probe::probe().cert_file else {
        return Ok(Vec::new());
    };
    let unreadable = || TrustError::SystemRoots {
        path: path.display().to_string(),
    };
    let pem = std::fs::read(&path).map_err(|_| unreadable())?;
    X509::stack_from_pem(&pem).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_custom_cas_the_connectors_own_roots_hold() {
        assert!(Trust::default().roots_for(None).unwrap().is_none());
    }

    #[test]
    fn text_that_is_no_certificate_is_refused() {
        let trust = Trust::default();
        assert!(trust.roots_for(Some("nothing to see")).is_err());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(trust.roots_for(Some(broken)).is_err());
    }

    #[test]
    fn a_connection_of_tls_before_1_2_is_not_used() {
        let peer = HttpPeer::new("127.0.0.1:443", true, "api.test".to_owned());
        let over = |version| {
            let digest = SslDigest::new("", version, None, None, Vec::new());
            is_sound(&peer, Some(&digest))
        };
        for sound in ["TLSv1.2", "TLSv1.3"] {
            assert!(over(sound), "{sound}");
        }
        for unsound in ["SSLv3", "TLSv1", "TLSv1.1", "unknown", ""] {
            assert!(!over(unsound), "{unsound}");
        }
    }
}
