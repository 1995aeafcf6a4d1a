//! Requests that ask to turn their connection into another protocol's, served
//! by Pingora's own proxy task, which knows how. Its phases, each a few calls
//! into what [`super::exchange`] uses as well. The connection ends with them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knoxcall_filters::Refusal;
use knoxcall_ledger::{EndedBy, Text};
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::Answer;
use super::answer_head::mark;
use super::attempt::{judge_connection, note_connection, peer};
use super::context::Context;
use super::decision::{Stop, decide, head_of};
use super::exchange::{close, note_end, note_refusal};
use super::failure::{Failure, classify, may_connect_again, may_send_again};
use super::findings;
use super::header_edit::edit_response;
use super::relay::answer_has_begun;
use crate::gateway::Gateway;

/// Of a WebSocket's upstream; its client may be silent for as long as it likes.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// The error type of a refusal on its way to `fail_to_proxy`, which answers.
const REFUSED: ErrorType = ErrorType::new("Refused");

pub struct Upgrades {
    gateway: Arc<Gateway>,
}

impl Upgrades {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Leaves the refusal for `fail_to_proxy`.
    fn fail<T>(&self, context: &mut Context, refusal: Refusal) -> Result<T> {
        context.refusal = Some(refusal);
        Error::e_explain(REFUSED, "")
    }

    async fn refuse(
        &self,
        session: &mut Session,
        context: &mut Context,
        refusal: &Refusal,
    ) -> Result<()> {
        self.gateway.metrics.count_refusal(refusal.code());
        note_refusal(context, refusal);
        session.set_keepalive(None);
        let answer = Answer::refusal(refusal, &context.id, context.quota.as_ref());
        answer.send(session, &context.id).await
    }

    /// Where the upstream's answer has begun, nothing can be added to it that a
    /// client would not take for the rest: the connection ends in its middle.
    async fn refuse_late(&self, session: &mut Session, context: &mut Context, refusal: &Refusal) {
        if answer_has_begun(session) {
            self.gateway.metrics.count_refusal(refusal.code());
            note_refusal(context, refusal);
            close(session).await;
        } else {
            // A client that does not take the answer has gone.
            let _ = self.refuse(session, context, refusal).await;
        }
    }
}

#[async_trait]
impl ProxyHttp for Upgrades {
    /// Boxed: Pingora moves it from future to future.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(&self.gateway))
    }

    /// None: Pingora's own would look for a compression nobody asked for.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut Box<Context>,
    ) -> Result<bool> {
        let peer = peer_ip(session);
        findings::note_head(context, &head_of(session.req_header()), peer);
        let snapshot = context.snapshot.clone();
        let head = decide(&self.gateway, &snapshot, session, context, peer)
            .await
            .and_then(|passage| Ok(passage.head(session.req_header(), context)?));
        match head {
            Ok(head) => {
                *session.req_header_mut() = *head;
                Ok(false)
            }
            Err(Stop::Client(error)) => Err(error.into_down()),
            Err(Stop::Refused(refusal)) => {
                self.refuse(session, context, &refusal).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        context: &mut Box<Context>,
    ) -> Result<Box<HttpPeer>> {
        if context.outcome.attempts > 0 {
            self.gateway.metrics.upstream_retries.inc();
        }
        match peer(&self.gateway, context).await {
            Ok(peer) => {
                let mut peer = Box::new(HttpPeer::clone(&peer));
                // Pingora has one time-out for the handshake and for all after.
                peer.options.read_timeout = Some(LONGEST_SILENCE);
                Ok(peer)
            }
            Err(refusal) => self.fail(context, refusal),
        }
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        context: &mut Box<Context>,
    ) -> Result<()> {
        note_connection(context, peer, reused, digest);
        match judge_connection(peer, digest) {
            Ok(()) => Ok(()),
            Err(refusal) => self.fail(context, refusal),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        let status = response.status;
        if status.is_informational() && status != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        context.outcome.upstream_status = Some(status.as_u16());
        context.outcome.first_byte = Some(context.started.elapsed());
        let is_upgrade = status == http::StatusCode::SWITCHING_PROTOCOLS;
        edit_response(response, |headers| mark(headers, status, context));
        if is_upgrade {
            // A WebSocket may be silent for as long as it likes.
            session.set_read_timeout(None);
        } else {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Box<Context>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(may_connect_again(&error, context.outcome.attempts));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Box<Context>,
        reused: bool,
    ) -> Box<Error> {
        let method = &session.req_header().method;
        // What asks for an upgrade has no body.
        let retry = reused
            && !answer_has_begun(session)
            && may_send_again(&error, method, true, context.outcome.attempts);
        error.set_retry(retry);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Box<Context>,
    ) -> FailToProxy {
        let failure = match context.refusal.take() {
            Some(refusal) => Failure::Refused(refusal),
            None => classify(error),
        };
        let error_code = match failure {
            Failure::ClientGone => {
                context.note(|record| record.ended_by = EndedBy::Client);
                0
            }
            Failure::Refused(refusal) => {
                context.note(|record| {
                    record.error_detail = Some(Text::from(error.etype().as_str()));
                });
                self.refuse_late(session, context, &refusal).await;
                refusal.status().as_u16()
            }
        };
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        context: &mut Box<Context>,
    ) {
        note_end(session, context, error.is_none());
    }

    /// What failed is in the record; Pingora's own lines would quote requests.
    fn suppress_error_log(&self, _: &Session, _: &Box<Context>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Box<Context>,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn peer_ip(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |inet| {
            inet.ip().to_canonical()
        })
}
