//! The endpoint that serves one try, for as long as it does; and what the try
//! says of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use knoxcall_bundle::Ejection;
use pingora::upstreams::peer::HttpPeer;

use super::members::{Member, Members};

/// Holds a place at its endpoint until it is dropped.
#[must_use]
pub struct Picked {
    member: Arc<Member>,
    members: Arc<Members>,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(StatusCode),
    /// No connection, or no TLS: nothing was sent.
    NotConnected,
    TimedOut,
    Broke,
    /// The client went away, or the gateway itself failed: nothing is learnt.
    Unknown,
}

impl Picked {
    /// Of a place that has been taken.
    pub(super) fn holding(member: Arc<Member>, members: Arc<Members>) -> Self {
        Self { member, members }
    }

    pub fn peer(&self) -> &Arc<HttpPeer> {
        &self.member.peer
    }

    pub fn address(&self) -> SocketAddr {
        self.member.endpoint.address
    }

    /// `host:port` of the target, for records.
    pub fn authority(&self) -> &Arc<str> {
        &self.member.authority
    }

    /// To be sent as `Host` in place of the plan's: the endpoint is another
    /// target's than the first.
    pub fn host(&self) -> Option<&HeaderValue> {
        Some(&self.member.host).filter(|_| self.member.has_own_host)
    }

    /// Once for each try. Not where a connection from the pool turned out to
    /// be closed: that says nothing of the endpoint.
    pub fn report(&self, outcome: Outcome) {
        let Some(rules) = &self.members.rules.ejection else {
            return;
        };
        let failed = match outcome {
            Outcome::Answered(status) => rules.statuses.contains(&status.as_u16()),
            Outcome::NotConnected | Outcome::TimedOut | Outcome::Broke => true,
            Outcome::Unknown => return,
        };
        if !failed {
            self.member.endpoint.succeeded();
        } else if self.member.endpoint.failed(rules) {
            self.eject(rules);
        }
    }

    /// May the request be tried once more, for what the try before came to?
    /// Whether it may be sent twice is for others to say. `tried`: this
    /// endpoint, and those before it.
    pub fn may_try_again(&self, outcome: Outcome, tried: &[SocketAddr]) -> bool {
        let rules = &self.members.rules;
        // What never got there costs the others nothing.
        if outcome == Outcome::NotConnected && self.is_another_left(tried) {
            return true;
        }
        let may = rules.budget.spend(Instant::now());
        if !may {
            rules.states.tally.retries_denied.fetch_add(1, Relaxed);
        }
        may
    }

    pub fn is_another_left(&self, tried: &[SocketAddr]) -> bool {
        let mut others = self.members.list.iter();
        others.any(|member| !tried.contains(&member.endpoint.address))
    }

    fn eject(&self, rules: &Ejection) {
        let now = Instant::now();
        let members = self.members.list.iter();
        let out = members.filter(|member| member.endpoint.is_out(now)).count();
        if out >= self.members.most_ejected() || !self.member.endpoint.eject(rules, now) {
            return;
        }
        self.members
            .rules
            .states
            .tally
            .ejections
            .fetch_add(1, Relaxed);
        let (upstream, address) = (self.authority(), self.address());
        tracing::warn!(%upstream, %address, "upstream endpoint ejected");
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.member.endpoint.leave();
    }
}
