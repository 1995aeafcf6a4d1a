//! WebSockets by a library that others use too, on both ends of the gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use boring::ssl::SslStream;
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::server::{Request as Handshake, Response as Accepted};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::config::keys;
use crate::gateway::Gateway;
use crate::tls::acceptor;
use crate::wait::DEADLINE;

pub type Socket<S = TcpStream> = WebSocket<S>;
/// An answer that is another one.
pub type NoUpgrade = http::Response<Option<Vec<u8>>>;
pub type TlsSocket = Socket<SslStream<TcpStream>>;

/// A server that runs a script for each WebSocket, and agrees to any protocol.
pub struct WebSocketUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    handshakes: Mutex<Vec<HeaderMap>>,
    stopped: AtomicBool,
}

impl WebSocketUpstream {
    pub fn start(script: impl Fn(&mut Socket) + Send + Sync + 'static) -> Self {
        Self::listen(Some, script)
    }

    /// As `start`, with this certificate.
    pub fn start_over_tls(
        certificate: &Path,
        key: &Path,
        script: impl Fn(&mut TlsSocket) + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(certificate, key).build();
        Self::listen(move |stream| acceptor.accept(stream).ok(), script)
    }

    fn listen<S: Read + Write>(
        open: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
        script: impl Fn(&mut Socket<S>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (theirs, serve) = (shared.clone(), Arc::new((open, script)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared, serve) = (stream.unwrap(), theirs.clone(), serve.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    stream.set_write_timeout(Some(DEADLINE)).unwrap();
                    let (open, script) = &*serve;
                    let stream = open(stream)?;
                    script(&mut accept(stream, &shared)?);
                    Some(())
                });
            }
        });
        Self { address, shared }
    }

    /// Sends every message back, until it is told to close.
    pub fn echo() -> Self {
        Self::start(|socket| {
            while let Ok(message) = socket.read() {
                if message.is_text() || message.is_binary() {
                    let _ = socket.send(message);
                }
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The headers of every handshake that arrived.
    pub fn handshakes(&self) -> Vec<HeaderMap> {
        self.shared.handshakes.lock().unwrap().clone()
    }
}

impl Drop for WebSocketUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

#[allow(
    clippy::result_large_err,
    reason = "the library's own form of a callback"
)]
fn accept<S: Read + Write>(stream: S, shared: &Shared) -> Option<Socket<S>> {
    let note = |request: &Handshake, mut accepted: Accepted| {
        let headers = request.headers().clone();
        if let Some(protocol) = headers.get(SEC_WEBSOCKET_PROTOCOL) {
            let ours = accepted.headers_mut();
            ours.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        shared.handshakes.lock().unwrap().push(headers);
        Ok(accepted)
    };
    tungstenite::accept_hdr(stream, note).ok()
}

/// Opens a WebSocket through the gateway.
#[track_caller]
pub fn open(gateway: &Gateway) -> Socket {
    open_with(gateway, &[("x-knoxcall-key", keys::LIVE)]).expect("the upgrade")
}

/// With these headers. The error is an answer that is no upgrade.
pub fn open_with(gateway: &Gateway, headers: &[(&str, &str)]) -> Result<Socket, Box<NoUpgrade>> {
    let stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    open_over(stream, headers)
}

/// As `open_with`, on a connection that is there.
pub fn open_over<S: Read + Write>(
    stream: S,
    headers: &[(&str, &str)],
) -> Result<Socket<S>, Box<NoUpgrade>> {
    let request = http::Request::get("ws://gw.test/socket")
        .header("host", "gw.test")
        .header("x-knoxcall-route", "echo")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(())
        .unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer),
        Err(error) => panic!("no handshake: {error}"),
    }
}

/// A frame of a text that comes in several: `opens` it, or `closes` it.
pub fn fragment(text: impl AsRef<[u8]>, opens: bool, closes: bool) -> Message {
    let kind = if opens { Data::Text } else { Data::Continue };
    let text = text.as_ref().to_vec();
    Message::Frame(Frame::message(text, OpCode::Data(kind), closes))
}

/// The code of the close that comes next; what comes before is passed over.
#[track_caller]
pub fn close_code<S: Read + Write>(socket: &mut Socket<S>) -> u16 {
    loop {
        match socket.read() {
            Ok(Message::Close(Some(CloseFrame { code, .. }))) => return code.into(),
            Ok(Message::Close(None)) => panic!("a close without a code"),
            Ok(_) => {}
            Err(error) => panic!("no close: {error}"),
        }
    }
}
