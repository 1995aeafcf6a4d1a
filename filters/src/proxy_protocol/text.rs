//! Version 1: one line of US-ASCII, such as
//! `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`. Exactly one space between
//! fields, no leading zeros, CR LF within 107 bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, Source, canonical};

/// With its CR LF.
const LONGEST: usize = 107;
const BEGIN: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";

pub(super) fn parse(bytes: &[u8]) -> Header {
    let begin = bytes.get(..BEGIN.len()).unwrap_or(bytes);
    if !BEGIN.starts_with(begin) {
        return Header::Invalid;
    }
    let within = bytes.get(..LONGEST).unwrap_or(bytes);
    let is_text = |byte: &u8| (0x20..0x7f).contains(byte);
    let Some(end) = within.iter().position(|byte| !is_text(byte)) else {
        return open(within.len() < LONGEST);
    };
    match within.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => line(within.get(..end).unwrap_or_default(), end + 2),
        [b'\r'] => open(end + 2 <= LONGEST),
        _ => Header::Invalid,
    }
}

/// Without an end so far.
fn open(may_end: bool) -> Header {
    match may_end {
        true => Header::NeedMore,
        false => Header::Invalid,
    }
}

fn line(line: &[u8], consumed: usize) -> Header {
    let Some(fields) = line.strip_prefix(BEGIN) else {
        return Header::Invalid;
    };
    let source = match fields.strip_prefix(UNKNOWN) {
        // What follows it is to be ignored.
        Some([] | [b' ', ..]) => Some(Source::Peer),
        Some(_) => None,
        None => std::str::from_utf8(fields).ok().and_then(client),
    };
    match source {
        Some(source) => Header::Done { source, consumed },
        None => Header::Invalid,
    }
}

fn client(fields: &str) -> Option<Source> {
    let mut fields = fields.split(' ');
    let [family, source, destination, from, to] = std::array::from_fn(|_| fields.next());
    if fields.next().is_some() {
        return None;
    }
    let (from, _) = (port(from?)?, port(to?)?);
    let source = match family? {
        "TCP4" => both::<Ipv4Addr>(source?, destination?)?.into(),
        "TCP6" => both::<Ipv6Addr>(source?, destination?)?.into(),
        _ => return None,
    };
    Some(Source::Client(canonical(SocketAddr::new(source, from))))
}

/// The first one; the other is an address as well.
fn both<A: FromStr>(source: &str, destination: &str) -> Option<A> {
    destination.parse::<A>().ok()?;
    source.parse().ok()
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = text == "0" || !text.starts_with('0');
    (is_number && is_plain).then(|| text.parse().ok())?
}
