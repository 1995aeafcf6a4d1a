//! One POST over a connection of its own, HTTP/1.1 (RFC 9112). Of the answer
//! only the head is read: what is done next is told by its status.

use std::io::{self, Read, Write};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, Response};
use knoxcall_bundle::SecretValue;
use thiserror::Error;
use zeroize::Zeroizing;

const LONGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 64;

#[derive(Debug, Error)]
pub enum ExchangeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its answer ends before its head does")]
    Truncated,
    #[error("its answer has too long a head")]
    TooLong,
    #[error("its answer is not HTTP/1.1")]
    Malformed,
}

/// What is posted, and where to.
pub struct Post<'p> {
    pub host: &'p str,
    pub path: &'p str,
    pub content_type: &'static str,
    pub headers: &'p [(HeaderName, SecretValue)],
    pub body: &'p [u8],
}

impl Post<'_> {
    pub fn send(&self, stream: &mut (impl Read + Write)) -> Result<Response<Bytes>, ExchangeError> {
        stream.write_all(&self.head()?)?;
        stream.write_all(self.body)?;
        stream.flush()?;
        read_head(stream)
    }

    fn head(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        // With room for all of it: what a vector grows out of is not zeroised.
        let own: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.expose().len() + 4)
            .sum();
        let mut head = Zeroizing::new(Vec::with_capacity(
            512 + self.host.len() + self.path.len() + own,
        ));
        write!(
            head,
            "POST {} HTTP/1.1\r\n{HOST}: {}\r\n",
            self.path, self.host
        )?;
        let agent = concat!("knoxcall/", env!("CARGO_PKG_VERSION"));
        write!(
            head,
            "{USER_AGENT}: {agent}\r\n{CONTENT_TYPE}: {}\r\n",
            self.content_type
        )?;
        write!(
            head,
            "content-length: {}\r\nconnection: close\r\n",
            self.body.len()
        )?;
        for (name, value) in self.headers {
            write!(head, "{name}: {}\r\n", value.expose())?;
        }
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }
}

fn read_head(stream: &mut impl Read) -> Result<Response<Bytes>, ExchangeError> {
    let mut received = Vec::with_capacity(1024);
    let mut part = [0; 1024];
    loop {
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Err(ExchangeError::Truncated);
        }
        received.extend_from_slice(part.get(..count).unwrap_or_default());
        if let Some(answer) = parsed(&received)? {
            return Ok(answer);
        }
        if received.len() > LONGEST_HEAD {
            return Err(ExchangeError::TooLong);
        }
    }
}

/// `None`: there is more to come.
fn parsed(received: &[u8]) -> Result<Option<Response<Bytes>>, ExchangeError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(received).map_err(|_| ExchangeError::Malformed)?;
    let (httparse::Status::Complete(_), Some(code)) = (status, head.code) else {
        return Ok(None);
    };
    let mut answer = Response::builder().status(code);
    let named =
        |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(RETRY_AFTER.as_str());
    if let Some(wait) = head.headers.iter().find(|field| named(field)) {
        answer = answer.header(RETRY_AFTER, wait.value);
    }
    let answer = answer.body(Bytes::new());
    answer.map(Some).map_err(|_| ExchangeError::Malformed)
}

#[cfg(test)]
mod tests;
