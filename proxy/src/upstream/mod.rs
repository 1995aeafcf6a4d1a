//! Where requests go: peers prepared once for each snapshot, so that a request
//! takes one and dials.
//!
//! Invariants: a peer's `group_key` keeps its connections apart from those of
//! any other tenant, environment, CA set, client certificate or TLS mode
//! (Pingora's own key would share them); TLS never goes out with an empty SNI
//! (Pingora would then verify nothing); names are resolved by [`resolve`], not
//! by `HttpPeer::new`; what is counted of endpoints outlives a snapshot.

pub mod address_name;
mod balance;
pub mod checks;
pub mod checkup;
pub mod client_certificate;
pub mod complaints;
mod endpoint;
mod health;
pub mod idle;
mod members;
mod picked;
pub mod pool_key;
mod prepared;
pub mod probe;
mod registry;
pub mod reserved;
pub mod resolve;
mod retry_budget;
mod rules;
pub mod status;
pub mod trust;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use knoxcall_bundle::settings::UpstreamSettings;
use knoxcall_bundle::{ClientCertificate, Scheme, Target, TargetHost, UpstreamProtocol};
use knoxcall_filters::Refusal;
use knoxcall_filters::table::ServiceTarget;
use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions};
use smallvec::SmallVec;

use client_certificate::ClientCertificates;
use members::Members;
use pool_key::PoolKeys;
use prepared::PreparedTarget;
use reserved::ReservedTargets;
use resolve::{AddressBook, Patience, ResolveError};
use rules::{Rules, States, targets};
use trust::{Trust, TrustError};

pub use picked::{Outcome, Picked};
pub use prepared::Prepared;

/// At once on one HTTP/2 connection; a server may allow fewer.
const MOST_STREAMS: u32 = 128;
/// What an upstream may send ahead of the client on one stream. Together they
/// never fill their connection's: a client that is slow keeps nobody waiting.
const STREAM_WINDOW: u32 = 256 * 1024;
/// A connection without traffic is asked after so often, by TCP itself: what
/// stands between forgets no connection that is used, and one that is forgotten
/// is found. Not by HTTP/2's pings: servers of gRPC close a connection whose
/// client pings more often than every five minutes.
const ASKED_AFTER: Duration = Duration::from_secs(15);
const ASKED_AGAIN: Duration = Duration::from_secs(5);
/// What has been sent is acknowledged in this time, or the connection is dead.
const LEAST_UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What outlives a snapshot: addresses, endpoints, pool keys, trusted roots.
pub struct Upstreams {
    pub book: Arc<AddressBook>,
    keys: PoolKeys,
    trust: Trust,
    certificates: ClientCertificates,
    reserved: ReservedTargets,
    states: Arc<States>,
}

impl Upstreams {
    pub fn new(own_listeners: Vec<SocketAddr>, settings: &UpstreamSettings) -> Self {
        let patience = Patience {
            shortest_ttl: settings.dns_min_ttl,
            longest_ttl: settings.dns_max_ttl,
            lookup: settings.dns_timeout,
        };
        Self {
            book: Arc::new(AddressBook::new(patience)),
            keys: PoolKeys::default(),
            trust: Trust::default(),
            certificates: ClientCertificates::default(),
            reserved: ReservedTargets::new(own_listeners),
            states: Arc::default(),
        }
    }

