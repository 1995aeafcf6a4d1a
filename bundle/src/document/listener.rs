//! A socket that accepts requests, and what it asks of a connection before the
//! first request: the PROXY protocol, TLS, a client certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One socket that accepts requests. In clear it speaks HTTP/1.1 and HTTP/2
/// with prior knowledge (h2c); with `tls`, HTTP/1.1 and HTTP/2 by ALPN.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerDocument {
    /// Address and port: `127.0.0.1:8080`, `[::]:8080`.
    pub address: String,
    /// Serve HTTP/2 as well. Default: true.
    #[serde(default)]
    pub http2: Option<bool>,
    /// Connections begin with a header of the PROXY protocol (version 1 or 2),
    /// whose source is taken for the peer. Others are closed unanswered.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocolDocument>,
    /// TLS towards clients. Without it connections are in clear.
    #[serde(default)]
    pub tls: Option<ListenerTlsDocument>,
}

/// Who speaks the PROXY protocol to this listener.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocolDocument {
    /// The proxies' own addresses or ranges. Whoever else connects is closed
    /// unanswered.
    pub from: Vec<String>,
}

/// TLS towards clients: 1.2 or above, with BoringSSL.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsDocument {
    /// Chosen by the name that the client asks for (SNI) and by what it
    /// supports, in this order. The first is for names that none has.
    pub certificates: Vec<CertificateDocument>,
    /// The oldest version that is accepted. Default: 1.2.
    #[serde(default)]
    pub min_version: Option<TlsVersionName>,
    /// CAs in PEM (relative to this file) that client certificates are verified
    /// against.
    #[serde(default)]
    pub client_ca_file: Option<String>,
    /// Ask clients for a certificate. Default: `optional` with
    /// `client_ca_file`, `none` without.
    #[serde(default)]
    pub client_auth: Option<ClientAuthName>,
    /// Files with a key for session tickets each (relative to this file), so
    /// that instances resume each other's sessions: 48 or 80 random bytes. The
    /// first encrypts, all decrypt. Others may not read them. Default: keys of
    /// this process alone, which it changes itself.
    #[serde(default)]
    pub ticket_key_files: Vec<String>,
}

impl ListenerTlsDocument {
    pub fn client_auth_or_default(&self) -> ClientAuthName {
        self.client_auth.unwrap_or(match self.client_ca_file {
            Some(_) => ClientAuthName::Optional,
            None => ClientAuthName::None,
        })
    }
}

/// A certificate and its key.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateDocument {
    /// The certificate in PEM, followed by its intermediates (relative to this
    /// file). Its DNS names are those that it serves.
    pub cert_file: String,
    /// The private key in PEM: RSA of 2048 bits or more, ECDSA on P-256, P-384
    /// or P-521. Others may not read it, the group may not write it.
    pub key_file: String,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersionName {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthName {
    /// None is asked for.
    None,
    /// One is asked for. Without one, callers are known as anywhere else; one
    /// that cannot be verified ends the handshake.
    Optional,
}
