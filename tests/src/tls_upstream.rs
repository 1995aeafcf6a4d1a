//! An upstream over TLS that remembers of each request which connection it
//! came on, and what the connection showed of the one who made it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use boring::ssl::{NameType, SslAcceptorBuilder, SslOptions, SslStream, SslVerifyMode, SslVersion};

use crate::tls::{acceptor, common_name};
use crate::wait::DEADLINE;

pub struct TlsUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    stopped: AtomicBool,
}

/// A request, by its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub target: String,
    /// Counted from 0, those that came to nothing included.
    pub connection: usize,
    pub server_name: Option<String>,
    /// The common name of the certificate that was shown.
    pub certificate: Option<String>,
}

impl TlsUpstream {
    /// Answers `200 ok` to every GET. Asks for certificates, and takes any.
    pub fn start(certificate: &Path, key: &Path) -> Self {
        Self::accepting(acceptor(certificate, key))
    }

    /// As `start`, speaking this version of TLS and no other.
    pub fn start_speaking(version: SslVersion, certificate: &Path, key: &Path) -> Self {
        let mut acceptor = acceptor(certificate, key);
        // What a server of today leaves out.
        acceptor.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
        acceptor.set_cipher_list("ALL").unwrap();
        acceptor.set_min_proto_version(Some(version)).unwrap();
        acceptor.set_max_proto_version(Some(version)).unwrap();
        Self::accepting(acceptor)
    }

    fn accepting(mut acceptor: SslAcceptorBuilder) -> Self {
        acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, acceptor, shared) =
                    (stream.unwrap(), acceptor.clone(), theirs.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    let stream = acceptor.accept(stream).ok()?;
                    serve(stream, number, &shared).ok()
                });
            }
        });
        Self { address, shared }
    }

    /// As a `target_base_url`, by this name.
    pub fn url(&self, name: &str) -> String {
        format!("https://{name}:{}", self.address.port())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: SslStream<TcpStream>, number: usize, shared: &Shared) -> io::Result<()> {
    let server_name = stream.ssl().servername(NameType::HOST_NAME);
    let asked = Asked {
        target: String::new(),
        connection: number,
        server_name: server_name.map(str::to_owned),
        certificate: stream.ssl().peer_certificate().as_deref().map(common_name),
    };
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&piece[..count]);
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&read).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = Asked {
            target,
            ..asked.clone()
        };
        shared.asked.lock().unwrap().push(asked);
        read.clear();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
}
