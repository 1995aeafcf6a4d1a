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

/// A setting (section 6.5.2), and a code of an error (section 7).
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const REFUSED_STREAM: u32 = 7;

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

    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// Of SETTINGS, where it names this one.
    pub fn setting(&self, name: u16) -> Option<u32> {
        let mut settings = self.payload.chunks_exact(6);
        let found = settings.find(|setting| setting[..2] == name.to_be_bytes())?;
        Some(u32::from_be_bytes(found[2..].try_into().unwrap()))
    }

    /// Of RST_STREAM.
    pub fn error_code(&self) -> u32 {
        u32::from_be_bytes(self.payload[..].try_into().unwrap())
    }

    /// The `:status` of HEADERS, which stands first.
    pub fn status(&self) -> u16 {
        status(&self.payload)
    }
}

/// A client's connection, of which every frame is seen.
pub struct Conversation {
    client: RawClient,
}

impl Conversation {
    /// With these bytes in one packet behind the preface.
    pub fn begin(address: SocketAddr, frames: &[u8]) -> Self {
        let settings = Frame {
            kind: SETTINGS,
            flags: 0,
            payload: Vec::new(),
        };
        let mut client = RawClient::connect(address);
        client.try_send([PREFACE, &settings.on(0), frames].concat());
        Self { client }
    }

    pub fn send(&mut self, frames: &[u8]) {
        self.client.send(frames);
    }

    /// `None`: the connection has ended.
    pub fn read(&mut self) -> Option<(Frame, u32)> {
        Frame::read(|count| self.client.read_exact_or_end(count))
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
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.on(1)).collect();
    let mut conversation = Conversation::begin(address, &bytes);
    while let Some((frame, _)) = conversation.read() {
        match frame.kind {
            HEADERS => return Outcome::Answered(frame.status()),
            RESET | GO_AWAY => return Outcome::Refused,
            _ => {}
        }
    }
    Outcome::Refused
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
