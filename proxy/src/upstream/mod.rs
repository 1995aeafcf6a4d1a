//! Where requests go: peers prepared once for each snapshot, so that a request
//! copies one and dials.
//!
//! Invariants: a peer's `group_key` keeps its connections apart from those of
//! any other tenant, environment, CA set or TLS mode (Pingora's own key would
//! share them); TLS never goes out with an empty SNI (Pingora would then verify
//! nothing); names are resolved by [`resolve`], not by `HttpPeer::new`.

pub mod address_name;
pub mod complaints;
pub mod pool_key;
pub mod reserved;
pub mod resolve;
pub mod trust;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use knoxcall_bundle::settings::UpstreamSettings;
use knoxcall_bundle::{Scheme, TargetHost};
use knoxcall_filters::Refusal;
use knoxcall_filters::table::ServiceTarget;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use pool_key::PoolKeys;
use reserved::ReservedTargets;
use resolve::{AddressBook, Addresses, Patience};
use trust::{Trust, TrustError};

/// What outlives a snapshot: addresses, pool keys, trusted roots.
pub struct Upstreams {
    pub book: Arc<AddressBook>,
    keys: PoolKeys,
    trust: Trust,
    reserved: ReservedTargets,
}

/// One target, ready to be dialled.
pub struct Prepared {
    template: HttpPeer,
    /// With the address of the last request: most names have one.
    latest: ArcSwapOption<HttpPeer>,
    addresses: Arc<Addresses>,
    /// `host:port`, for records.
    pub authority: Arc<str>,
    allow_reserved: bool,
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
            reserved: ReservedTargets::new(own_listeners),
        }
    }

    pub fn prepare(&self, service: &ServiceTarget) -> Result<Prepared, TrustError> {
        let host = host_text(&service.target.host);
        let tls = service.target.scheme == Scheme::Https;
        let sni = match (&service.upstream.server_name, tls) {
            (Some(name), true) => name.as_str().to_owned(),
            (None, true) => host.clone(),
            (_, false) => String::new(),
        };
        let mut template = HttpPeer::new(placeholder_address(), tls, sni);
        template.group_key = self.keys.key(service);
        if let (TargetHost::Address(address), None, true) =
            (&service.target.host, &service.upstream.server_name, tls)
        {
            address_name::verify_by_address(&mut template, *address);
        }
        let options = &mut template.options;
        // The plan has done it, by stricter rules: not once more.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        let timeouts = &service.upstream.timeouts;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect * 2);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(timeouts.idle);
        options.ca = self
            .trust
            .roots_for(service.upstream.custom_ca.as_deref())?;
        let port = service.target.port;
        Ok(Prepared {
            template,
            latest: ArcSwapOption::empty(),
            addresses: self.book.entry(&host, port),
            authority: format!("{host}:{port}").into(),
            allow_reserved: service.upstream.allow_reserved_target,
        })
    }

    /// The peer for one try.
    pub async fn peer(&self, prepared: &Prepared, now: Instant) -> Result<Arc<HttpPeer>, Refusal> {
        let complaints = &prepared.addresses.complaints;
        let address = self
            .book
            .pick(&prepared.addresses, now)
            .await
            .map_err(|error| {
                if let Some(requests) = complaints.due(Instant::now()) {
                    tracing::warn!(%error, requests, "upstream not resolved");
                }
                Refusal::UpstreamUnresolved
            })?;
        if !prepared.allow_reserved && self.reserved.contains(address) {
            if let Some(requests) = complaints.due(Instant::now()) {
                tracing::warn!(upstream = %prepared.authority, %address, requests, "reserved target refused");
            }
            return Err(Refusal::UpstreamForbidden);
        }
        Ok(prepared.at(address))
    }
}

impl Prepared {
    fn at(&self, address: SocketAddr) -> Arc<HttpPeer> {
        let address = PeerAddress::Inet(address);
        if let Some(latest) = self.latest.load_full()
            && latest._address == address
        {
            return latest;
        }
        let mut peer = self.template.clone();
        peer._address = address;
        let peer = Arc::new(peer);
        self.latest.store(Some(peer.clone()));
        peer
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