    pub fn prepare(&self, service: &ServiceTarget) -> Result<Prepared, TrustError> {
        let upstream = &service.upstream;
        let is_tls = service.target.scheme == Scheme::Https;
        let lacks_certificate =
            is_tls && upstream.client_certificate == Some(ClientCertificate::Unavailable);
        let first_host = knoxcall_filters::plan::host(&service.target);
        let targets: Box<[PreparedTarget]> = targets(service)
            .map(|(target, weight)| {
                let host = knoxcall_filters::plan::host(target);
                let name = host_text(&target.host);
                Ok(PreparedTarget {
                    template: self.template(service, target)?,
                    addresses: self.book.entry(&name, target.port),
                    authority: format!("{name}:{}", target.port).into(),
                    has_own_host: host != first_host,
                    host,
                    weight,
                })
            })
            .collect::<Result<_, TrustError>>()?;
        let prepared = Prepared {
            authority: first_authority(&targets),
            targets,
            members: ArcSwapOption::empty(),
            rules: Arc::new(Rules::new(service, &self.states)),
            allow_reserved: upstream.allow_reserved_target,
            unavailable: lacks_certificate.then_some(Refusal::SecretUnavailable),
            environment: service.environment.clone(),
            protocol: upstream.protocol,
            timeouts: upstream.timeouts.clone(),
        };
        // Takes hold of the endpoints' state before the last snapshot lets go.
        prepared.refresh(&self.reserved);
        Ok(prepared)
    }

    /// A peer that is complete but for its address.
    fn template(&self, service: &ServiceTarget, target: &Target) -> Result<HttpPeer, TrustError> {
        let upstream = &service.upstream;
        let tls = target.scheme == Scheme::Https;
        let sni = match (&upstream.server_name, tls) {
            (Some(name), true) => name.as_str().to_owned(),
            (None, true) => host_text(&target.host),
            (_, false) => String::new(),
        };
        let mut peer = HttpPeer::new(placeholder_address(), tls, sni);
        if let (TargetHost::Address(address), None, true) =
            (&target.host, &upstream.server_name, tls)
        {
            address_name::verify_by_address(&mut peer, *address);
        }
        if let (Some(ClientCertificate::Held(pair)), true) = (&upstream.client_certificate, tls) {
            peer.client_cert_key = Some(self.certificates.of(pair)?);
        }
        let options = &mut peer.options;
        // The plan has done it, by stricter rules: not once more.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        speak(options, upstream.protocol, tls);
        let timeouts = &upstream.timeouts;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect * 2);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(timeouts.idle);
        options.tcp_keepalive = Some(keepalive(timeouts.write));
        options.ca = self.trust.roots_for(upstream.custom_ca.as_deref())?;
        peer.group_key = self.keys.key(service, &peer);
        Ok(peer)
    }

    /// The endpoint for one try. `tried`: where the request has been already.
    /// `key`: see [`Prepared::hash_key`].
    pub async fn pick(
        &self,
        prepared: &Prepared,
        now: Instant,
        tried: &[SocketAddr],
        key: Option<u64>,
    ) -> Result<Picked, Refusal> {
        if let Some(refusal) = &prepared.unavailable {
            return Err(refusal.clone());
        }
        let members = match prepared.current(&self.book, now) {
            Some(members) => members,
            None => prepared
                .found(&self.book, &self.reserved, now)
                .await
                .map_err(|error| unresolved(prepared, &error))?,
        };
        if members.list.is_empty() {
            return Err(forbidden(prepared));
        }
        if tried.is_empty() {
            members.rules.budget.save(members.rules.retry_percent);
        }
        place(members, now, tried, key).await
    }

    /// The endpoints as far as they are known, without a request that asks.
    fn watched(&self, prepared: &Prepared, now: Instant) -> Arc<Members> {
        for target in &prepared.targets {
            if target.addresses.last().is_none() {
                self.book.renew_in_background(&target.addresses);
            }
        }
        prepared
            .current(&self.book, now)
            .unwrap_or_else(|| prepared.refresh(&self.reserved))
    }
}

/// Members that are full.
type Full = SmallVec<[usize; 4]>;

