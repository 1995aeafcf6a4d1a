//! HTTP/2 as frames (RFC 9113, section 4) that nobody has checked: what no
//! library would send, from either end.

use std::io;
use std::net::SocketAddr;

use crate::client::RawClient;
use crate::upstream::Session;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

/// Flags of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const ACK: u8 = 1;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame but for its stream.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

/// Names and values as literals without indexing and without Huffman's code
/// (RFC 7541, section 6.2.2), in this order.
pub fn headers(fields: &[(&str, &str)], flags: u8) -> Frame {
    let mut payload = Vec::new();
    for (name, value) in fields {
        payload.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 0x7f, "a length of one byte");
            payload.push(length);
            payload.extend_from_slice(text.as_bytes());
        }
    }
    Frame {
        kind: HEADERS,
        flags: END_HEADERS | flags,
        payload,
    }
}

pub fn data(bytes: impl Into<Vec<u8>>, flags: u8) -> Frame {
    Frame {
        kind: DATA,
        flags,
        payload: bytes.into(),
    }
}

impl Frame {
    pub fn on(&self, stream: u32) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn read(mut read: impl FnMut(usize) -> Option<Vec<u8>>) -> Option<(Self, u32)> {
        let head = read(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Self {
            kind: head[3],
            flags: head[4],
            payload: read(length as usize)?,
        };
        Some((frame, stream))
    }

    fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// What became of a request on stream 1.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    /// The stream or the connection was ended.
    Refused,
}

/// Sends these frames on stream 1 of a connection of its own.
pub fn ask(address: SocketAddr, frames: &[Frame]) -> Outcome {
    let settings = Frame {
        kind: SETTINGS,
        flags: 0,
        payload: Vec::new(),
    };
    let mut bytes = [PREFACE, &settings.on(0)].concat();
    for frame in frames {
        bytes.extend(frame.on(1));
    }
    let mut client = RawClient::connect(address);
    client.try_send(bytes);
    loop {
        let Some((frame, _)) = Frame::read(|count| client.read_exact_or_end(count)) else {
            return Outcome::Refused;
        };
        match frame.kind {
            HEADERS => return Outcome::Answered(status(&frame.payload)),
            RESET | GO_AWAY => return Outcome::Refused,
            _ => {}
        }
    }
}

/// The `:status` that stands first.
fn status(block: &[u8]) -> u16 {
    // Entries 8 to 14 of the static table (RFC 7541, appendix A).
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        other => panic!("a status in words: {other:#x}"),
    }
}

/// The upstream's side of a connection: each request is answered with the
/// frames that `answer` gives for it, once it is whole.
pub fn answer_with(session: &mut Session, answer: impl Fn() -> Vec<Frame>) -> io::Result<()> {
    session.read(PREFACE.len())?;
    let control = |kind, flags, payload| Frame {
        kind,
        flags,
        payload,
    };
    session.send(control(SETTINGS, 0, Vec::new()).on(0))?;
    while let Some((frame, stream)) = Frame::read(|count| session.read(count).ok()) {
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) => session.send(control(SETTINGS, ACK, Vec::new()).on(0))?,
            (PING, 0) => session.send(control(PING, ACK, frame.payload).on(0))?,
            _ if frame.ends_stream() => {
                for frame in answer() {
                    session.send(frame.on(stream))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
