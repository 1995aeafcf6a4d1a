//! One try to have a request answered by its upstream: a connection, the
//! request, the answer; and whether another try may follow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HOST, UPGRADE};
use knoxcall_filters::Refusal;
use knoxcall_ledger::Text;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Digest};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use smallvec::SmallVec;

use super::connector::{Connected, Connector};
use super::context::Context;
use super::deadline::Deadline;
use super::failure::{MOST_TRIES, ended_with_connection, may_connect_again, may_send_again};
use super::passage::Passage;
use super::patience::Patience;
use super::relay::{Broken, Conclusion, Relay};
use super::to_client::send_last;
use super::websocket::Switched;
use crate::gateway::Gateway;
use crate::snapshot::Snapshot;
use crate::upstream::{Outcome, Picked, Prepared};

/// The endpoints that a request has been sent to, or tried to.
pub type Tried = SmallVec<[SocketAddr; 4]>;

/// An endpoint that had less is not blamed: others may have used the time up.
const FAIR_TO_CONNECT: Duration = Duration::from_secs(1);

/// In a group's key, which counts up from one.
const HTTP1_ONLY: u64 = 1 << 63;

pub struct Attempt<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub connector: &'a Connector,
    pub snapshot: &'a Snapshot,
    pub passage: &'a Passage<'a>,
}

pub enum Made {
    Answered,
    Switched(Box<Switched>),
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
        tried: &mut Tried,
    ) -> Result<Made, Broke> {
        let mut head = self.passage.head(session.req_header(), context)?;
        let prepared = self.snapshot.upstream(context.target);
        let prepared = prepared.ok_or(Refusal::Internal)?;
        let patience = Patience::of(session, &prepared.timeouts, context);
        let picked = patience
            .in_all(self.pick(prepared, session, context, tried))
            .await
            .ok_or(Refusal::UpstreamTimeout)??;
        if let Some(host) = picked.host() {
            head.insert_header(HOST, host)
                .map_err(|_| Refusal::Internal)?;
        }
        let http1_only;
        let peer = match head.headers.contains_key(UPGRADE) {
            true => {
                http1_only = without_http2(picked.peer());
                &http1_only
            }
            false => picked.peer(),
        };
        let time_left = patience.left();
        let connecting = self.connect(&picked, peer, context, tried);
        let Some(connected) = patience.in_all(connecting).await else {
            if time_left >= Some(FAIR_TO_CONNECT) {
                picked.report(Outcome::TimedOut);
            }
            return Err(Broke::Refused(Refusal::UpstreamTimeout));
        };
        let connected = connected?;
        let (mut upstream, is_reused) = (connected.session, connected.is_reused);
        note_connection(context, peer, is_reused, upstream.digest());
        upstream.set_write_timeout(peer.options.write_timeout);
        let service = self.passage.service();
        let relay = Relay::new(session, &mut upstream, deadline, patience, service);
        match relay.run(head, context).await {
            Ok(Conclusion::Switched(inspection)) => {
                picked.report(answered(context));
                let switched = Switched::new(upstream, picked, inspection);
                let switched = switched.ok_or(Refusal::Internal)?;
                Ok(Made::Switched(Box::new(switched)))
            }
            Ok(Conclusion::Answered(over)) => {
                picked.report(answered(context));
                if over.is_reusable {
                    self.connector.release(upstream, peer).await;
                } else {
                    self.connector.give_up(upstream, peer);
                }
                // The endpoint has done its part, however slow the client is.
                drop(picked);
                let sent = send_last(session, over.last, over.patience).await;
                sent.map(|()| Made::Answered).map_err(Broke::for_good)
            }
            Err(Broken::Refused(refusal)) => {
                picked.report(answered(context));
                self.connector.give_up(upstream, peer);
                Err(Broke::Refused(refusal))
            }
            Err(Broken::Failed(error)) => {
                let said_nothing = upstream.head().is_none();
                self.connector.give_up(upstream, peer);
                let method = &session.req_header().method;
                let at_hand = context.body.is_some() || session.body_bytes_read() == 0;
                let outcome = broke(&error);
                // Closed while it lay in the pool: the endpoint may be well.
                let was_stale = is_reused
                    && said_nothing
                    && outcome == Outcome::Broke
                    && ended_with_connection(&error);
                let outcome = if was_stale { Outcome::Unknown } else { outcome };
                picked.report(outcome);
                let again = was_stale
                    && may_send_again(&error, method, at_hand, context.outcome.attempts)
                    && picked.may_try_again(outcome, tried);
                Err(Broke::Failed { error, again })
            }
        }
    }

    /// An endpoint, and a place at it.
    async fn pick(
        &self,
        prepared: &Prepared,
        session: &ServerSession,
        context: &mut Context,
        tried: &mut Tried,
    ) -> Result<Picked, Refusal> {
        context.outcome.attempts += 1;
        context.note(|record| record.upstream_host = Some(Text::from(&*prepared.authority)));
        let key = prepared.hash_key(self.passage.client(), &session.req_header().headers);
        let upstreams = &self.gateway.upstreams;
        let picked = upstreams
            .pick(prepared, context.started, tried, key)
            .await?;
        tried.push(picked.address());
        if picked.host().is_some() {
            let authority = picked.authority();
            context.note(|record| record.upstream_host = Some(Text::from(&**authority)));
        }
        Ok(picked)
    }

    async fn connect(
        &self,
        picked: &Picked,
        peer: &HttpPeer,
        context: &Context,
        tried: &Tried,
    ) -> Result<Connected, Broke> {
        self.connector.connect(peer).await.map_err(|error| {
            let error = error.into_up();
            picked.report(Outcome::NotConnected);
            let attempts = context.outcome.attempts;
            let may = match picked.is_another_left(tried) {
                true => attempts < MOST_TRIES,
                false => may_connect_again(&error, attempts),
            };
            let again = may && picked.may_try_again(Outcome::NotConnected, tried);
            Broke::Failed { error, again }
        })
    }
}

fn answered(context: &Context) -> Outcome {
    let status = context.outcome.upstream_status;
    status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .map_or(Outcome::Unknown, Outcome::Answered)
}

fn broke(error: &Error) -> Outcome {
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
            Outcome::TimedOut
        }
        (ErrorSource::Upstream, _) => Outcome::Broke,
        (ErrorSource::Downstream | ErrorSource::Internal | ErrorSource::Unset, _) => {
            Outcome::Unknown
        }
    }
}

/// A WebSocket is asked for over HTTP/1.1 (RFC 8441 would be another way). Its
/// connections are kept apart: those of the route itself speak HTTP/2.
fn without_http2(peer: &Arc<HttpPeer>) -> Arc<HttpPeer> {
    if peer.options.alpn.get_max_http_version() < 2 {
        return peer.clone();
    }
    let mut own = HttpPeer::clone(peer);
    own.options.alpn = ALPN::H1;
    own.group_key ^= HTTP1_ONLY;
    Arc::new(own)
}

fn note_connection(
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

/// TCP and TLS together.
fn connect_time(digest: Option<&Digest>) -> Duration {
    let layers = digest.into_iter().flat_map(|digest| &digest.timing_digest);
    layers
        .flatten()
        .filter_map(|layer| layer.establishment_duration)
        .sum()
}