/// A place at one of the endpoints, at once or after a while.
async fn place(
    members: Arc<Members>,
    now: Instant,
    tried: &[SocketAddr],
    key: Option<u64>,
) -> Result<Picked, Refusal> {
    let rules = &members.rules;
    let mut full = Full::new();
    while let Some(at) = choose(&members, now, tried, key, &full) {
        let Some(member) = members.list.get(at) else {
            break;
        };
        if member.endpoint.enter(rules.places) {
            return Ok(Picked::holding(member.clone(), members));
        }
        full.push(at);
    }
    for member in full.iter().filter_map(|at| members.list.get(*at)) {
        let Some(places) = rules.places else { break };
        if member.endpoint.pending() >= rules.most_pending {
            continue;
        }
        let waited = member
            .endpoint
            .enter_later(places, rules.most_pending, rules.patience);
        if waited.await {
            return Ok(Picked::holding(member.clone(), members));
        }
        break;
    }
    rules.states.tally.overloads.fetch_add(1, Relaxed);
    Err(Refusal::UpstreamOverloaded)
}

/// One that is in and has not been tried; else one that has not been tried;
/// else one that has been.
fn choose(
    members: &Members,
    now: Instant,
    tried: &[SocketAddr],
    key: Option<u64>,
    full: &[usize],
) -> Option<usize> {
    if members.list.len() == 1 {
        return Some(0).filter(|_| full.is_empty());
    }
    let has_room = |at: usize| !full.contains(&at);
    let is_fresh = |at: usize| {
        let address = members.list.get(at).map(|member| member.endpoint.address);
        has_room(at) && address.is_some_and(|address| !tried.contains(&address))
    };
    let is_in = |at: usize| members.is_in(at, now);
    if let Some(best) = members.next(key, |at| is_fresh(at) && is_in(at)) {
        return Some(best);
    }
    // Where none is in, all of them are better than nothing.
    let none_is_in = !(0..members.list.len()).any(is_in);
    let fresh = |at: usize| is_fresh(at) && (none_is_in || !tried.is_empty());
    members
        .next(key, fresh)
        .or_else(|| members.next(key, |at| has_room(at) && (none_is_in || is_in(at))))
}

fn unresolved(prepared: &Prepared, error: &ResolveError) -> Refusal {
    if let Some(requests) = complaints(prepared) {
        tracing::warn!(%error, requests, "upstream not resolved");
    }
    Refusal::UpstreamUnresolved
}

fn forbidden(prepared: &Prepared) -> Refusal {
    if let Some(requests) = complaints(prepared) {
        let upstream = &prepared.authority;
        tracing::warn!(%upstream, requests, "reserved target refused");
    }
    Refusal::UpstreamForbidden
}

fn complaints(prepared: &Prepared) -> Option<u64> {
    let first = prepared.targets.first()?;
    first.addresses.complaints.due(Instant::now())
}

fn first_authority(targets: &[PreparedTarget]) -> Arc<str> {
    let first = targets.first();
    first.map_or_else(|| "".into(), |target| target.authority.clone())
}

fn speak(options: &mut PeerOptions, protocol: UpstreamProtocol, tls: bool) {
    let (most, least) = match (protocol, tls) {
        (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, false) => (1, 1),
        (UpstreamProtocol::Http2, _) => (2, 2),
        (UpstreamProtocol::Auto, true) => (2, 1),
    };
    options.set_http_version(most, least);
    if most > 1 {
        options.max_h2_streams = MOST_STREAMS as usize;
        options.h2_stream_window_size = Some(STREAM_WINDOW);
        options.h2_connection_window_size = Some(STREAM_WINDOW * MOST_STREAMS);
    }
}

fn keepalive(write_timeout: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: ASKED_AFTER,
        interval: ASKED_AGAIN,
        // The time counts instead.
        count: 3,
        user_timeout: write_timeout.max(LEAST_UNACKNOWLEDGED),
    }
}

/// Replaced before the peer is dialled.
fn placeholder_address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

fn host_text(host: &TargetHost) -> String {
    match host {
        TargetHost::Name(name) => name.as_str().to_owned(),
        TargetHost::Address(ip) => ip.to_string(),
    }
}
