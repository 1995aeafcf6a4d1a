//! Addresses and ranges (RFC 4632, RFC 4291). A range with host bits is
//! refused: one digit is wrong, and nobody can say which. IPv4-mapped IPv6
//! becomes IPv4, as requests' addresses do.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::problem::{At, Problems};

const EXAMPLE: &str = "write an address or a range: 203.0.113.7, 203.0.113.0/24, 2001:db8::/32";

pub(super) fn range(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<IpNet> {
    let Some(net) = parse(text.trim()) else {
        problems.add(at, "is not an address or range", EXAMPLE);
        return None;
    };
    if net.trunc() != net {
        let remedy = format!(
            "write {}, or the whole address with /{}",
            net.trunc(),
            net.max_prefix_len()
        );
        problems.add(at, "the range has bits beyond its prefix", remedy);
        return None;
    }
    Some(unmapped(net))
}

pub(super) fn ranges<'a>(
    texts: impl IntoIterator<Item = &'a String>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    texts
        .into_iter()
        .enumerate()
        .filter_map(|(index, text)| range(text, &at.index(index), problems))
        .collect()
}

pub(super) fn socket(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<SocketAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        let remedy = "write 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080";
        problems.add(at, "is not an address with a port", remedy);
    }
    address
}

fn parse(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse().ok(),
    }
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else {
        return net;
    };
    let v4 = v6.addr().to_ipv4_mapped();
    let prefix = v6.prefix_len().checked_sub(96);
    v4.zip(prefix)
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let mut problems = Problems::default();
        let net = range(text, &At::ROOT, &mut problems);
        assert_eq!(net.is_none(), problems.len() == 1);
        net.map(|net| net.to_string())
    }

    #[test]
    fn an_address_is_a_range_of_one() {
        assert_eq!(parsed("203.0.113.7").as_deref(), Some("203.0.113.7/32"));
        assert_eq!(parsed(" 2001:db8::1 ").as_deref(), Some("2001:db8::1/128"));
        assert_eq!(parsed("0.0.0.0/0").as_deref(), Some("0.0.0.0/0"));
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(parsed("::ffff:10.0.0.0/104").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(parsed("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1/32"));
    }

    #[test]
    fn refuses_host_bits_and_nonsense() {
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0",
            "010.0.0.1",
            "",
            "fe80::1%eth0",
            "a/b",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
