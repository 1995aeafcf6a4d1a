//! The endpoints of a pool as they are now: every address of every target,
//! with the peer that reaches it. Made again when a name's addresses change,
//! never changed; what is counted lives in the endpoints and outlives it.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::HeaderValue;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::HttpPeer;

use knoxcall_bundle::Balance;

use super::balance::{bid, in_turn, scatter, smooth_sequence, stable_hash};
use super::endpoint::Endpoint;
use super::health::Health;
use super::rules::{EndpointName, Rules};

pub struct Members {
    pub list: Box<[Arc<Member>]>,
    /// What each target's name meant; `None`: it was not known.
    pub resolved: Box<[Option<Arc<[SocketAddr]>>]>,
    pub rules: Arc<Rules>,
    targets: Box<[Turns]>,
    /// Of targets, with as many turns as their weights say.
    sequence: Box<[u16]>,
    turn: AtomicUsize,
}

/// One endpoint of a pool.
pub struct Member {
    pub peer: Arc<HttpPeer>,
    pub endpoint: Arc<Endpoint>,
    pub health: Option<Arc<Health>>,
    /// `host:port` of its target, for records.
    pub authority: Arc<str>,
    /// The target's.
    pub host: HeaderValue,
    /// The plan's `Host` is that of the pool's first target.
    pub has_own_host: bool,
    /// Its part of its target's weight.
    weight: f64,
    hash: u64,
}

/// The members of one target, and whose turn it is.
struct Turns {
    members: Range<usize>,
    turn: AtomicUsize,
}

/// One target and where it leads.
pub struct Resolved<'t> {
    pub template: &'t HttpPeer,
    pub authority: &'t Arc<str>,
    pub host: &'t HeaderValue,
    pub has_own_host: bool,
    pub weight: u32,
    /// `None`: not known.
    pub addresses: Option<Arc<[SocketAddr]>>,
}

impl Members {
    /// `allowed`: may this address be reached?
    pub fn new<'t>(
        targets: impl Iterator<Item = Resolved<'t>>,
        rules: Arc<Rules>,
        allowed: impl Fn(SocketAddr) -> bool,
    ) -> Self {
        let (mut list, mut turns, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut resolved = Vec::new();
        for target in targets {
            let first = list.len();
            let known = target.addresses.iter().flat_map(|list| list.iter());
            let usable: Vec<SocketAddr> = known.copied().filter(|at| allowed(*at)).collect();
            let weight = f64::from(target.weight) / usable.len().max(1) as f64;
            let members = usable.into_iter();
            list.extend(members.map(|at| Arc::new(Member::new(&target, at, weight, &rules))));
            // What leads nowhere has no turn.
            weights.push(if list.len() > first { target.weight } else { 0 });
            turns.push(Turns {
                members: first..list.len(),
                turn: AtomicUsize::new(0),
            });
            resolved.push(target.addresses);
        }
        Self {
            list: list.into(),
            resolved: resolved.into(),
            rules,
            targets: turns.into(),
            sequence: smooth_sequence(&weights),
            turn: AtomicUsize::new(0),
        }
    }

    /// The next member for a request, of those that will do.
    pub fn next(&self, key: Option<u64>, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        match (&self.rules.balance, key) {
            (Balance::ConsistentHash(_), Some(key)) => self.highest_bidder(key, will_do),
            (Balance::RoundRobin, _) | (Balance::ConsistentHash(_), None) => self.in_turn(will_do),
            (Balance::LeastConnections, _) => self.less_busy(will_do),
        }
    }

    /// Healthy, and not ejected, as far as the rules let so many be.
    pub fn is_in(&self, at: usize, now: Instant) -> bool {
        let Some(member) = self.list.get(at) else {
            return false;
        };
        let is_healthy = member.health.as_ref().is_none_or(|health| health.is_good());
        is_healthy && !(self.rules.ejection.is_some() && self.is_ejected(at, now))
    }

    /// Endpoints are shared with other pools, which may have ejected more of
    /// them than this one's rules allow: then the first ones are out.
    pub fn is_ejected(&self, at: usize, now: Instant) -> bool {
        let is_out = |member: &Arc<Member>| member.endpoint.is_out(now);
        if !self.list.get(at).is_some_and(is_out) {
            return false;
        }
        let before = self.list.iter().take(at).filter(|member| is_out(member));
        before.count() < self.most_ejected()
    }

    /// How many the rules let be out at once.
    pub fn most_ejected(&self) -> usize {
        let percent = self
            .rules
            .ejection
            .as_ref()
            .map_or(0, |rule| rule.max_percent);
        self.list.len() * percent as usize / 100
    }

    fn in_turn(&self, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        in_turn(&self.turn, self.sequence.len(), |at| {
            let target = self.sequence.get(at)?;
            let target = self.targets.get(usize::from(*target))?;
            let members = &target.members;
            in_turn(&target.turn, members.len(), |offset| {
                Some(members.start + offset).filter(|member| will_do(*member))
            })
        })
    }

    fn highest_bidder(&self, key: u64, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let members = self.list.iter().enumerate();
        let bids = members
            .filter(|(at, _)| will_do(*at))
            .map(|(at, member)| (at, bid(key, member.hash, member.weight)));
        let highest = bids.max_by(|one, other| one.1.total_cmp(&other.1));
        highest.map(|(at, _)| at)
    }

    /// Of the one whose turn it is and of any other.
    fn less_busy(&self, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.in_turn(&will_do)?;
        let others = self.list.len() - 1;
        let random = scatter(self.turn.load(Relaxed) as u64) as usize;
        let Some(offset) = random.checked_rem(others) else {
            return Some(first);
        };
        let other = (first + 1 + offset) % self.list.len();
        let load = |at: usize| self.list.get(at).map(|member| member.load());
        let is_less = will_do(other) && load(other) < load(first);
        Some(if is_less { other } else { first })
    }
}

impl Member {
    fn new(target: &Resolved<'_>, address: SocketAddr, weight: f64, rules: &Rules) -> Self {
        let mut peer = target.template.clone();
        peer._address = PeerAddress::Inet(address);
        let hashed = format!("{} {address}", target.authority);
        let name = EndpointName {
            group: peer.group_key,
            authority: target.authority.clone(),
            address,
        };
        Self {
            endpoint: rules.endpoint(&name),
            health: rules.health(name),
            peer: Arc::new(peer),
            authority: target.authority.clone(),
            host: target.host.clone(),
            has_own_host: target.has_own_host,
            weight,
            hash: stable_hash(hashed.as_bytes()),
        }
    }

    fn load(&self) -> f64 {
        f64::from(self.endpoint.in_flight()) / self.weight
    }
}
