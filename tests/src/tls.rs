//! Clients over TLS: the openssl program for what a handshake comes to, and a
//! connection that stays open for what happens to it meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use boring::ssl::{
    SslAcceptor, SslAcceptorBuilder, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod,
    SslStream, SslVerifyMode,
};
use boring::x509::X509Ref;

use crate::request::Request;
use crate::wait::DEADLINE;

/// What the openssl program said of a connection.
#[derive(Debug)]
pub struct Dialled {
    pub is_connected: bool,
    /// The certificate, the session, and what was answered; tickets may come
    /// between.
    pub text: String,
    pub errors: String,
}

/// Connects with `openssl s_client`, sends the request, and reads to the end.
pub fn dial(address: SocketAddr, arguments: &[&str], request: &Request) -> Dialled {
    let limit = DEADLINE.as_secs().to_string();
    let mut child = Command::new("timeout")
        .args([&limit, "openssl", "s_client", "-ign_eof"])
        .args(["-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let request = request.clone().header("Connection", "close").bytes();
    // It has ended where the handshake has failed.
    let _ = child.stdin.take().unwrap().write_all(&request);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Dialled {
        is_connected: text.contains("HTTP/1.1 "),
        text,
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Dialled {
    /// The common name of the certificate that was presented.
    pub fn certificate(&self) -> &str {
        let (_, subject) = self.text.split_once("subject=").expect("a certificate");
        let line = subject.lines().next().unwrap();
        line.rsplit("CN = ").next().unwrap()
    }

    pub fn is_resumed(&self) -> bool {
        self.text.contains("Reused, TLS")
    }

    /// Of the answer.
    pub fn status(&self) -> u16 {
        let answer = self.text.split_once("HTTP/1.1 ");
        let (_, answer) = answer.unwrap_or_else(|| panic!("no answer: {self:?}"));
        answer[..3].parse().unwrap()
    }
}

/// One connection over TLS; whom it speaks to is not verified.
pub struct TlsConnection {
    stream: SslStream<TcpStream>,
}

impl TlsConnection {
    pub fn open(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        Self::over(stream, name)
    }

    /// As `open`, with this certificate of the client's.
    pub fn open_as(address: SocketAddr, name: &str, certificate: &Path, key: &Path) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        let mut connector = connector();
        connector.set_certificate_chain_file(certificate).unwrap();
        connector
            .set_private_key_file(key, SslFiletype::PEM)
            .unwrap();
        Self::handshake(connector, stream, name)
    }

    /// On a socket over which something has been said already.
    pub fn over(stream: TcpStream, name: &str) -> Self {
        Self::handshake(connector(), stream, name)
    }

    fn handshake(connector: SslConnectorBuilder, stream: TcpStream, name: &str) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let stream = connector.build().connect(name, stream).unwrap();
        Self { stream }
    }

    /// The common name of the certificate that was presented.
    pub fn certificate(&self) -> String {
        common_name(&self.stream.ssl().peer_certificate().unwrap())
    }

    /// For what is no HTTP.
    pub fn into_stream(self) -> SslStream<TcpStream> {
        self.stream
    }

    /// The head of the answer; its body is read as well.
    pub fn ask(&mut self, request: &Request) -> String {
        self.stream.write_all(&request.bytes()).unwrap();
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).unwrap();
            assert_ne!(count, 0, "the gateway has closed");
            read.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).expect("a length");
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    return head.to_owned();
                }
            }
        }
    }
}

fn connector() -> SslConnectorBuilder {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector
}

pub(crate) fn common_name(certificate: &X509Ref) -> String {
    let name = certificate.subject_name().entries().next().unwrap();
    name.data().as_utf8().unwrap().to_string()
}

/// A server that presents this certificate.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> SslAcceptorBuilder {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(certificate).unwrap();
    acceptor
        .set_private_key_file(key, SslFiletype::PEM)
        .unwrap();
    acceptor
}
