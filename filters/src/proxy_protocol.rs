//! The PROXY protocol's header, versions 1 (text) and 2 (binary), by which a
//! proxy tells on whose behalf it connects:
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
//!
//! It is judged from the bytes so far: what was refused stays refused, and what
//! was complete stays what it was, whatever comes behind it. Lengths are
//! bounded, so that nobody makes us keep much.

mod binary;
#[cfg(test)]
mod tests;
mod text;

use std::net::SocketAddr;

/// What is known after the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// All bytes so far belong to the header.
    NeedMore,
    Done {
        source: Source,
        /// Bytes of the header; the connection's own begin behind it.
        consumed: usize,
    },
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Whom the proxy speaks for. IPv4-mapped addresses appear as IPv4.
    Client(SocketAddr),
    /// The proxy speaks for itself (a health check), or for one that has no
    /// Internet address: the socket's peer counts.
    Peer,
}

/// The longest header of either version.
pub const LONGEST: usize = binary::LONGEST;

/// Judges what a connection begins with.
pub fn parse(bytes: &[u8]) -> Header {
    match bytes.first() {
        None => Header::NeedMore,
        Some(b'P') => text::parse(bytes),
        Some(_) => binary::parse(bytes),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
