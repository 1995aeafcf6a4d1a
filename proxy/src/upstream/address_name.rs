//! Upstreams that are named by an IP address, over TLS. Pingora would compare
//! the address as if it were a DNS name: a certificate for `*.0.0.1` would do
//! for 127.0.0.1, and one that truly names the address would not. So the chain
//! is verified by the handshake, and the name (RFC 9110, section 4.3.4: an
//! iPAddress among the subject's alternative names) here.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use boring::ssl::SslRef;
use boring::x509::X509Ref;
use pingora::protocols::tls::SslDigest;
use pingora::upstreams::peer::HttpPeer;

/// Left in a connection's digest by a handshake whose certificate names the
/// address; stays with the connection in the pool.
struct AddressNamed;

/// Makes the peer's name its address.
pub fn verify_by_address(peer: &mut HttpPeer, address: IpAddr) {
    peer.options.verify_hostname = false;
    peer.options.upstream_tls_handshake_complete_hook = Some(Arc::new(move |tls: &SslRef| {
        let named = tls
            .peer_certificate()
            .is_some_and(|certificate| names(&certificate, address));
        named.then(|| Arc::new(AddressNamed) as Arc<dyn Any + Send + Sync>)
    }));
}

/// Is the connection to somebody who may bear the peer's name? To be asked of
/// every connection before it is used.
pub fn is_named(peer: &HttpPeer, tls: Option<&SslDigest>) -> bool {
    if !peer.is_tls() || peer.options.verify_hostname {
        return true;
    }
    tls.is_some_and(|tls| tls.extension.get::<AddressNamed>().is_some())
}

fn names(certificate: &X509Ref, address: IpAddr) -> bool {
    let names = certificate.subject_alt_names();
    names
        .iter()
        .flatten()
        .any(|name| match (name.ipaddress(), address) {
            (Some(bytes), IpAddr::V4(v4)) => *bytes == v4.octets(),
            (Some(bytes), IpAddr::V6(v6)) => *bytes == v6.octets(),
            (None, _) => false,
        })
}
