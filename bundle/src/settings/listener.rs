//! A socket that accepts requests, with what its certificates' files held when
//! the configuration was read.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// An upgrade hands each over, and for a while two processes have them all: far
/// below the 1,024 files that a process may have open by default.
pub const MOST_LISTENERS: usize = 256;

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: SocketAddr,
    pub http2: bool,
    /// Whose connections begin with a header of the PROXY protocol; whoever
    /// else connects is refused. `None`: the protocol is not spoken here.
    pub proxy_protocol: Option<Vec<IpNet>>,
    /// `None`: in clear.
    pub tls: Option<ListenerTls>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// Never empty; the first one is for names that none has.
    pub certificates: Vec<Certificate>,
    pub min_version: TlsVersion,
    pub client_auth: ClientAuth,
    /// The first encrypts, all decrypt. Without any the library's own keys do.
    pub ticket_keys: Vec<TicketKey>,
}

/// A certificate with its intermediates, and the key that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// PEM; the certificate comes first.
    pub chain: Arc<str>,
    /// PEM.
    pub key: SecretValue,
    /// In lower case; `*.` at the beginning stands for one label.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClientAuth {
    None,
    /// A certificate that is presented must be verified by one of these CAs.
    Optional {
        authorities: Arc<str>,
    },
}

/// What a session ticket is encrypted and authenticated with.
#[derive(Clone)]
pub struct TicketKey(Zeroizing<Vec<u8>>);

impl Listener {
    /// In clear, without the PROXY protocol.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            http2: true,
            proxy_protocol: None,
            tls: None,
        }
    }

    /// Does it ask something of a connection before the first request?
    pub fn has_rules(&self) -> bool {
        self.tls.is_some() || self.proxy_protocol.is_some() || !self.http2
    }

    /// May it take the other one's place in a running process? What is inside
    /// of `tls` may change, whether there is TLS may not.
    pub fn may_replace(&self, other: &Self) -> bool {
        self.address == other.address
            && self.http2 == other.http2
            && self.proxy_protocol == other.proxy_protocol
            && self.tls.is_some() == other.tls.is_some()
    }
}

impl TicketKey {
    pub const LENGTHS: [usize; 2] = [48, 80];

    /// `None` where it has neither of the lengths.
    pub fn new(material: Zeroizing<Vec<u8>>) -> Option<Self> {
        Self::LENGTHS
            .contains(&material.len())
            .then_some(Self(material))
    }

    pub fn material(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for TicketKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && boring::memcmp::eq(&self.0, &other.0)
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey([redacted])")
    }
}
