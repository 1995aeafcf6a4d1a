//! Which connections may be shared. Pingora keys its pool by address, SNI and
//! a few options; it ignores the CA set, the protocol and the address it binds,
//! and of a client's certificate it takes the serial number alone, so that a
//! peer could be handed a connection verified against another's authorities, or
//! one on which somebody else has shown a certificate. Every peer therefore
//! carries a group key: a number that stands for all that makes a connection
//! different.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use knoxcall_bundle::ids::{EnvironmentName, TenantId};
use knoxcall_bundle::{ClientCertificate, UpstreamProtocol};
use knoxcall_filters::table::ServiceTarget;
use pingora::upstreams::peer::HttpPeer;

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    tenant: TenantId,
    environment: EnvironmentName,
    is_tls: bool,
    server_name: String,
    custom_ca: Option<Arc<str>>,
    verifies_chain: bool,
    verifies_name: bool,
    /// Of the chain and its key.
    client_certificate: Option<[u8; 32]>,
    protocol: UpstreamProtocol,
    bound_to: Option<SocketAddr>,
}

/// Numbers are never given twice, so an identity that comes back after a
/// reload finds its own connections and nobody else's.
#[derive(Default)]
pub struct PoolKeys {
    given: Mutex<HashMap<Identity, u64>>,
}

impl PoolKeys {
    /// For a peer that is complete but for this.
    pub fn key(&self, service: &ServiceTarget, peer: &HttpPeer) -> u64 {
        let identity = Identity::of(service, peer);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        // Zero is Pingora's "no group".
        let next = given.len() as u64 + 1;
        *given.entry(identity).or_insert(next)
    }
}

impl Identity {
    fn of(service: &ServiceTarget, peer: &HttpPeer) -> Self {
        let options = &peer.options;
        let bound_to = options.bind_to.as_ref();
        Self {
            tenant: service.tenant,
            environment: service.environment.clone(),
            is_tls: peer.is_tls(),
            server_name: peer.sni.clone(),
            custom_ca: service.upstream.custom_ca.clone(),
            verifies_chain: options.verify_cert,
            verifies_name: options.verify_hostname,
            client_certificate: match &service.upstream.client_certificate {
                Some(ClientCertificate::Held(pair)) => Some(pair.digest),
                Some(ClientCertificate::Unavailable) | None => None,
            },
            protocol: service.upstream.protocol,
            bound_to: bound_to.and_then(|bind| bind.addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::service;
    use boring::asn1::Asn1Time;
    use boring::bn::BigNum;
    use boring::ec::{EcGroup, EcKey};
    use boring::hash::MessageDigest;
    use boring::nid::Nid;
    use boring::pkey::PKey;
    use boring::x509::X509;
    use knoxcall_bundle::ids::HostName;
    use knoxcall_bundle::{KeyPair, Scheme, SecretValue};
    use pingora::upstreams::peer::Peer;
    use pingora::utils::tls::CertKey;
    use uuid::Uuid;

    fn key(keys: &PoolKeys, service: &ServiceTarget) -> u64 {
        let tls = service.target.scheme == Scheme::Https;
        let name = service.upstream.server_name.as_ref();
        let name = name.map_or("api.test", HostName::as_str).to_owned();
        keys.key(service, &HttpPeer::new("192.0.2.1:443", tls, name))
    }

    fn pair(key: &str) -> Option<ClientCertificate> {
        let key = SecretValue::new(key.to_owned());
        let pair = KeyPair::new("the same chain".into(), key);
        Some(ClientCertificate::Held(Arc::new(pair)))
    }

    #[test]
    fn the_same_identity_has_the_same_key() {
        let keys = PoolKeys::default();
        let mut service = service("https://api.test");
        assert_eq!(key(&keys, &service), key(&keys, &service));
        assert_ne!(key(&keys, &service), 0);
        service.upstream.client_certificate = pair("a");
        let with_certificate = key(&keys, &service);
        service.upstream.client_certificate = pair("a");
        assert_eq!(key(&keys, &service), with_certificate);
    }

    #[test]
    fn whatever_makes_a_connection_different_makes_the_key_different() {
        let changes: [fn(&mut ServiceTarget); 9] = [
            |_| {},
            |service| service.tenant = TenantId(Uuid::from_u128(1)),
            |service| service.environment = EnvironmentName::try_from("staging").unwrap(),
            |service| service.upstream.custom_ca = Some("another authority".into()),
            |service| service.target.scheme = Scheme::Http,
            |service| {
                service.upstream.server_name = Some(HostName::try_from("b.test").unwrap());
            },
            |service| service.upstream.client_certificate = pair("a"),
            |service| service.upstream.client_certificate = pair("b"),
            |service| service.upstream.protocol = UpstreamProtocol::Auto,
        ];
        let keys = PoolKeys::default();
        let mut given = changes.map(|change| {
            let mut service = service("https://api.test");
            change(&mut service);
            key(&keys, &service)
        });
        given.sort_unstable();
        assert_eq!(given, std::array::from_fn(|at| at as u64 + 1));
    }

    /// What this module is there for; if it fails, Pingora has learnt better.
    #[test]
    fn pingora_itself_takes_certificates_of_one_serial_and_other_authorities_for_the_same() {
        let pair = || {
            let key = PKey::from_ec_key(EcKey::generate(&p256()).unwrap()).unwrap();
            let mut certificate = X509::builder().unwrap();
            let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
            certificate.set_serial_number(&serial).unwrap();
            certificate.set_pubkey(&key).unwrap();
            let now = Asn1Time::days_from_now(0).unwrap();
            certificate.set_not_before(&now).unwrap();
            certificate.set_not_after(&now).unwrap();
            certificate.sign(&key, MessageDigest::sha256()).unwrap();
            CertKey::new(vec![certificate.build()], key)
        };
        let peer = || HttpPeer::new("192.0.2.1:443", true, "api.test".to_owned());
        let [mut one, mut other] = [peer(), peer()];
        one.client_cert_key = Some(Arc::new(pair()));
        other.client_cert_key = Some(Arc::new(pair()));
        other.options.ca = Some(Arc::new(Box::new([])));
        assert_eq!(one.reuse_hash(), other.reuse_hash());
        (one.group_key, other.group_key) = (1, 2);
        assert_ne!(one.reuse_hash(), other.reuse_hash());
    }

    fn p256() -> EcGroup {
        EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()
    }

    #[test]
    fn verification_and_the_bound_address_make_the_key_different() {
        let changes: [fn(&mut HttpPeer); 4] = [
            |_| {},
            |peer| peer.options.verify_hostname = false,
            |peer| peer.options.verify_cert = false,
            |peer| {
                let mut bind = pingora::connectors::l4::BindTo::default();
                bind.addr = "192.0.2.7:0".parse().ok();
                peer.options.bind_to = Some(bind);
            },
        ];
        let keys = PoolKeys::default();
        let service = service("https://api.test");
        let mut given = changes.map(|change| {
            let mut peer = HttpPeer::new("192.0.2.1:443", true, "api.test".to_owned());
            change(&mut peer);
            keys.key(&service, &peer)
        });
        given.sort_unstable();
        assert_eq!(given, [1, 2, 3, 4]);
    }
}
