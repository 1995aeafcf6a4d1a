//! The way of one connection from `accept` to its first request: a place among
//! the connections, then the PROXY header, then the TLS handshake, each within
//! its deadline. Whoever fails is closed without a word: nothing that could be
//! said would be understood.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use knoxcall_bundle::settings::Limits;
use pingora::protocols::Stream;
use pingora_timeout::timeout;
use tokio::net::TcpStream;

use super::proxy_header::{ReadHeader, read_header};
use super::socket::ClientSocket;
use super::tls::{Handshake, TlsServer};
use super::{Accepted, ListenerRules, TlsFacts};
use crate::edge::connections::{ConnectionLimits, Permit};
use crate::gateway::Gateway;

pub enum Entry {
    Accepted(Accepted),
    /// Over a limit. With a stream where an answer would be understood.
    Overloaded(Option<Stream>, IpAddr),
    Closed,
}

/// What holds for one connection, by the snapshot in which it came.
struct Door<'g> {
    gateway: &'g Gateway,
    /// Its index among the listeners.
    listener: usize,
    rules: Arc<ListenerRules>,
    limits: Limits,
}

/// Never holds a snapshot while it waits.
pub async fn enter(
    gateway: &Gateway,
    listener: usize,
    stream: TcpStream,
    peer: SocketAddr,
) -> Entry {
    let snapshot = gateway.snapshot.load();
    let Some(rules) = snapshot.listeners.get(listener).cloned() else {
        return Entry::Closed;
    };
    let limits = snapshot.settings.limits;
    drop(snapshot);
    let door = Door {
        gateway,
        listener,
        rules,
        limits,
    };
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match door.rules.proxies.is_some() {
        true => door.enter_by_proxy(stream, peer).await,
        false => match door.admit(peer.ip()) {
            Some(permit) => door.enter_as(stream, peer, permit).await,
            None => door.overloaded(stream, peer),
        },
    }
}

impl Door<'_> {
    fn admit(&self, peer: IpAddr) -> Option<Permit> {
        let limits = ConnectionLimits {
            total: self.limits.max_connections,
            per_address: self.most_from(peer),
        };
        self.gateway.connections.admit(peer, limits)
    }

    fn most_from(&self, peer: IpAddr) -> Option<usize> {
        let trusted = self.gateway.snapshot.load().table.trusts(peer);
        (!trusted).then_some(self.limits.max_connections_per_address)
    }

    /// Counted as one of all from the beginning, and as one of its address once
    /// that is known.
    async fn enter_by_proxy(self, mut stream: TcpStream, proxy: SocketAddr) -> Entry {
        let metrics = &self.gateway.metrics.downstream;
        let is_trusted = |proxies: &knoxcall_filters::cidr::CidrSet| proxies.contains(proxy.ip());
        if !self.rules.proxies.as_ref().is_some_and(is_trusted) {
            metrics.proxy_untrusted.inc();
            return Entry::Closed;
        }
        let limits = ConnectionLimits {
            total: self.limits.max_connections,
            per_address: None,
        };
        let Some(mut permit) = self.gateway.connections.admit(proxy.ip(), limits) else {
            return Entry::Overloaded(None, proxy.ip());
        };
        let source = match timeout(self.limits.head_timeout, read_header(&mut stream)).await {
            Ok(ReadHeader::Source(source)) => source.unwrap_or(proxy),
            Ok(ReadHeader::Invalid) => {
                metrics.proxy_invalid.inc();
                return Entry::Closed;
            }
            Ok(ReadHeader::Gone) => {
                metrics.proxy_closed.inc();
                return Entry::Closed;
            }
            Err(_) => {
                metrics.proxy_timeout.inc();
                return Entry::Closed;
            }
        };
        let most = self.most_from(source.ip());
        if most.is_some_and(|most| !permit.count_as(source.ip(), most)) {
            return self.overloaded(stream, source);
        }
        self.enter_as(stream, source, permit).await
    }

    async fn enter_as(self, stream: TcpStream, peer: SocketAddr, permit: Permit) -> Entry {
        let socket = ClientSocket::new(stream, peer, self.rules.tls.is_some());
        let (stream, tls) = match &self.rules.tls {
            None => (Box::new(socket) as Stream, None),
            Some(tls) => match self.handshake(tls, socket).await {
                Some((stream, facts)) => (stream, Some(facts)),
                None => return Entry::Closed,
            },
        };
        Entry::Accepted(Accepted {
            stream,
            peer: peer.ip(),
            permit,
            tls,
            listener: self.rules,
        })
    }

    async fn handshake(
        &self,
        tls: &TlsServer,
        socket: ClientSocket,
    ) -> Option<(Stream, Arc<TlsFacts>)> {
        let metrics = &self.gateway.metrics.downstream;
        match timeout(self.limits.tls_handshake_timeout, tls.handshake(socket)).await {
            Ok(Handshake::Done {
                mut stream,
                alpn_h2,
                certificate,
                resumed,
            }) => {
                match resumed {
                    true => metrics.handshakes_resumed.inc(),
                    false => metrics.handshakes_full.inc(),
                }
                let facts = Arc::new(TlsFacts {
                    alpn_h2,
                    listener: self.listener,
                    certificate,
                });
                stream.get_mut().set_facts(facts.clone());
                Some((Box::new(stream), facts))
            }
            Ok(Handshake::Failed) => {
                metrics.handshakes_failed.inc();
                None
            }
            Err(_) => {
                metrics.handshakes_timeout.inc();
                None
            }
        }
    }

    /// A client that has not begun TLS would not understand an answer in clear.
    fn overloaded(&self, stream: TcpStream, peer: SocketAddr) -> Entry {
        let stream = self.rules.tls.is_none().then(|| {
            let socket: Stream = Box::new(ClientSocket::new(stream, peer, false));
            socket
        });
        Entry::Overloaded(stream, peer.ip())
    }
}
