//! An upstream that does what a test says, and remembers every byte of what
//! reached it. A script runs once for each connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::wait::{DEADLINE, eventually};
use crate::wire::{Head, Wire};

pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// One request, as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub head: Head,
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the upstream got no JSON ({error}): {:?}", self.text()))
    }
}

/// A connection, in the hands of a script.
pub struct Session {
    wire: Wire,
    number: usize,
    shared: Arc<Shared>,
}

impl Session {
    /// Which connection this is, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next request, whole; `None` where the gateway closed. Remembered.
    pub fn request(&mut self) -> io::Result<Option<Received>> {
        let Some(mut received) = self.head()? else {
            return Ok(None);
        };
        received.body = self.body(&received)?;
        self.shared.received.lock().unwrap().push(received.clone());
        Ok(Some(received))
    }

    /// The next request's head alone. Not remembered.
    pub fn head(&mut self) -> io::Result<Option<Received>> {
        let Some(head) = self.wire.read_head()? else {
            return Ok(None);
        };
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        Ok(Some(Received {
            method,
            target,
            head,
            body: Vec::new(),
            connection: self.number,
        }))
    }

    pub fn body(&mut self, of: &Received) -> io::Result<Vec<u8>> {
        match (of.head.is_chunked(), of.head.length()) {
            (true, _) => self.wire.read_chunked(),
            (false, Some(length)) => self.wire.read_exact(length),
            (false, None) => Ok(Vec::new()),
        }
    }

    pub fn remember(&mut self, received: Received) {
        self.shared.received.lock().unwrap().push(received);
    }

    pub fn read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.wire.read_exact(count)
    }

    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        self.wire.read_to_end()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// 200 with this body, connection kept.
    pub fn answer(&mut self, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat())
    }

    /// Says no more, and goes on listening.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// Ends the connection by a reset: what is on its way is lost.
    pub fn reset(&mut self) -> io::Result<()> {
        let stream = self.wire.stream().try_clone()?;
        TcpSocket::from_std_stream(stream).set_zero_linger()
    }

    /// Neither reads nor answers until the gateway gives up or the test ends.
    pub fn hang(&mut self) -> io::Result<()> {
        self.wire.read_to_end().map(drop)
    }
}

impl Upstream {
    /// Answers `200 ok` to everything, keeping connections.
    pub fn start() -> Self {
        Self::scripted(|session| {
            while let Some(request) = session.request()? {
                match request.method.as_str() {
                    "HEAD" => session.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")?,
                    _ => session.answer("ok")?,
                }
            }
            Ok(())
        })
    }

    /// Answers everything with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(move |session| {
            while session.request()?.is_some() {
                session.send(&bytes)?;
            }
            Ok(())
        })
    }

    pub fn scripted(
        script: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || accept(&listener, &theirs, &Arc::new(script)));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a `target_base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The one request that arrived.
    #[track_caller]
    pub fn only_request(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "the upstream got {requests:#?}");
        requests[0].clone()
    }

    #[track_caller]
    pub fn last_request(&self) -> Received {
        self.requests()
            .last()
            .expect("the upstream got a request")
            .clone()
    }

    /// For refusals: nothing may have been sent.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let requests = self.requests();
        assert!(requests.is_empty(), "the upstream got {requests:#?}");
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn wait_for_requests(&self, count: usize) {
        eventually("requests at the upstream", || {
            (self.requests().len() >= count).then_some(())
        });
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept<F>(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<F>)
where
    F: Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut session = Session {
            wire: Wire::new(stream, DEADLINE),
            number,
            shared: shared.clone(),
        };
        let script = script.clone();
        // A broken connection is the gateway's to notice, not the script's.
        std::thread::spawn(move || drop(script(&mut session)));
    }
}
