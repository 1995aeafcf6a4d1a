//! One request and its answer: decide, forward or refuse, conclude.
//!
//! Pingora's own proxy task would do for this too. It runs each half of an
//! exchange as a task of its own with channels between them, boxes each of some
//! twenty phases, and copies heads from one to the next: half of the processor
//! time of a request. Here the same sessions and connections of Pingora's meet
//! in one loop ([`super::relay`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knoxcall_filters::plan::Proto;
use knoxcall_filters::refusal::Malformation;
use knoxcall_filters::{Refusal, hygiene};
use knoxcall_ledger::{EndedBy, Text};
use pingora::protocols::http::ServerSession;

use super::answer::Answer;
use super::answer_head::is_final;
use super::attempt::{Attempt, Broke, Made, Tried};
use super::client_stream::ClientStream;
use super::connector::Connector;
use super::context::Context;
use super::deadline::Deadline;
use super::decision::{Stop, decide, head_of};
use super::failure::{Failure, classify};
use super::to_client::{answer_has_begun, client_patience, within};
use super::upstream_session::is_grpc;
use super::{findings, grpc, websocket};
use crate::downstream::TlsFacts;
use crate::gateway::Gateway;
use crate::health::Probe;

const LINGER: Duration = Duration::from_millis(500);

/// What is left of a request's connection.
pub enum Served {
    /// Ready for the next request.
    Reusable(Box<ClientStream>),
    Over,
    /// The client left before its answer began.
    Abandoned,
}

pub struct Exchange<'e> {
    pub gateway: &'e Arc<Gateway>,
    pub connector: &'e Connector,
    pub peer: IpAddr,
}

impl Exchange<'_> {
    /// Serves the request whose head the session is about to read.
    pub async fn serve(&self, mut session: Box<ServerSession>, deadline: &mut Deadline) -> Served {
        let mut context = Box::new(Context::new(self.gateway));
        if let Some(tls) = TlsFacts::of(session.digest()) {
            context.proto = Proto::Https;
            context.certificate = tls.certificate(&context.snapshot.listeners);
        }
        if !matches!(session.read_request().await, Ok(true)) {
            self.refuse_head(&mut session, &mut context).await;
            return Served::Over;
        }
        let answered = self.answer(&mut session, &mut context, deadline).await;
        let is_answered = matches!(answered, Ok(Made::Answered));
        let goes_on = match answered {
            Ok(Made::Answered) => true,
            Ok(Made::Switched(switched)) => {
                note_end(&session, &mut context, false);
                let gateway = self.gateway;
                websocket::serve(gateway, session, *switched, &mut context, deadline).await;
                return Served::Over;
            }
            Err(failure) => self.fail(&mut session, &mut context, failure).await,
        };
        note_end(&session, &mut context, is_answered);
        if !goes_on {
            // Many calls that stream are ended by their client: that is no flood.
            return match answer_has_begun(&session) {
                true => Served::Over,
                false => Served::Abandoned,
            };
        }
        // A stream of HTTP/2 is given up by itself, without its connection.
        if !session.is_body_done() && !session.is_http2() {
            linger(&mut session).await;
            return Served::Over;
        }
        let finished = within(client_patience(&context), session.finish()).await;
        let reusable = finished.ok().flatten();
        reusable
            .and_then(|reusable| reusable.into_parts().0.into_any().downcast().ok())
            .map_or(Served::Over, Served::Reusable)
    }

    /// Sound by our rules and not by Pingora's, which are laxer but for its
    /// limits. The session has no head then, and must not be asked for it.
    async fn refuse_head(&self, session: &mut ServerSession, context: &mut Context) {
        let refusal = Refusal::Malformed(Malformation::InvalidHead);
        self.fail(session, context, Failure::Refused(refusal)).await;
        note_end(session, context, false);
        close(session).await;
    }

    async fn answer(
        &self,
        session: &mut ServerSession,
        context: &mut Context,
        deadline: &mut Deadline,
    ) -> Result<Made, Failure> {
        let head = head_of(session.req_header());
        findings::note_head(context, &head, self.peer);
        if session.is_http2() {
            // Of HTTP/1, the connection has judged the very bytes.
            let budget = context.snapshot.head_budget;
            hygiene::check_parsed(&head, &budget).map_err(Failure::Refused)?;
        }
        if let Some(probe) = Probe::of_request(&head) {
            if context.must_close() {
                session.set_keepalive(None);
            }
            let answer = probe.answer(self.gateway);
            return send(session, context, answer)
                .await
                .map(|()| Made::Answered);
        }
        let snapshot = context.snapshot.clone();
        let passage = decide(self.gateway, &snapshot, session, context, self.peer)
            .await
            .map_err(|stop| match stop {
                Stop::Refused(refusal) => Failure::Refused(refusal),
                Stop::Client(error) => classify(&error.into_down()),
            })?;
        let attempt = Attempt {
            gateway: self.gateway,
            connector: self.connector,
            snapshot: &snapshot,
            passage: &passage,
        };
        self.forward(&attempt, session, context, deadline).await
    }

    /// As often as it may be tried.
    async fn forward(
        &self,
        attempt: &Attempt<'_>,
        session: &mut ServerSession,
        context: &mut Context,
        deadline: &mut Deadline,
    ) -> Result<Made, Failure> {
        let mut tried = Tried::new();
        loop {
            match attempt.make(session, context, deadline, &mut tried).await {
                Ok(made) => return Ok(made),
                Err(Broke::Refused(refusal)) => return Err(Failure::Refused(refusal)),
                Err(Broke::Failed { again: true, .. }) => {
                    self.gateway.metrics.upstream_retries.inc();
                }
                Err(Broke::Failed {
                    error,
                    again: false,
                }) => {
                    context.note(|record| {
                        record.error_detail = Some(Text::from(error.etype().as_str()));
                    });
                    return Err(classify(&error));
                }
            }
        }
    }

    /// True: the client has its answer, and may go on.
    async fn fail(
        &self,
        session: &mut ServerSession,
        context: &mut Context,
        failure: Failure,
    ) -> bool {
        match failure {
            Failure::ClientGone => {
                context.note(|record| record.ended_by = EndedBy::Client);
                false
            }
            Failure::Refused(refusal) => {
                self.gateway.metrics.count_refusal(refusal.code());
                note_refusal(context, &refusal);
                if answer_has_begun(session) {
                    // Nothing can be added that a client would not take for the
                    // rest of the answer: the connection ends in its middle.
                    close(session).await;
                    return false;
                }
                if refusal.closes_connection() || context.must_close() {
                    session.set_keepalive(None);
                }
                if let ServerSession::H2(stream) = session
                    && is_grpc(&stream.req_header().headers)
                {
                    return grpc::refuse(stream, &refusal, &context.id).is_ok();
                }
                let answer = Answer::refusal(&refusal, &context.id, context.quota.as_ref());
                // A client that does not take the answer has gone.
                send(session, context, answer).await.is_ok()
            }
        }
    }
}

