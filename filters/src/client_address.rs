//! Whose address a request comes from: the socket peer's, unless the peer is
//! a trusted proxy. Then `CF-Connecting-IP` where that proxy sets it, else the
//! right-most entry of `X-Forwarded-For` that is not a trusted proxy itself.
//!
//! A trusted proxy that says nothing valid gives a request without address,
//! which no address rule matches: what cannot be read is never guessed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::head::Head;
use crate::names;
use crate::refusal::Refusal;
use crate::table::TrustedProxies;

/// IPv4-mapped IPv6 addresses appear as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The other end of the socket.
    pub peer: IpAddr,
    /// `None`: a trusted proxy said nothing valid.
    pub client: Option<IpAddr>,
    pub via_trusted_proxy: bool,
}

impl ClientAddress {
    /// Whose budget of 401s a failure is taken from: an IPv6 client's whole
    /// /64, since one host commonly holds all of it. `None` where a trusted
    /// proxy names nobody: its own address is exempt.
    pub fn budget(&self) -> Option<IpAddr> {
        self.client.map(|client| match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

pub fn resolve(
    peer: IpAddr,
    head: &Head<'_>,
    trusted: &TrustedProxies,
) -> Result<ClientAddress, Refusal> {
    let peer = peer.to_canonical();
    let Some(sets_cf_connecting_ip) = trusted.by_address.get(peer) else {
        return Ok(ClientAddress {
            peer,
            client: Some(peer),
            via_trusted_proxy: false,
        });
    };
    let client = if *sets_cf_connecting_ip {
        head.single(&names::CF_CONNECTING_IP)?
            .and_then(|value| parse::<IpAddr>(value.as_bytes()))
            .map(|address| address.to_canonical())
    } else {
        right_most_untrusted(head, trusted)
    };
    Ok(ClientAddress {
        peer,
        client,
        via_trusted_proxy: true,
    })
}

/// Each trusted proxy vouches for the entry it has appended, so the walk goes
/// from right to left and ends at the first address nobody vouches further
/// than, or at the first text that is no address.
fn right_most_untrusted(head: &Head<'_>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let lines = head.headers.get_all(names::X_FORWARDED_FOR).iter();
    for line in lines.rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let address = forwarded_entry(entry.trim_ascii())?;
            if !trusted.contains(address) {
                return Some(address);
            }
        }
    }
    None
}

/// `address`, `address:port`, `[v6]` or `[v6]:port`.
fn forwarded_entry(entry: &[u8]) -> Option<IpAddr> {
    let address = match parse::<IpAddr>(entry) {
        Some(address) => address,
        None => match parse::<SocketAddr>(entry) {
            Some(socket) => socket.ip(),
            None => {
                let inner = entry.strip_prefix(b"[")?.strip_suffix(b"]")?;
                IpAddr::V6(parse::<Ipv6Addr>(inner)?)
            }
        },
    };
    Some(address.to_canonical())
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::cidr::CidrMap;
    use crate::refusal::Malformation;

    const CLOUDFLARE: &str = "173.245.48.9";
    const BALANCER: &str = "10.0.0.1";

    fn trusted() -> TrustedProxies {
        TrustedProxies {
            by_address: CidrMap::new([
                ("173.245.48.0/20".parse().unwrap(), true),
                ("10.0.0.0/8".parse().unwrap(), false),
                ("2001:db8:ffff::/48".parse().unwrap(), false),
            ]),
        }
    }

    fn resolved(peer: &str, headers: &[(HeaderName, &str)]) -> Result<ClientAddress, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let head = Head {
            method: &Method::GET,
            target: b"/",
            host: b"acme.example",
            version: Version::HTTP_11,
            headers: &map,
        };
        resolve(peer.parse().unwrap(), &head, &trusted())
    }

    fn client(peer: &str, headers: &[(HeaderName, &str)]) -> Option<String> {
        resolved(peer, headers)
            .unwrap()
            .client
            .map(|address| address.to_string())
    }

    fn forwarded(peer: &str, value: &str) -> Option<String> {
        client(peer, &[(names::X_FORWARDED_FOR, value)])
    }

    #[test]
    fn ignores_every_header_of_an_untrusted_peer() {
        let headers = [
            (names::X_FORWARDED_FOR, "203.0.113.1"),
            (names::CF_CONNECTING_IP, "203.0.113.2"),
        ];
        let address = resolved("198.51.100.7", &headers).unwrap();
        assert_eq!(address.client, Some("198.51.100.7".parse().unwrap()));
        assert!(!address.via_trusted_proxy);
    }

