//! A service's upstream, made ready with its snapshot: a peer for each target
//! that lacks nothing but an address, and the endpoints as they are now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use futures::future::select_ok;
use http::{HeaderMap, HeaderValue};
use knoxcall_bundle::ids::EnvironmentName;
use knoxcall_bundle::{Balance, HashKey, Timeouts, UpstreamProtocol};
use knoxcall_filters::Refusal;
use pingora::upstreams::peer::HttpPeer;

use super::balance::stable_hash;
use super::members::{Members, Resolved};
use super::reserved::ReservedTargets;
use super::resolve::{AddressBook, Addresses, ResolveError};
use super::rules::Rules;

pub struct Prepared {
    /// Never empty.
    pub(super) targets: Box<[PreparedTarget]>,
    pub(super) members: ArcSwapOption<Members>,
    pub(super) rules: Arc<Rules>,
    pub(super) allow_reserved: bool,
    /// Why nothing can be sent.
    pub(super) unavailable: Option<Refusal>,
    /// `host:port` of the first target.
    pub authority: Arc<str>,
    pub environment: EnvironmentName,
    pub protocol: UpstreamProtocol,
    pub timeouts: Timeouts,
}

pub struct PreparedTarget {
    pub template: HttpPeer,
    pub addresses: Arc<Addresses>,
    pub authority: Arc<str>,
    pub host: HeaderValue,
    /// It is not the first target's.
    pub has_own_host: bool,
    pub weight: u32,
}

impl Prepared {
    /// What a request is assigned by, where the route has it so.
    pub fn hash_key(&self, client: Option<IpAddr>, headers: &HeaderMap) -> Option<u64> {
        let by_address = || match client? {
            IpAddr::V4(v4) => Some(stable_hash(&v4.octets())),
            IpAddr::V6(v6) => Some(stable_hash(&v6.octets())),
        };
        match &self.rules.balance {
            Balance::RoundRobin | Balance::LeastConnections => None,
            Balance::ConsistentHash(HashKey::ClientAddress) => by_address(),
            Balance::ConsistentHash(HashKey::Header(name)) => match headers.get(name) {
                Some(value) => Some(stable_hash(value.as_bytes())),
                None => by_address(),
            },
        }
    }

    /// The endpoints, if nothing has changed since they were made.
    pub(super) fn current(&self, book: &Arc<AddressBook>, now: Instant) -> Option<Arc<Members>> {
        let members = self.members.load_full()?;
        if !members.resolved.iter().any(Option::is_some) {
            return None;
        }
        let mut targets = self.targets.iter().zip(&members.resolved);
        targets
            .all(|(target, list)| book.are_current(&target.addresses, list.as_ref(), now))
            .then_some(members)
    }

    /// The endpoints, looked up where no target's name is known. One is enough
    /// to begin with: the others are looked up meanwhile.
    pub(super) async fn found(
        &self,
        book: &Arc<AddressBook>,
        reserved: &ReservedTargets,
        now: Instant,
    ) -> Result<Arc<Members>, ResolveError> {
        if self
            .targets
            .iter()
            .all(|target| target.addresses.last().is_none())
        {
            let lookups = self.targets.iter();
            let lookups = lookups.map(|target| Box::pin(book.addresses(&target.addresses, now)));
            select_ok(lookups).await?;
        }
        Ok(self.refresh(reserved))
    }

    /// Of what is known.
    pub(super) fn refresh(&self, reserved: &ReservedTargets) -> Arc<Members> {
        let resolved = self.targets.iter().map(|target| Resolved {
            template: &target.template,
            authority: &target.authority,
            host: &target.host,
            has_own_host: target.has_own_host,
            weight: target.weight,
            addresses: target.addresses.last(),
        });
        let allowed = |address| self.allow_reserved || !reserved.contains(address);
        let members = Arc::new(Members::new(resolved, self.rules.clone(), allowed));
        self.members.store(Some(members.clone()));
        members
    }
}