/// Reads on for a moment what the client still sends: a connection closed with
/// unread bytes in it is reset, and the answer may be lost.
async fn linger(session: &mut ServerSession) {
    session.set_total_drain_timeout(Some(LINGER));
    let read_on = async {
        session.finish_body().await?;
        session.drain_request_body().await
    };
    let _ = within(2 * LINGER, read_on).await;
    close(session).await;
}

/// Sends what is buffered first: a client that takes nothing must not keep us.
pub async fn close(session: &mut ServerSession) {
    let _ = pingora_timeout::timeout(LINGER, session.shutdown()).await;
}

async fn send(
    session: &mut ServerSession,
    context: &Context,
    answer: Answer,
) -> Result<(), Failure> {
    let sent = within(client_patience(context), answer.send(session, &context.id));
    sent.await.map_err(|error| classify(&error.into_down()))
}

pub fn note_refusal(context: &mut Context, refusal: &Refusal) {
    context.note(|record| {
        record.error = Some(refusal.code());
        record.ended_by = EndedBy::Gateway;
        if record.error_detail.is_none() {
            record.error_detail = Some(Text::from(refusal.message().as_ref()));
        }
    });
}

pub fn note_end(session: &ServerSession, context: &mut Context, is_answered: bool) {
    let written = session.response_written().map(|head| head.status);
    context.outcome.status = written
        .filter(|status| is_final(*status))
        .map(|status| status.as_u16());
    let (received, sent) = (session.body_bytes_read(), session.body_bytes_sent());
    let by_upstream = is_answered && context.outcome.upstream_status.is_some();
    context.note(|record| {
        record.request_bytes = received as u64;
        record.response_bytes = sent as u64;
        if by_upstream {
            record.ended_by = EndedBy::Upstream;
        }
    });
}
