//! One try to have a request answered by its upstream: a connection, the
//! request, the answer; and whether another try may follow.

use std::sync::Arc;
use std::time::Duration;

use knoxcall_filters::Refusal;
use knoxcall_ledger::Text;
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::connector::{Connected, Connector};
use super::context::Context;
use super::deadline::Deadline;
use super::failure::{may_connect_again, may_send_again};
use super::passage::Passage;
use super::relay::{Broken, Patience, Relay, answer_has_begun, send_last};
use super::upstream_session::is_grpc;
use crate::gateway::Gateway;
use crate::upstream::address_name;

/// Where no time-out is set; every route has one.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

pub struct Attempt<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub connector: &'a Connector,
    pub passage: &'a Passage<'a>,
}

pub enum Broke {
    Refused(Refusal),
    Failed { error: Box<Error>, again: bool },
}

impl Broke {
    fn for_good(error: Box<Error>) -> Self {
        let again = false;
        Self::Failed { error, again }
    }
}

impl From<Refusal> for Broke {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Attempt<'_> {
    pub async fn make(
        &self,
        session: &mut ServerSession,
        context: &mut Context,
        deadline: &mut Deadline,
    ) -> Result<(), Broke> {
        let head = self.passage.head(session.req_header(), context)?;
        let peer = peer(self.gateway, context).await?;
        let connected = self.connect(peer.as_ref(), context).await?;
        let (mut upstream, is_reused) = (connected.session, connected.is_reused);
        note_connection(context, &peer, is_reused, upstream.digest());
        judge_connection(&peer, upstream.digest())?;

        upstream.set_write_timeout(peer.options.write_timeout);
        let patience = patience(session, &peer, context);
        let service = self.passage.service();
        let relay = Relay::new(session, &mut upstream, deadline, patience, service);
        match relay.run(head, context).await {
            Ok(over) => {
                if over.is_reusable {
                    self.connector.release(upstream, &peer).await;
                } else {
                    self.connector.give_up(upstream, &peer);
                }
                let sent = send_last(session, over.last, context).await;
                sent.map_err(Broke::for_good)
            }
            Err(Broken::Refused(refusal)) => {
                self.connector.give_up(upstream, &peer);
                Err(Broke::Refused(refusal))
            }
            Err(Broken::Failed(error)) => {
                self.connector.give_up(upstream, &peer);
                let method = &session.req_header().method;
                let at_hand = context.body.is_some() || session.body_bytes_read() == 0;
                let again = is_reused
                    && !answer_has_begun(session)
                    && may_send_again(&error, method, at_hand, context.outcome.attempts);
                Err(Broke::Failed { error, again })
            }
        }
    }

    async fn connect(&self, peer: &HttpPeer, context: &Context) -> Result<Connected, Broke> {
        self.connector.connect(peer).await.map_err(|error| {
            let error = error.into_up();
            let again = may_connect_again(&error, context.outcome.attempts);
            Broke::Failed { error, again }
        })
    }
}

/// A call of gRPC may be silent for longer than a request, both ways.
fn patience(session: &ServerSession, peer: &HttpPeer, context: &Context) -> Patience {
    let limits = &context.snapshot.settings.limits;
    let events = limits.stream_idle_timeout;
    if is_grpc(&session.req_header().headers) {
        return Patience {
            client: events,
            upstream: events,
            events,
            least_rate: None,
        };
    }
    Patience {
        client: limits.body_timeout,
        upstream: peer.options.read_timeout.unwrap_or(LONGEST_PATIENCE),
        events,
        least_rate: limits.min_body_rate,
    }
}

/// Where this try goes.
pub async fn peer(gateway: &Gateway, context: &mut Context) -> Result<Arc<HttpPeer>, Refusal> {
    let snapshot = context.snapshot.clone();
    let prepared = context
        .target
        .and_then(|target| snapshot.upstreams.get(target.0))
        .ok_or(Refusal::Internal)?;
    context.outcome.attempts += 1;
    context.note(|record| record.upstream_host = Some(Text::from(&*prepared.authority)));
    gateway.upstreams.peer(prepared, context.started).await
}

pub fn note_connection(
    context: &mut Context,
    peer: &HttpPeer,
    is_reused: bool,
    digest: Option<&Digest>,
) {
    context.note(|record| {
        record.upstream_address = peer._address.as_inet().copied();
        record.connect = (!is_reused).then(|| connect_time(digest));
    });
}

/// Pingora would speak TLS 1.0 to an upstream that knows no better, and take
/// an address for a name.
pub fn judge_connection(peer: &HttpPeer, digest: Option<&Digest>) -> Result<(), Refusal> {
    let uses_old_tls = digest
        .and_then(|digest| digest.ssl_digest.as_ref())
        .is_some_and(|tls| !matches!(tls.version.as_ref(), "TLSv1.2" | "TLSv1.3"));
    if uses_old_tls || !address_name::is_named(peer, digest) {
        return Err(Refusal::UpstreamTls);
    }
    Ok(())
}

/// TCP and TLS together.
fn connect_time(digest: Option<&Digest>) -> Duration {
    let layers = digest.into_iter().flat_map(|digest| &digest.timing_digest);
    layers
        .flatten()
        .filter_map(|layer| layer.establishment_duration)
        .sum()
}
