//! A name server (RFC 1035) that knows one set of addresses for whatever name
//! it is asked for, and the address book that asks it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::{AddressBook, Patience, Reach, uncached};

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    ips: Vec<IpAddr>,
    ttl: u32,
    rcode: u8,
    silent: bool,
    queries: Vec<String>,
}

impl AddressBook {
    /// Asks this server in place of the system's.
    pub fn asking(server: SocketAddr, patience: Patience) -> Self {
        Self {
            resolver: Mutex::new(Some(resolver_of(server))),
            reach: |_| Reach::Yes,
            ..Self::new(patience)
        }
    }
}

pub fn resolver_of(server: SocketAddr) -> TokioResolver {
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let provider = TokioRuntimeProvider::default();
    uncached(TokioResolver::builder_with_config(config, provider)).unwrap()
}

impl NameServer {
    pub fn start(ips: &[&str], ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            zone: Arc::default(),
        };
        server.answer(ips, ttl);
        let zone = server.zone.clone();
        std::thread::spawn(move || serve(&socket, &zone));
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on; a family without an address is an empty answer.
    pub fn answer(&self, ips: &[&str], ttl: u32) {
        let mut zone = self.zone.lock().unwrap();
        zone.ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        (zone.ttl, zone.rcode, zone.silent) = (ttl, 0, false);
    }

    pub fn fall_silent(&self) {
        self.zone.lock().unwrap().silent = true;
    }

    pub fn fail(&self) {
        self.zone.lock().unwrap().rcode = SERVFAIL;
    }

    /// No such name.
    pub fn forget(&self) {
        self.zone.lock().unwrap().rcode = NXDOMAIN;
    }

    /// What it was asked, in the order of the alphabet.
    pub fn queries(&self) -> Vec<String> {
        let mut queries = self.zone.lock().unwrap().queries.clone();
        queries.sort();
        queries
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // An empty packet ends the thread.
        let wake = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = wake.send_to(&[], self.address);
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut packet = [0; 1500];
    while let Ok((length @ 1.., from)) = socket.recv_from(&mut packet) {
        if let Some(reply) = reply(&packet[..length], &mut zone.lock().unwrap()) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn reply(query: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let (name, question) = question(query);
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let shown = if kind == TYPE_A { "A" } else { "AAAA" };
    zone.queries.push(format!("{name} {shown}"));
    if zone.silent {
        return None;
    }
    let ips: Vec<&IpAddr> = zone
        .ips
        .iter()
        .filter(|ip| zone.rcode == 0 && kind == if ip.is_ipv4() { TYPE_A } else { TYPE_AAAA })
        .collect();
    let mut reply = query[..2].to_vec();
    // A reply, recursion desired and available.
    reply.extend([0x81, 0x80 | zone.rcode]);
    for count in [1, u16::try_from(ips.len()).unwrap(), 0, 0] {
        reply.extend(count.to_be_bytes());
    }
    reply.extend(question);
    for ip in ips {
        // The name is the question's, by a pointer to it.
        reply.extend([0xc0, HEADER as u8]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(zone.ttl.to_be_bytes());
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        reply.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
        reply.extend(octets);
    }
    Some(reply)
}

/// The name in the one question of a query, and the question's bytes.
fn question(query: &[u8]) -> (String, &[u8]) {
    let mut name = String::new();
    let mut at = HEADER;
    while query[at] != 0 {
        let label = &query[at + 1..][..usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += 1 + label.len();
    }
    (name, &query[HEADER..at + 5])
}
