//! What is known of upstreams, for operators: every pool on the admin
//! listener, sums in the metrics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use knoxcall_bundle::UpstreamProtocol;
use serde_json::{Value, json};

use super::members::{Member, Members};
use super::{Prepared, Upstreams};

/// Sums over all endpoints of all pools; no label depends on the
/// configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub endpoints: u64,
    pub unhealthy: u64,
    pub ejected: u64,
    pub in_flight: u64,
    pub pending: u64,
    pub ejections: u64,
    pub overloads: u64,
    pub retries_denied: u64,
}

impl Upstreams {
    pub fn sums(&self, now: Instant) -> Sums {
        let tally = &self.states.tally;
        let mut sums = Sums {
            ejections: tally.ejections.load(Relaxed),
            overloads: tally.overloads.load(Relaxed),
            retries_denied: tally.retries_denied.load(Relaxed),
            ..Sums::default()
        };
        for endpoint in self.states.endpoints.all() {
            sums.endpoints += 1;
            sums.ejected += u64::from(endpoint.is_out(now));
            sums.in_flight += u64::from(endpoint.in_flight());
            sums.pending += u64::from(endpoint.pending());
        }
        let health = self.states.health.all();
        sums.unhealthy = health.iter().filter(|health| !health.is_good()).count() as u64;
        sums
    }
}

/// Every pool of a snapshot.
pub fn shown<'p>(pools: impl Iterator<Item = &'p Prepared>, now: Instant) -> Value {
    let pools: Vec<Value> = pools.map(|prepared| pool(prepared, now)).collect();
    json!({ "upstreams": pools })
}

fn pool(prepared: &Prepared, now: Instant) -> Value {
    let targets: Vec<&str> = prepared.targets.iter().map(|at| &*at.authority).collect();
    let members = prepared.members.load_full();
    let endpoints: Vec<Value> = members
        .iter()
        .flat_map(|members| {
            let list = members.list.iter().enumerate();
            list.map(|(at, member)| endpoint(members, at, member, now))
        })
        .collect();
    json!({
        "environment": prepared.environment.as_str(),
        "protocol": match prepared.protocol {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "http2",
            UpstreamProtocol::Auto => "auto",
        },
        "targets": targets,
        "endpoints": endpoints,
    })
}

fn endpoint(members: &Members, at: usize, member: &Member, now: Instant) -> Value {
    let health = member.health.as_ref();
    let is_ejected = members.rules.ejection.is_some() && members.is_ejected(at, now);
    json!({
        "target": &*member.authority,
        "address": member.endpoint.address,
        "healthy": health.is_none_or(|health| health.is_good()),
        "ejected": is_ejected,
        "in_flight": member.endpoint.in_flight(),
        "pending": member.endpoint.pending(),
    })
}
