//! TLS towards clients, with BoringSSL: a context a certificate, made once with
//! the snapshot. A handshake begins with the first one's and goes on with the
//! one that [`choice`] finds for it.
//!
//! Whatever a connection negotiates before its certificate is chosen (versions,
//! tickets, client certificates) is the same in all of a listener's contexts.

mod choice;
mod client_certificate;
mod tickets;

use std::sync::Arc;

use boring::error::ErrorStack;
use boring::pkey::{PKey, PKeyRef, Private};
use boring::sha::Sha256;
use boring::ssl::{
    AlpnError, ClientHello, NameType, SelectCertError, Ssl, SslAcceptor, SslAcceptorBuilder,
    SslContext, SslContextBuilder, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion,
    select_next_proto,
};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use knoxcall_bundle::settings::{Certificate, ClientAuth, ListenerTls, TlsVersion};
use knoxcall_filters::ClientCertificate;
use pingora::protocols::tls::SslStream;
use thiserror::Error;

use self::choice::{Choice, KeyKind, Offer};
pub use self::client_certificate::JudgedCertificate;
use self::tickets::TicketKeys;
use super::socket::ClientSocket;

const H2: &[u8] = b"h2";
const BOTH: &[u8] = b"\x02h2\x08http/1.1";
const HTTP1: &[u8] = b"\x08http/1.1";

/// Between a client's certificate and a CA. Signatures are computed of what
/// anybody may send.
const MOST_INTERMEDIATES: u32 = 4;

/// The configuration has been checked, so that this is BoringSSL's own trouble.
#[derive(Debug, Error)]
#[error("listeners: TLS cannot be set up: {0}")]
pub struct TlsError(#[from] ErrorStack);

pub struct TlsServer {
    context: SslContext,
    /// Stands for the CAs that client certificates are verified by.
    authorities: [u8; 32],
}

pub enum Handshake {
    Done {
        stream: SslStream<ClientSocket>,
        alpn_h2: bool,
        certificate: Option<JudgedCertificate>,
        resumed: bool,
    },
    Failed,
}

impl TlsServer {
    pub fn new(settings: &ListenerTls, http2: bool) -> Result<Self, TlsError> {
        let mut builders = Vec::with_capacity(settings.certificates.len());
        let mut presented = Vec::with_capacity(settings.certificates.len());
        for certificate in &settings.certificates {
            let key = PKey::private_key_from_pem(certificate.key.expose().as_bytes())?;
            builders.push(builder(certificate, &key, settings, http2)?);
            presented.push((certificate.names.as_slice(), KeyKind::of(&key)));
        }
        let choice = Choice::new(presented);
        let mut builders = builders.into_iter();
        let mut first = builders.next().ok_or_else(ErrorStack::get)?;
        let others: Box<[SslContext]> = builders
            .map(|builder| builder.build().into_context())
            .collect();
        if !others.is_empty() {
            // Of the first one nothing is kept in here: it keeps this.
            first.set_select_certificate_callback(move |hello| select(hello, &choice, &others));
        }
        Ok(Self {
            context: first.build().into_context(),
            authorities: authorities(&settings.client_auth),
        })
    }

    /// A connection's certificate by the CAs of this configuration.
    pub fn judge(&self, judged: &JudgedCertificate) -> Arc<ClientCertificate> {
        judged.under(&self.authorities)
    }

    pub async fn handshake(&self, socket: ClientSocket) -> Handshake {
        let Ok(ssl) = Ssl::new(&self.context) else {
            return Handshake::Failed;
        };
        let Ok(mut stream) = SslStream::new(ssl, socket) else {
            return Handshake::Failed;
        };
        if let Err(error) = stream.accept().await {
            tracing::debug!(%error, "a TLS handshake has failed");
            return Handshake::Failed;
        }
        let ssl = stream.ssl();
        Handshake::Done {
            alpn_h2: ssl.selected_alpn_protocol() == Some(H2),
            certificate: JudgedCertificate::of(ssl, self.authorities),
            resumed: ssl.session_reused(),
            stream,
        }
    }
}

fn select(
    mut hello: ClientHello<'_>,
    choice: &Choice,
    others: &[SslContext],
) -> Result<(), SelectCertError> {
    let chosen = choice.choose(hello.servername(NameType::HOST_NAME), &Offer::of(&hello));
    let other = chosen.checked_sub(1).and_then(|index| others.get(index));
    match other {
        None => Ok(()),
        Some(context) => hello
            .ssl_mut()
            .set_ssl_context(context)
            .map_err(|_| SelectCertError::ERROR),
    }
}

fn builder(
    certificate: &Certificate,
    key: &PKeyRef<Private>,
    settings: &ListenerTls,
    http2: bool,
) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    builder.set_min_proto_version(Some(match settings.min_version {
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    present(&mut builder, &certificate.chain)?;
    builder.set_private_key(key)?;
    builder.check_private_key()?;
    let protocols = if http2 { BOTH } else { HTTP1 };
    builder.set_alpn_select_callback(move |_, offered| {
        // RFC 7301, section 3.2: no protocol in common is fatal.
        select_next_proto(protocols, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    // Sessions live in tickets: nothing is kept here for clients that have gone.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // One that was begun under other CAs is not resumed: it would bring a
    // certificate with it that these have not verified.
    builder.set_session_id_context(&authorities(&settings.client_auth))?;
    verify(&mut builder, &settings.client_auth)?;
    if let Some(keys) = TicketKeys::new(&settings.ticket_keys) {
        tickets::share(&mut builder, keys);
    }
    Ok(builder)
}

fn present(builder: &mut SslContextBuilder, chain: &str) -> Result<(), ErrorStack> {
    let mut chain = X509::stack_from_pem(chain.as_bytes())?.into_iter();
    let leaf = chain.next().ok_or_else(ErrorStack::get)?;
    builder.set_certificate(&leaf)?;
    for intermediate in chain {
        builder.add_extra_chain_cert(intermediate)?;
    }
    Ok(())
}

fn authorities(client_auth: &ClientAuth) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // Another label than that of versions which took whatever is in a session
    // for verified: neither resumes the other's.
    hasher.update(b"knoxcall judged client certificates\0");
    match client_auth {
        ClientAuth::None => {}
        ClientAuth::Optional { authorities } => hasher.update(authorities.as_bytes()),
    }
    hasher.finish()
}

/// The handshake goes on without a certificate, and with one that does not
/// verify: its holder hears the same 401 as any unknown caller, and no more. What
/// BoringSSL has found wrong stays with the session, in its tickets too.
fn verify(builder: &mut SslContextBuilder, client_auth: &ClientAuth) -> Result<(), ErrorStack> {
    let authorities = match client_auth {
        ClientAuth::None => return Ok(()),
        ClientAuth::Optional { authorities } => authorities,
    };
    let mut store = X509StoreBuilder::new()?;
    for authority in X509::stack_from_pem(authorities.as_bytes())? {
        builder.add_client_ca(&authority)?;
        store.add_cert(&authority)?;
    }
    builder.set_verify_cert_store(store.build())?;
    builder.set_verify_depth(MOST_INTERMEDIATES);
    builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    Ok(())
}
