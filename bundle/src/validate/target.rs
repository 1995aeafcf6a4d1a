//! `target_base_url`: http or https, a host, a port, a path; nothing else.
//! Hosts that a resolver or another parser could read differently (numbers,
//! userinfo, trailing dots) are refused (RFC 3986, 3.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ids::HostName;
use crate::model::{Scheme, Target, TargetHost};
use crate::problem::{At, Problems};

use super::match_rule::climbs;

pub(super) fn target(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<Target> {
    match parse(text.trim()) {
        Ok(target) => Some(target),
        Err((message, remedy)) => {
            problems.add(at, message, remedy);
            None
        }
    }
}

type Refused = (&'static str, &'static str);

const EXAMPLE: &str = "write http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";

pub(super) fn parse(text: &str) -> Result<Target, Refused> {
    let (scheme, rest) = text.split_once("://").ok_or(("is not a URL", EXAMPLE))?;
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return Err(("has a scheme that is neither http nor https", EXAMPLE)),
    };
    if rest.contains(['?', '#']) {
        return Err((
            "has a query or fragment",
            "the client's query is sent; leave it out",
        ));
    }
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err((
            "has a user or password",
            "inject an Authorization header instead",
        ));
    }
    let (host, port) = host_and_port(authority)?;
    Ok(Target {
        scheme,
        host: target_host(host)?,
        port: match port {
            Some(port) => port_number(port)?,
            None => default_port,
        },
        path: target_path(path)?,
    })
}

fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), Refused> {
    const UNCLOSED: Refused = (
        "has an IPv6 address that is not closed",
        "write [2001:db8::1]",
    );
    let Some(v6) = authority.strip_prefix('[') else {
        return Ok(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    };
    let end = v6.find(']').ok_or(UNCLOSED)?;
    let (host, after) = authority.split_at_checked(end + 2).ok_or(UNCLOSED)?;
    match (after, after.strip_prefix(':')) {
        ("", _) => Ok((host, None)),
        (_, Some(port)) => Ok((host, Some(port))),
        (_, None) => Err(("has something after its IPv6 address", EXAMPLE)),
    }
}

fn port_number(text: &str) -> Result<u16, Refused> {
    let port = Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|port| *port != 0);
    port.ok_or(("has a port that is not a port", "1 to 65535"))
}

fn target_host(text: &str) -> Result<TargetHost, Refused> {
    const NO_HOST: Refused = (
        "has a host that is not a host name or address",
        "letters, digits, - and dots; an IPv6 address in brackets; other alphabets as xn--",
    );
    if let Some(v6) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        let address: Ipv6Addr = v6.parse().map_err(|_| NO_HOST)?;
        return Ok(TargetHost::Address(address.to_canonical()));
    }
    let host = text.to_ascii_lowercase();
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(TargetHost::Address(address.into()));
    }
    // `127.1` and `0x7f000001` are addresses to some resolvers.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if numeric {
        return Err((
            "has a host that ends in a number",
            "write an IPv4 address in full",
        ));
    }
    HostName::try_from(host.as_str())
        .map(TargetHost::Name)
        .map_err(|_| NO_HOST)
}

fn target_path(text: &str) -> Result<String, Refused> {
    let path = text.trim_end_matches('/');
    if !path.bytes().all(is_path_byte) || path.contains("//") {
        return Err((
            "has a path that is not one",
            "percent-encode what is not a letter or digit",
        ));
    }
    if climbs(path) {
        return Err((
            "has a path with dot segments or encoded slashes",
            "write it out",
        ));
    }
    Ok(path.to_owned())
}

/// `pchar` and `/` (RFC 3986, 3.3).
pub(super) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte)
}

/// An address that no route reaches unless it is allowed explicitly: what is
/// local to a link (metadata services), and what is no single host.
pub fn is_reserved(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_reserved_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || METADATA_V6.contains(&v6)
                || embedded_v4(v6).is_some_and(is_reserved_v4)
        }
    }
}

/// Metadata services outside of the link-local range: Alibaba Cloud, Oracle
/// Cloud; EC2 and Google Cloud over IPv6.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn is_reserved_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || v4.octets().starts_with(&[0])
        || METADATA_V4.contains(&v4)
}

/// The IPv4 address that a translator would reach: NAT64 (RFC 6052, 2.1) and
/// 6to4 (RFC 3056, 2).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(
        u32::from(bits.0) << 16 | u32::from(bits.1),
    ))
}

pub(super) fn check_reserved(target: &Target, allowed: bool, at: &At<'_>, problems: &mut Problems) {
    let reserved = match target.host {
        TargetHost::Address(address) => is_reserved(address),
        TargetHost::Name(_) => false,
    };
    if reserved && !allowed {
        problems.add(
            at,
            "is a link-local or otherwise reserved address",
            "metadata services live there; allow_reserved_target: true permits it",
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let target = parse(text).unwrap_or_else(|(message, _)| panic!("{text} {message}"));
        let host = match target.host {
            TargetHost::Name(name) => name.to_string(),
            TargetHost::Address(address) => address.to_string(),
        };
        format!(
            "{:?} {host} {} {:?}",
            target.scheme, target.port, target.path
        )
    }

    #[test]
    fn reads_scheme_host_port_and_path() {
        assert_eq!(
            shown("https://API.Example.com/v1/"),
            "Https api.example.com 443 \"/v1\""
        );
        assert_eq!(shown("HTTP://localhost"), "Http localhost 80 \"\"");
        assert_eq!(shown("http://127.0.0.1:8090/"), "Http 127.0.0.1 8090 \"\"");
        assert_eq!(
            shown("https://[2001:db8::1]:8443/a/b"),
            "Https 2001:db8::1 8443 \"/a/b\""
        );
        assert_eq!(shown("http://[::ffff:10.0.0.1]"), "Http 10.0.0.1 80 \"\"");
    }

    #[test]
    fn refuses_what_is_no_base_url() {
        for text in [
            "",
            "example.com",
            "//example.com",
            "ftp://example.com",
            "https://",
            "https:///a",
            "https://user:pass@example.com",
            "https://example.com?x=1",
            "https://example.com/#a",
            "https://example.com:0",
            "https://example.com:65536",
            "https://example.com:+80",
            "https://exa mple.com",
            "https://example.com.",
            "https://bücher.example",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://a.0x7f",
            "https://[::1",
            "https://[::1]x",
            "https://::1",
            "https://a/../b",
            "https://a/%2e%2e/b",
            "https://a/b%2fc",
            "https://a/b\\c",
            "https://a//b",
            "https://a/b c",
            "https://a/é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_reserved_addresses() {
        for text in [
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "224.0.0.1",
            "0.0.0.0",
            "::",
            "::ffff:169.254.1.1",
            "100.100.100.200",
            "192.0.0.192",
            "fd20:ce::254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::6464:64c8",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_reserved(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "203.0.113.1",
            "100.100.100.201",
            "64:ff9b::cb00:7101",
            "2002:cb00:7101::1",
        ] {
            assert!(!is_reserved(text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("http://{text}"));
        }
    }
}
