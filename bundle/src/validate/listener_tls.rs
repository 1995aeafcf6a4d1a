//! A listener's TLS: certificates with the keys that belong to them, CAs for
//! clients, keys of session tickets.

use boring::nid::Nid;
use boring::pkey::{Id, PKey, PKeyRef, Private};
use boring::x509::{X509, X509Ref};

use crate::document::{CertificateDocument, ClientAuthName, ListenerTlsDocument, TlsVersionName};
use crate::problem::{At, Problems};
use crate::settings::{Certificate, ClientAuth, ListenerTls, TlsVersion};

use super::{Sources, Unavailable};

const LEAST_RSA_BITS: u32 = 2048;
const CURVES: [Nid; 3] = [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1];

pub(super) fn tls(
    document: &ListenerTlsDocument,
    sources: &mut dyn Sources,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<ListenerTls> {
    let certificates = certificates(document, sources, &at.key("certificates"), problems);
    let client_auth = client_auth(document, sources, at, problems);
    let ticket_keys = document.ticket_key_files.iter().enumerate();
    let tickets_at = at.key("ticket_key_files");
    let ticket_keys = ticket_keys
        .filter_map(|(index, file)| {
            let key = sources.ticket_key(file);
            told(key, &tickets_at.index(index), problems)
        })
        .collect();
    (!certificates.is_empty()).then_some(ListenerTls {
        certificates,
        min_version: match document.min_version {
            None | Some(TlsVersionName::Tls12) => TlsVersion::Tls12,
            Some(TlsVersionName::Tls13) => TlsVersion::Tls13,
        },
        client_auth: client_auth?,
        ticket_keys,
    })
}

fn certificates(
    document: &ListenerTlsDocument,
    sources: &mut dyn Sources,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<Certificate> {
    if document.certificates.is_empty() {
        problems.add(at, "is empty", "name a certificate and its key");
    }
    let certificates = document.certificates.iter().enumerate();
    certificates
        .filter_map(|(index, document)| {
            let at = at.index(index);
            let certificate = certificate(document, sources, &at, problems)?;
            if index > 0 && certificate.names.is_empty() {
                let remedy = "give it subject alternative names, or name it first, as the default";
                let message = "has no DNS name that a client could ask for";
                problems.add(&at.key("cert_file"), message, remedy);
            }
            Some(certificate)
        })
        .collect()
}

fn certificate(
    document: &CertificateDocument,
    sources: &mut dyn Sources,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Certificate> {
    let (chain_at, key_at) = (at.key("cert_file"), at.key("key_file"));
    let chain = told(
        sources.certificates(&document.cert_file),
        &chain_at,
        problems,
    );
    let key = told(sources.private_key(&document.key_file), &key_at, problems);
    let (chain, key) = (chain?, key?);
    let Ok(parsed) = PKey::private_key_from_pem(key.expose().as_bytes()) else {
        let remedy = "it begins with -----BEGIN PRIVATE KEY-----, without a passphrase";
        problems.add(&key_at, "the file holds no private key in PEM", remedy);
        return None;
    };
    let leaf = X509::from_pem(chain.as_bytes()).ok()?;
    if !belongs(&leaf, &parsed) {
        let remedy = "the first certificate in cert_file is the one of the key";
        problems.add(&key_at, "is not the key of this certificate", remedy);
    } else if let Some(weakness) = weakness(&parsed) {
        let remedy = "RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521";
        problems.add(&key_at, weakness, remedy);
    }
    let names = names(&leaf);
    Some(Certificate { chain, key, names })
}

fn belongs(certificate: &X509Ref, key: &PKeyRef<Private>) -> bool {
    certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(key))
}

fn weakness(key: &PKeyRef<Private>) -> Option<String> {
    match key.id() {
        Id::RSA if key.bits() >= LEAST_RSA_BITS => None,
        Id::RSA => Some(format!("is an RSA key of {} bits", key.bits())),
        Id::EC => {
            let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
            let is_known = curve.is_some_and(|curve| CURVES.contains(&curve));
            (!is_known).then(|| "is on a curve that clients do not know".to_owned())
        }
        _ => Some("is of a kind that clients do not know".to_owned()),
    }
}

/// DNS names that a client could ask for (RFC 6066, section 3).
fn names(certificate: &X509Ref) -> Vec<String> {
    let names = certificate.subject_alt_names();
    let names = names.iter().flatten().filter_map(|name| name.dnsname());
    let is_name = |name: &String| {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        !rest.is_empty() && !rest.contains('*')
    };
    names.map(str::to_ascii_lowercase).filter(is_name).collect()
}

fn client_auth(
    document: &ListenerTlsDocument,
    sources: &mut dyn Sources,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<ClientAuth> {
    let file = document.client_ca_file.as_deref();
    let at_file = at.key("client_ca_file");
    let authorities = file.map(|file| told(sources.certificates(file), &at_file, problems));
    match (document.client_auth_or_default(), authorities) {
        (ClientAuthName::None, _) => Some(ClientAuth::None),
        (ClientAuthName::Optional, Some(authorities)) => Some(ClientAuth::Optional {
            authorities: authorities?,
        }),
        (ClientAuthName::Optional, None) => {
            let remedy = "name the CAs that client certificates are verified against";
            problems.add(&at_file, "is missing", remedy);
            None
        }
    }
}

fn told<T>(result: Result<T, Unavailable>, at: &At<'_>, problems: &mut Problems) -> Option<T> {
    result
        .map_err(|error| problems.add(at, error.message, error.remedy))
        .ok()
}
