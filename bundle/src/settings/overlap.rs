//! Listeners that cannot be open together: on one port, the same address
//! twice, or an address and the wildcard that holds it. `[::]` holds IPv4 as
//! well, since sockets are dual-stack by default (RFC 3493, 5.3).
//!
//! Flags replace what the file says, so this is asked of a file when it is
//! checked, and again of what is left in effect.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Admin, Listener};

/// A listener that overlaps with one that is named before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    pub later: OwnListener,
    pub later_address: SocketAddr,
    /// Its index among the listeners.
    pub earlier: usize,
    pub earlier_address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnListener {
    /// By its index.
    Listener(usize),
    Admin,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.later {
            OwnListener::Listener(_) => "listener",
            OwnListener::Admin => "admin listener",
        };
        write!(
            f,
            "the {role} {} overlaps with the listener {}: give it a port of its own",
            self.later_address, self.earlier_address
        )
    }
}

/// Every listener that overlaps with an earlier one, with the first of those;
/// the admin listener comes last.
pub fn overlapping(listeners: &[Listener], admin: Option<&Admin>) -> Vec<Overlap> {
    let own = listeners.iter().enumerate();
    let own = own.map(|(index, listener)| (OwnListener::Listener(index), listener.address));
    let admin = admin.map(|admin| (OwnListener::Admin, admin.address));
    own.chain(admin)
        .filter_map(|(later, later_address)| {
            let before = match later {
                OwnListener::Listener(index) => index,
                OwnListener::Admin => listeners.len(),
            };
            let mut earlier = listeners.iter().take(before).enumerate();
            let (earlier, other) =
                earlier.find(|(_, other)| collide(other.address, later_address))?;
            Some(Overlap {
                later,
                later_address,
                earlier,
                earlier_address: other.address,
            })
        })
        .collect()
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    if one == other {
        return true;
    }
    // Port 0 is another port each time.
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let holds = |wild: SocketAddr, address: SocketAddr| match wild.ip().to_canonical() {
        IpAddr::V4(v4) => v4.is_unspecified() && address.ip().to_canonical().is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    one.ip().to_canonical() == other.ip().to_canonical() || holds(one, other) || holds(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(addresses: &[&str]) -> Vec<Listener> {
        let addresses = addresses.iter();
        addresses
            .map(|address| Listener::plain(address.parse().unwrap()))
            .collect()
    }

    fn count(addresses: &[&str]) -> usize {
        overlapping(&listeners(addresses), None).len()
    }

    #[test]
    fn one_address_cannot_be_listened_on_twice() {
        assert_eq!(count(&["127.0.0.1:80", "127.0.0.1:80"]), 1);
        assert_eq!(count(&["127.0.0.1:80", "[::ffff:127.0.0.1]:80"]), 1);
        assert_eq!(count(&["[::1]:80", "[::1]:80", "[::1]:80"]), 2);
    }

    #[test]
    fn a_wildcard_overlaps_with_the_addresses_it_holds() {
        assert_eq!(count(&["0.0.0.0:80", "127.0.0.1:80"]), 1);
        assert_eq!(count(&["127.0.0.1:80", "0.0.0.0:80"]), 1);
        for address in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:80"] {
            assert_eq!(count(&["[::]:80", address]), 1, "{address}");
            assert_eq!(count(&[address, "[::]:80"]), 1, "{address}");
        }
    }

    #[test]
    fn other_ports_other_addresses_and_ports_that_the_system_chooses_do_not_overlap() {
        assert_eq!(count(&["0.0.0.0:80", "127.0.0.1:81", "[::]:82"]), 0);
        assert_eq!(count(&["127.0.0.1:80", "127.0.0.2:80", "[::1]:80"]), 0);
        assert_eq!(count(&["0.0.0.0:80", "[::1]:80"]), 0);
        assert_eq!(count(&["0.0.0.0:0", "127.0.0.1:0"]), 0);
    }

    #[test]
    fn the_admin_listener_counts_as_well() {
        let admin = Admin {
            address: "127.0.0.1:80".parse().unwrap(),
        };
        let own = listeners(&["127.0.0.1:81", "0.0.0.0:80"]);
        let [overlap] = overlapping(&own, Some(&admin))[..] else {
            panic!("one overlap");
        };
        assert_eq!((overlap.later, overlap.earlier), (OwnListener::Admin, 1));
        assert_eq!(
            overlap.to_string(),
            "the admin listener 127.0.0.1:80 overlaps with the listener 0.0.0.0:80: \
             give it a port of its own"
        );
    }
}
