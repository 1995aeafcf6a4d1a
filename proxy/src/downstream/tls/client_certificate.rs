//! What a client's certificate says of its holder, if it verifies: subject
//! alternative names (RFC 5280, section 4.2.1.6), the subject, and its validity.

use std::sync::Arc;

use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::ssl::SslRef;
use boring::x509::{GeneralNameRef, X509, X509Ref};
use knoxcall_bundle::{CertificateName, UnixSeconds};
use knoxcall_filters::ClientCertificate;

/// `XN_FLAG_RFC2253` of OpenSSL and BoringSSL.
const RFC2253: i32 = 0x0111_0317;

/// What a connection's certificate was found to be worth, and by which CAs.
#[derive(Clone, Debug)]
pub struct JudgedCertificate {
    certificate: Arc<ClientCertificate>,
    authorities: [u8; 32],
}

impl JudgedCertificate {
    /// `None`: the client has presented none.
    pub(super) fn of(ssl: &SslRef, authorities: [u8; 32]) -> Option<Self> {
        let presented = ssl.peer_certificate()?;
        let certificate = match ssl.verify_result() {
            Ok(()) => read(&presented),
            Err(error) => {
                tracing::debug!(%error, "a client's certificate does not verify");
                ClientCertificate::nobody()
            }
        };
        Some(Self {
            certificate: Arc::new(certificate),
            authorities,
        })
    }

    /// What it is worth where these CAs are believed: a connection outlives
    /// the configuration that it was made under.
    pub(super) fn under(&self, authorities: &[u8; 32]) -> Arc<ClientCertificate> {
        match self.authorities == *authorities {
            true => self.certificate.clone(),
            false => Arc::new(ClientCertificate::nobody()),
        }
    }
}

fn read(certificate: &X509) -> ClientCertificate {
    let alternatives = certificate.subject_alt_names();
    let alternatives = alternatives.iter().flatten().filter_map(alternative);
    let names = alternatives.chain(subject(certificate));
    let validity = (
        seconds(certificate.not_before()),
        seconds(certificate.not_after()),
    );
    ClientCertificate::new(names, validity)
}

fn alternative(name: &GeneralNameRef) -> Option<CertificateName> {
    let dns = || name.dnsname().map(str::to_ascii_lowercase);
    let uri = || name.uri().map(str::to_owned);
    let email = || name.email().map(str::to_owned);
    dns()
        .map(CertificateName::Dns)
        .or_else(|| uri().map(CertificateName::Uri))
        .or_else(|| email().map(CertificateName::Email))
}

fn subject(certificate: &X509Ref) -> Option<CertificateName> {
    let subject = certificate.subject_name().print_ex(RFC2253)?;
    (!subject.is_empty()).then_some(CertificateName::Subject(subject))
}

/// What cannot be read is long ago: then nothing holds.
fn seconds(time: &Asn1TimeRef) -> UnixSeconds {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    let seconds = since.map(|since| i64::from(since.days) * 86_400 + i64::from(since.secs));
    UnixSeconds(
        seconds
            .ok()
            .and_then(|seconds| seconds.try_into().ok())
            .unwrap_or_default(),
    )
}