    #[test]
    fn reads_the_right_most_untrusted_entry_over_lists_and_lines() {
        let right = Some("203.0.113.9".to_owned());
        assert_eq!(forwarded(BALANCER, "1.1.1.1, 203.0.113.9"), right);
        assert_eq!(
            forwarded(BALANCER, "1.1.1.1, 203.0.113.9 , 10.9.9.9,10.0.0.2"),
            right
        );
        let lines = [
            (names::X_FORWARDED_FOR, "1.1.1.1, 203.0.113.9"),
            (names::X_FORWARDED_FOR, "10.9.9.9"),
        ];
        assert_eq!(client(BALANCER, &lines), right);
    }

    #[test]
    fn reads_entries_with_ports_and_brackets() {
        for (entry, address) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
        ] {
            assert_eq!(
                forwarded(BALANCER, entry).as_deref(),
                Some(address),
                "{entry}"
            );
        }
    }

    #[test]
    fn a_trusted_proxy_that_names_nobody_gives_no_address() {
        for value in [
            "",
            ",",
            "unknown",
            "203.0.113.9,",
            "203.0.113.9, unknown",
            "203.0.113.9 10.0.0.2",
            "203.0.113.999",
            "[203.0.113.9]",
            "fe80::1%eth0",
            "10.0.0.2",
            "203.0.113.9, \u{1F600}",
        ] {
            assert_eq!(forwarded(BALANCER, value), None, "{value}");
        }
        assert_eq!(client(BALANCER, &[]), None);
    }

    #[test]
    fn stops_at_garbage_instead_of_looking_further_left() {
        assert_eq!(forwarded(BALANCER, "203.0.113.9, nonsense, 10.0.0.2"), None);
    }

    #[test]
    fn reads_cf_connecting_ip_only_where_the_proxy_sets_it() {
        let headers = [
            (names::CF_CONNECTING_IP, "203.0.113.5"),
            (names::X_FORWARDED_FOR, "203.0.113.9"),
        ];
        assert_eq!(client(CLOUDFLARE, &headers).as_deref(), Some("203.0.113.5"));
        assert_eq!(client(BALANCER, &headers).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn does_not_fall_back_from_a_bad_cf_connecting_ip() {
        let bad = [
            (names::CF_CONNECTING_IP, "x"),
            (names::X_FORWARDED_FOR, "203.0.113.9"),
        ];
        assert_eq!(client(CLOUDFLARE, &bad), None);
        assert_eq!(
            client(CLOUDFLARE, &[(names::X_FORWARDED_FOR, "203.0.113.9")]),
            None
        );
        assert_eq!(
            client(CLOUDFLARE, &[(names::CF_CONNECTING_IP, "1.2.3.4:5")]),
            None
        );
    }

    #[test]
    fn refuses_a_second_cf_connecting_ip() {
        let twice = [
            (names::CF_CONNECTING_IP, "203.0.113.5"),
            (names::CF_CONNECTING_IP, "203.0.113.5"),
        ];
        assert_eq!(
            resolved(CLOUDFLARE, &twice),
            Err(Refusal::Malformed(Malformation::DuplicateHeader))
        );
    }

    #[test]
    fn a_mapped_peer_is_its_ipv4_address() {
        let address = resolved("::ffff:198.51.100.7", &[]).unwrap();
        assert_eq!(address.peer, "198.51.100.7".parse::<IpAddr>().unwrap());
        assert_eq!(
            forwarded("::ffff:10.0.0.1", "203.0.113.9").as_deref(),
            Some("203.0.113.9")
        );
    }

    #[test]
    fn an_ipv6_client_shares_the_budget_of_its_64() {
        let one = resolved("2001:db8:1:2::1", &[]).unwrap().budget();
        let other = resolved("2001:db8:1:2:ffff::9", &[]).unwrap().budget();
        let neighbour = resolved("2001:db8:1:3::1", &[]).unwrap().budget();
        assert_eq!(one, other);
        assert_ne!(one, neighbour);
        assert_eq!(
            resolved("192.0.2.1", &[]).unwrap().budget(),
            Some("192.0.2.1".parse().unwrap())
        );
        assert_eq!(resolved(BALANCER, &[]).unwrap().budget(), None);
    }

    proptest! {
        #[test]
        fn whatever_stands_left_of_the_appended_entry_does_not_matter(
            forged in "[ -~]{0,60}",
            proxied in any::<bool>(),
        ) {
            let hops = if proxied { ", 10.1.1.1" } else { "" };
            let value = format!("{forged}, 203.0.113.9{hops}");
            let client = forwarded(BALANCER, &value);
            prop_assert_eq!(client.as_deref(), Some("203.0.113.9"));
        }

        #[test]
        fn never_reports_a_trusted_address_as_the_client(value in "[0-9a-f.:,\\[\\] ]{0,40}") {
            let address = resolved(BALANCER, &[(names::X_FORWARDED_FOR, &value)]).unwrap();
            if let Some(client) = address.client {
                prop_assert!(!trusted().contains(client));
            }
        }
    }
}
