//! Version 2: a signature, version and command, family and transport, a length,
//! and so many bytes of addresses and of type-length-value fields, which are
//! skipped.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Source, canonical};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Before the addresses.
const FIXED: usize = 16;
/// Addresses of the longest family (two paths of Unix sockets), and 4 KiB.
const LONGEST_REST: usize = 216 + 4096;
pub(super) const LONGEST: usize = FIXED + LONGEST_REST;

#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy(Family),
}

#[derive(Clone, Copy)]
enum Family {
    Inet,
    Inet6,
    Unix,
    Unspecified,
}

pub(super) fn parse(bytes: &[u8]) -> Header {
    let begin = bytes.get(..SIGNATURE.len()).unwrap_or(bytes);
    if !SIGNATURE.starts_with(begin) {
        return Header::Invalid;
    }
    let fixed = bytes.get(..FIXED).unwrap_or(bytes);
    match fixed.get(SIGNATURE.len()..).unwrap_or_default() {
        [] => Header::NeedMore,
        [0x20 | 0x21] => Header::NeedMore,
        [kind, family, length @ ..] => match (command(*kind, *family), length) {
            (None, _) => Header::Invalid,
            (Some(command), [high, low]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest(command, bytes, length)
            }
            (Some(_), _) => Header::NeedMore,
        },
        [_] => Header::Invalid,
    }
}

fn command(kind: u8, family: u8) -> Option<Command> {
    match (kind, family) {
        // Of a local connection the family is to be ignored.
        (0x20, _) => Some(Command::Local),
        (0x21, 0x00) => Some(Command::Proxy(Family::Unspecified)),
        (0x21, 0x11) => Some(Command::Proxy(Family::Inet)),
        (0x21, 0x21) => Some(Command::Proxy(Family::Inet6)),
        (0x21, 0x31) => Some(Command::Proxy(Family::Unix)),
        // Datagrams among them: this connection carries none.
        _ => None,
    }
}

fn rest(command: Command, bytes: &[u8], length: usize) -> Header {
    if length > LONGEST_REST || length < command.least() {
        return Header::Invalid;
    }
    let consumed = FIXED + length;
    match bytes.get(FIXED..consumed) {
        None => Header::NeedMore,
        Some(addresses) => Header::Done {
            source: command.source(addresses),
            consumed,
        },
    }
}

impl Command {
    /// Bytes of the addresses.
    fn least(self) -> usize {
        match self {
            Self::Local | Self::Proxy(Family::Unspecified) => 0,
            Self::Proxy(Family::Inet) => 12,
            Self::Proxy(Family::Inet6) => 36,
            Self::Proxy(Family::Unix) => 216,
        }
    }

    fn source(self, addresses: &[u8]) -> Source {
        let client = match self {
            Self::Local | Self::Proxy(Family::Unspecified | Family::Unix) => None,
            Self::Proxy(Family::Inet) => inet(addresses),
            Self::Proxy(Family::Inet6) => inet6(addresses),
        };
        client.map_or(Source::Peer, |client| Source::Client(canonical(client)))
    }
}

fn inet(addresses: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = addresses.split_first_chunk::<4>()?;
    let (_destination, ports) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*ports.first_chunk()?);
    Some((Ipv4Addr::from(*source), port).into())
}

fn inet6(addresses: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = addresses.split_first_chunk::<16>()?;
    let (_destination, ports) = rest.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(*ports.first_chunk()?);
    Some((Ipv6Addr::from(*source), port).into())
}
