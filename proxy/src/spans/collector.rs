//! The collector, as the OTLP exporter sees it: something that takes a body and
//! answers with a status. Everything here blocks, on the exporter's own thread;
//! that way nothing of it can take time from requests, and no second HTTP and
//! TLS stack comes into the process.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use boring::error::ErrorStack;
use boring::ssl::{SslConnector, SslMethod, SslVersion};
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderName, Request, Response, Uri};
use knoxcall_bundle::SecretValue;
use knoxcall_bundle::settings::Tracing;
use opentelemetry_http::{HttpClient, HttpError};
use thiserror::Error;

use super::exchange::{ExchangeError, Post};
use super::outage::Outage;
use super::timed::Timed;

#[derive(Debug, Error)]
enum CollectorError {
    #[error("its name does not resolve: {0}")]
    Resolve(io::Error),
    #[error("it cannot be reached: {0}")]
    Connect(io::Error),
    /// Not quoted: what it says is of no use to an operator.
    #[error("no TLS connection that can be trusted")]
    Tls,
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
}

pub struct Collector {
    url: Uri,
    headers: Vec<(HeaderName, SecretValue)>,
    timeout: Duration,
    /// `None`: in clear.
    tls: Option<SslConnector>,
    outage: Outage,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Collector {
    pub fn new(tracing: &Tracing) -> Result<Self, ErrorStack> {
        let is_secure = tracing.traces_url.scheme() == Some(&Scheme::HTTPS);
        Ok(Self {
            url: tracing.traces_url.clone(),
            headers: tracing.headers.clone(),
            timeout: tracing.timeout,
            tls: is_secure.then(connector).transpose()?,
            outage: Outage::default(),
        })
    }

    fn post(&self, body: &[u8]) -> Result<Response<Bytes>, CollectorError> {
        let post = Post {
            host: self.url.authority().map_or("", |name| name.as_str()),
            path: self.url.path(),
            content_type: "application/x-protobuf",
            headers: &self.headers,
            body,
        };
        let mut stream = self.connect(Instant::now() + self.timeout)?;
        match &self.tls {
            None => Ok(post.send(&mut stream)?),
            Some(tls) => {
                let mut stream = tls
                    .connect(self.host(), stream)
                    .map_err(|_| CollectorError::Tls)?;
                Ok(post.send(&mut stream)?)
            }
        }
    }

    /// At the first of its addresses that accepts.
    #[expect(
        clippy::disallowed_methods,
        reason = "no worker: the exporter's own thread"
    )]
    fn connect(&self, deadline: Instant) -> Result<Timed, CollectorError> {
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(default);
        let addresses = (self.host(), port).to_socket_addrs();
        let mut failed = io::ErrorKind::NotFound.into();
        for address in addresses.map_err(CollectorError::Resolve)? {
            match Timed::connect(address, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(CollectorError::Connect(failed))
    }

    /// An IPv6 address stands in brackets in a URL, and there alone.
    fn host(&self) -> &str {
        let host = self.url.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host)
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// The request's headers are not looked at: the exporter would take some
    /// from the environment, and only the configuration says what is sent.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.post(request.body());
        match &answer {
            Ok(answer) if answer.status().is_success() => self.outage.over(),
            Ok(answer) => self.outage.begun(&answer.status()),
            Err(error) => self.outage.begun(error),
        }
        Ok(answer?)
    }
}

fn connector() -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    if let Some(roots) = openssl_probe::probe().cert_file {
        builder.set_ca_file(roots)?;
    }
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    Ok(builder.build())
}
