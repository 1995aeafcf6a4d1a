//! A client that sends the bytes it is told to, and reads the answers.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::wait::DEADLINE;
use crate::wire::{Head, Wire};

pub struct RawClient {
    wire: Wire,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with_timeout(address, DEADLINE)
    }

    pub fn connect_with_timeout(address: SocketAddr, timeout: Duration) -> Self {
        let stream = TcpStream::connect_timeout(&address, timeout)
            .unwrap_or_else(|error| panic!("{address} does not accept: {error}"));
        Self {
            wire: Wire::new(stream, timeout),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.send(bytes.as_ref()).expect("the gateway reads");
        self
    }

    /// Sends as much as the peer takes; it may have answered and closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref()).is_ok()
    }

    /// The next answer, interim ones (1xx) included.
    pub fn read_any(&mut self, method: &str) -> Response {
        let head = self
            .wire
            .read_head()
            .expect("an answer")
            .expect("an answer before the close");
        let status = status_of(&head);
        let body = match has_body(method, status) {
            true => read_body(&mut self.wire, &head),
            false => Vec::new(),
        };
        Response { status, head, body }
    }

    /// The next final answer.
    pub fn read(&mut self) -> Response {
        self.read_to("GET")
    }

    /// The next final answer, to a request of this method.
    pub fn read_to(&mut self, method: &str) -> Response {
        loop {
            let response = self.read_any(method);
            if response.status >= 200 {
                return response;
            }
        }
    }

    /// The answer's head and what came of its body before the connection ended
    /// or broke off.
    pub fn read_broken(&mut self) -> (Head, Vec<u8>) {
        let head = self
            .wire
            .read_head()
            .expect("an answer")
            .expect("an answer before the close");
        let rest = self.wire.read_to_end().unwrap_or_default();
        (head, rest)
    }

    /// The answer's head and so much of its body, whatever is still to come.
    pub fn read_begun(&mut self, count: usize) -> (Head, Vec<u8>) {
        let head = self.wire.read_head().expect("an answer");
        let head = head.expect("an answer before the close");
        (head, self.read_exact(count))
    }

    /// `None`: the connection ended before.
    pub fn read_exact_or_end(&mut self, count: usize) -> Option<Vec<u8>> {
        self.wire.read_exact(count).ok()
    }

    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        self.wire.read_exact(count).expect("so many bytes")
    }

    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.wire.read_to_end().expect("the peer closes")
    }

    /// Has the peer closed without another byte?
    pub fn is_closed(&mut self) -> bool {
        self.wire.is_closed()
    }

    pub fn finish(&mut self) -> &mut Self {
        self.wire.finish();
        self
    }

    pub fn local_address(&self) -> SocketAddr {
        self.wire.stream().local_addr().unwrap()
    }

    pub fn set_timeout(&self, timeout: Duration) {
        self.wire.stream().set_read_timeout(Some(timeout)).unwrap();
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.text()))
    }

    pub fn request_id(&self) -> String {
        self.header("x-request-id")
            .expect("X-Request-Id is on every answer")
            .to_owned()
    }

    /// The `type` of our envelope, once its whole form has been checked.
    pub fn error(&self) -> String {
        let document = self.json();
        let envelope = document.as_object().expect("the envelope is an object");
        assert_eq!(envelope.keys().collect::<Vec<_>>(), ["error"]);
        let error = envelope["error"].as_object().expect("`error` is an object");
        assert_eq!(
            error.keys().collect::<Vec<_>>(),
            ["type", "message", "request_id"]
        );
        assert_eq!(error["request_id"], self.request_id().as_str());
        assert!(!error["message"].as_str().expect("a message").is_empty());
        assert_eq!(self.header("content-type"), Some("application/json"));
        error["type"].as_str().expect("a type").to_owned()
    }

    /// Fails the test unless this is our refusal of that status and type.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, kind: &str) {
        assert_eq!(
            (self.status, self.error().as_str()),
            (status, kind),
            "{}",
            self.text()
        );
        assert_eq!(
            self.header("x-knox-upstream-status"),
            None,
            "no upstream answered, yet its status is told"
        );
    }

    /// Fails the test unless the upstream's answer came through.
    #[track_caller]
    pub fn assert_served(&self) {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("x-knox-upstream-status"), Some("200"));
    }

    pub fn keeps_alive(&self) -> bool {
        !self.head.all("connection").iter().any(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("close"))
        })
    }
}

fn status_of(head: &Head) -> u16 {
    head.first_line
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("not a status line: {:?}", head.first_line))
}

fn has_body(method: &str, status: u16) -> bool {
    method != "HEAD" && !(100..200).contains(&status) && status != 204 && status != 304
}

fn read_body(wire: &mut Wire, head: &Head) -> Vec<u8> {
    let body = match (head.is_chunked(), head.length()) {
        (true, _) => wire.read_chunked(),
        (false, Some(length)) => wire.read_exact(length),
        (false, None) => wire.read_to_end(),
    };
    body.unwrap_or_else(|error| panic!("{:?} with a broken body: {error}", head.first_line))
}
