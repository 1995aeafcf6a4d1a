//! Which addresses of a name are of any use on this host (RFC 6724, section 5,
//! rules 1 and 2). The kernel's routes are asked: a UDP socket that is
//! connected sends nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

/// Any; it is not asked.
const PORT: u16 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// There is no way to it.
    No,
    /// An address of the whole internet, from one that is good for the own site
    /// alone: as in a container with IPv6 on a host that has none.
    Doubtful,
    Yes,
}

/// Those that are reached best, and how well that is.
pub fn best(ips: impl Iterator<Item = IpAddr>, reach: fn(IpAddr) -> Reach) -> (Reach, Vec<IpAddr>) {
    let judged: Vec<(Reach, IpAddr)> = ips.map(|ip| (reach(ip), ip)).collect();
    let most = judged.iter().map(|(reach, _)| *reach).max();
    let most = most.unwrap_or(Reach::No);
    let best = judged.into_iter().filter(|(reach, _)| *reach == most);
    (most, best.map(|(_, ip)| ip).collect())
}

pub fn from_here(ip: IpAddr) -> Reach {
    match source_for(ip) {
        Ok(source) if is_for_the_site_alone(source) && is_global(ip) => Reach::Doubtful,
        Ok(_) => Reach::Yes,
        Err(error) => match Errno::from_io_error(&error) {
            Some(
                Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT,
            ) => Reach::No,
            // Says nothing of the way.
            _ => Reach::Yes,
        },
    }
}

fn source_for(ip: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(SocketAddr::new(ip, PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Of IPv4 it says nothing: behind private addresses there is NAT.
fn is_for_the_site_alone(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// 2000::/3, all that has been given out.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.to_bits() >> 125 == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_those_that_are_reached_best_are_left() {
        let reach = |ip: IpAddr| match ip {
            IpAddr::V4(_) => Reach::Yes,
            IpAddr::V6(v6) if v6.is_unique_local() => Reach::Doubtful,
            IpAddr::V6(_) => Reach::No,
        };
        let [v4, doubtful, none] = ["192.0.2.1", "fd00::1", "2001:db8::1"].map(ip);
        let of = |ips: &[IpAddr]| best(ips.iter().copied(), reach);
        assert_eq!(of(&[none, v4, doubtful]), (Reach::Yes, vec![v4]));
        assert_eq!(of(&[none, doubtful]), (Reach::Doubtful, vec![doubtful]));
        assert_eq!(of(&[none]), (Reach::No, vec![none]));
        assert_eq!(of(&[]), (Reach::No, vec![]));
    }

    #[test]
    fn this_host_reaches_itself() {
        assert_eq!(from_here(ip("127.0.0.1")), Reach::Yes);
    }

    #[test]
    fn a_site_of_its_own_is_not_the_internet() {
        for site in ["fd12::1", "fe80::1"] {
            assert!(is_for_the_site_alone(ip(site)), "{site}");
            assert!(!is_global(ip(site)), "{site}");
        }
        for global in ["2001:db8::1", "2a00::1"] {
            assert!(!is_for_the_site_alone(ip(global)), "{global}");
            assert!(is_global(ip(global)), "{global}");
        }
        // Loopback, and IPv4 behind NAT64.
        for other in ["::1", "64:ff9b::1"] {
            assert!(!is_global(ip(other)), "{other}");
        }
    }
}
