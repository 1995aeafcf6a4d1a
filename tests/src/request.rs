//! A well-formed request, written down piece by piece; what a test leaves out
//! is what an ordinary caller sends.

use crate::config::keys;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    version: &'static str,
    host: String,
    headers: Vec<(String, String)>,
    body: Option<Body>,
}

#[derive(Clone, Debug)]
enum Body {
    Length(Vec<u8>),
    Chunked { bytes: Vec<u8>, chunk: usize },
}

impl Request {
    /// With the ordinary host and nothing else: no key, no route.
    pub fn bare(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            host: "gw.test".to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// From the caller with the ordinary key, to the route `echo`.
    pub fn new(method: &str, target: &str) -> Self {
        Self::bare(method, target).key(keys::LIVE).route("echo")
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// A handshake (RFC 6455, section 4.1), as far as the gateway looks at it.
    pub fn websocket(target: &str) -> Self {
        Self::get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
    }

    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.replace("x-knoxcall-key", key)
    }

    pub fn route(self, route: &str) -> Self {
        self.replace("x-knoxcall-route", route)
    }

    pub fn environment(self, environment: &str) -> Self {
        self.replace("x-knoxcall-environment", environment)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn headers<'a>(self, headers: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        headers
            .into_iter()
            .fold(self, |request, (name, value)| request.header(name, &value))
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub fn replace(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// A body with Content-Length.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(Body::Length(bytes.into()));
        self
    }

    pub fn json(self, body: &serde_json::Value) -> Self {
        self.replace("content-type", "application/json")
            .body(body.to_string())
    }

    /// A body in chunks of this many bytes.
    pub fn chunked(mut self, bytes: impl Into<Vec<u8>>, chunk: usize) -> Self {
        self.body = Some(Body::Chunked {
            bytes: bytes.into(),
            chunk,
        });
        self
    }

    pub(crate) fn authority(&self) -> &str {
        &self.host
    }

    pub(crate) fn header_lines(&self) -> &[(String, String)] {
        &self.headers
    }

    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} {}\r\nHost: {}\r\n",
            self.method, self.target, self.version, self.host
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            None => {}
            Some(Body::Length(bytes)) => {
                head.push_str(&format!("Content-Length: {}\r\n", bytes.len()));
            }
            Some(Body::Chunked { .. }) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            None => Vec::new(),
            Some(Body::Length(bytes)) => bytes.clone(),
            Some(Body::Chunked { bytes, chunk }) => {
                let mut wire = Vec::new();
                for part in bytes.chunks((*chunk).max(1)) {
                    wire.extend(format!("{:x}\r\n", part.len()).bytes());
                    wire.extend(part);
                    wire.extend(b"\r\n");
                }
                wire.extend(b"0\r\n\r\n");
                wire
            }
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend(self.body_bytes());
        bytes
    }
}
