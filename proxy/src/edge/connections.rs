//! How many connections are open, in all and by address (IPv6: by /64, which
//! is what one customer has), and the limits on both. A trusted proxy carries
//! many callers, so its address has no limit of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Locked only when a connection opens or closes, and by its shard.
const SHARDS: usize = 16;

#[derive(Default)]
pub struct Connections {
    total: AtomicUsize,
    arriving: AtomicUsize,
    by_address: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub total: usize,
    /// `None` for trusted proxies.
    pub per_address: Option<usize>,
}

/// One open connection; counted until it is dropped.
pub struct Permit {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

/// Whoever accepts, or has been accepted and not yet admitted.
pub struct Arrival(Arc<Connections>);

impl Permit {
    /// For one that was admitted before its address was known. `false`: over
    /// the limit of the address.
    pub fn count_as(&mut self, peer: IpAddr, most: usize) -> bool {
        let peer = counted_as(peer);
        let admitted = self.address.is_none() && self.connections.count_address(peer, most);
        if admitted {
            self.address = Some(peer);
        }
        admitted
    }
}

impl Connections {
    pub fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// May another one be open in a moment? Not once everybody who accepts has
    /// ended.
    pub fn expects_more(&self) -> bool {
        self.arriving.load(Ordering::Acquire) > 0
    }

    /// Until it is dropped, one more may be open in a moment.
    pub fn arrive(self: &Arc<Self>) -> Arrival {
        self.arriving.fetch_add(1, Ordering::AcqRel);
        Arrival(self.clone())
    }

    /// `None`: over a limit.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, limits: ConnectionLimits) -> Option<Permit> {
        // Counted first, so that two arriving together cannot both be the last.
        let already_open = self.total.fetch_add(1, Ordering::AcqRel);
        let mut permit = Permit {
            connections: self.clone(),
            address: None,
        };
        if already_open >= limits.total {
            return None;
        }
        let peer = counted_as(peer);
        if let Some(most) = limits.per_address {
            if !self.count_address(peer, most) {
                return None;
            }
            permit.address = Some(peer);
        }
        Some(permit)
    }

    fn count_address(&self, peer: IpAddr, most: usize) -> bool {
        let Some(shard) = self.shard(peer) else {
            return false;
        };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        let admitted = *count < most;
        if admitted {
            *count += 1;
        } else if *count == 0 {
            counts.remove(&peer);
        }
        admitted
    }

    fn shard(&self, address: IpAddr) -> Option<&Mutex<HashMap<IpAddr, usize>>> {
        let last_byte = match address {
            IpAddr::V4(v4) => v4.to_bits() as usize,
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as usize,
        };
        self.by_address.get(last_byte % SHARDS)
    }
}

fn counted_as(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.total.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address else {
            return;
        };
        let Some(shard) = self.connections.shard(address) else {
            return;
        };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 3,
        per_address: Some(2),
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn refuses_above_the_limit_of_an_address() {
        let connections = Arc::new(Connections::default());
        let held: Vec<_> = (0..2)
            .map(|_| connections.admit(address(1), LIMITS).unwrap())
            .collect();
        assert!(connections.admit(address(1), LIMITS).is_none());
        assert!(connections.admit(address(2), LIMITS).is_some());
        drop(held);
        assert_eq!(connections.open(), 0);
    }

    #[test]
    fn counts_an_ipv6_network_as_one_address() {
        let connections = Arc::new(Connections::default());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let held = [one, neighbour].map(|peer| connections.admit(peer, LIMITS).unwrap());
        assert!(connections.admit(one, LIMITS).is_none());
        drop(held);
    }

    #[test]
    fn refuses_above_the_total() {
        let connections = Arc::new(Connections::default());
        let held: Vec<_> = (1..=3)
            .map(|last| connections.admit(address(last), LIMITS).unwrap())
            .collect();
        assert!(connections.admit(address(4), LIMITS).is_none());
        assert_eq!(connections.open(), held.len());
    }

    #[test]
    fn a_trusted_proxy_has_no_limit_of_its_own() {
        let connections = Arc::new(Connections::default());
        let limits = ConnectionLimits {
            per_address: None,
            total: 10,
        };
        let held: Vec<_> = (0..10)
            .map(|_| connections.admit(address(1), limits).unwrap())
            .collect();
        assert!(connections.admit(address(1), limits).is_none());
        drop(held);
    }

    #[test]
    fn an_address_that_is_known_later_counts_from_then_on() {
        let connections = Arc::new(Connections::default());
        let unknown = ConnectionLimits {
            per_address: None,
            ..LIMITS
        };
        let mut held: Vec<_> = (0..3)
            .map(|_| connections.admit(address(9), unknown).unwrap())
            .collect();
        let counted: Vec<bool> = held
            .iter_mut()
            .map(|permit| permit.count_as(address(1), 2))
            .collect();
        assert_eq!(counted, [true, true, false]);
        held.remove(0);
        assert!(connections.admit(address(1), LIMITS).is_some());
    }

    #[test]
    fn more_are_expected_while_somebody_accepts() {
        let connections = Arc::new(Connections::default());
        let acceptor = connections.arrive();
        let accepted = connections.arrive();
        drop(acceptor);
        assert!(connections.expects_more());
        drop(accepted);
        assert!(!connections.expects_more());
    }

    #[test]
    fn forgets_addresses_that_have_gone() {
        let connections = Arc::new(Connections::default());
        drop(connections.admit(address(1), LIMITS));
        let remembered: usize = connections
            .by_address
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(remembered, 0);
    }
}
