//! Targets that a route reaches only when its configuration says so: our own
//! listeners (a loop) and link-local addresses (the metadata services of
//! clouds, which hand out credentials to whoever can reach them).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use knoxcall_bundle::is_reserved;

#[derive(Clone, Debug)]
pub struct ReservedTargets {
    own_listeners: Vec<SocketAddr>,
}

impl ReservedTargets {
    pub fn new(own_listeners: Vec<SocketAddr>) -> Self {
        Self { own_listeners }
    }

    pub fn contains(&self, target: SocketAddr) -> bool {
        is_reserved(target.ip()) || self.is_ours(target)
    }

    fn is_ours(&self, target: SocketAddr) -> bool {
        self.own_listeners
            .iter()
            .filter(|listener| listener.port() == target.port())
            .any(|listener| {
                let own = listener.ip().to_canonical();
                let wanted = target.ip().to_canonical();
                own == wanted
                    || wanted.is_unspecified()
                    || (own.is_unspecified() && is_local(wanted))
            })
    }
}

/// Does this machine hold the address? Only an own address can be bound. Asked
/// only for targets on the very port of a listener that binds every address.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(listener: &str) -> ReservedTargets {
        ReservedTargets::new(vec![listener.parse().unwrap()])
    }

    #[test]
    fn metadata_services_are_reserved() {
        let targets = reserved("127.0.0.1:8080");
        for address in [
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:169.254.169.254]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "[::ffff:100.100.100.200]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[64:ff9b::100.100.100.200]:443",
        ] {
            assert!(targets.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn our_own_listener_is_reserved() {
        assert!(reserved("127.0.0.1:8080").contains("127.0.0.1:8080".parse().unwrap()));
        assert!(reserved("0.0.0.0:8080").contains("127.0.0.1:8080".parse().unwrap()));
        assert!(reserved("[::]:8080").contains("127.0.0.1:8080".parse().unwrap()));
        assert!(reserved("127.0.0.1:8080").contains("0.0.0.0:8080".parse().unwrap()));
    }

    #[test]
    fn other_ports_and_other_machines_are_not() {
        let targets = reserved("0.0.0.0:8080");
        assert!(!targets.contains("127.0.0.1:8090".parse().unwrap()));
        assert!(!targets.contains("192.0.2.1:8080".parse().unwrap()));
        assert!(!targets.contains("10.0.0.1:443".parse().unwrap()));
        assert!(!targets.contains("100.100.100.201:80".parse().unwrap()));
        assert!(!targets.contains("[64:ff9b::192.0.2.1]:80".parse().unwrap()));
    }
}
