//! Pingora's phases, each a few calls into the decision and the plan.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use knoxcall_filters::Refusal;
use knoxcall_filters::names::{UPSTREAM_STATUS, X_REQUEST_ID};
use knoxcall_filters::rate_limit::Quota;
use knoxcall_ledger::{EndedBy, Text};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::Answer;
use super::connection::Followed;
use super::context::Context;
use super::decision::{Stop, decide, head_of};
use super::failure::{Failure, classify, may_connect_again, may_send_again};
use super::findings;
use super::header_edit::edit_response;
use crate::gateway::Gateway;
use crate::health::Probe;
use crate::upstream::address_name;

/// The error type of a refusal on its way to `fail_to_proxy`, which answers.
const REFUSED: ErrorType = ErrorType::new("Refused");

pub struct Phases {
    gateway: Arc<Gateway>,
}

impl Phases {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Every answer of a stopping gateway ends its connection.
    fn must_close(&self, context: &Context) -> bool {
        !context.keep_alive || self.gateway.is_stopping()
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
        let answer = Answer::refusal(refusal, &context.id, context.quota.as_ref());
        context.note(|record| {
            record.error = Some(refusal.code());
            record.ended_by = EndedBy::Gateway;
            if record.error_detail.is_none() {
                record.error_detail = Some(Text::from(refusal.message().as_ref()));
            }
        });
        if refusal.closes_connection() || self.must_close(context) {
            session.set_keepalive(None);
        }
        answer.send(session, &context.id).await
    }

    /// Where the upstream's answer has begun, nothing can be added to it that a
    /// client would not take for the rest: the connection ends in its middle.
    async fn refuse_late(&self, session: &mut Session, context: &mut Context, refusal: &Refusal) {
        if answer_has_begun(session) {
            self.gateway.metrics.count_refusal(refusal.code());
            context.note(|record| {
                record.error = Some(refusal.code());
                record.ended_by = EndedBy::Gateway;
            });
            session.set_keepalive(None);
            session.shutdown().await;
        } else {
            // A client that does not take the answer has gone.
            let _ = self.refuse(session, context, refusal).await;
        }
    }
}

#[async_trait]
impl ProxyHttp for Phases {
    /// Boxed: Pingora moves it from future to future.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(&self.gateway))
    }

    /// Called with what the connection loop left for this very request.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        context: &mut Box<Context>,
        left: Box<dyn Any + Send + Sync>,
    ) {
        context.keep_alive = !left.is::<Followed>();
    }

    /// None: Pingora's own would look for a compression nobody asked for.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut Box<Context>,
    ) -> Result<bool> {
        let peer = peer_ip(session);
        let head = head_of(session);
        findings::note_head(context, &head, peer);
        if let Some(probe) = Probe::of_request(&head) {
            let answer = probe.answer(&self.gateway);
            if self.must_close(context) {
                session.set_keepalive(None);
            }
            answer.send(session, &context.id).await?;
            return Ok(true);
        }
        match decide(&self.gateway, session, context, peer).await {
            Ok(()) => Ok(false),
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
        let snapshot = context.snapshot.clone();
        let prepared = context
            .target
            .and_then(|target| snapshot.upstreams.get(target.0));
        let Some(prepared) = prepared else {
            return self.fail(context, Refusal::Internal);
        };
        if context.outcome.attempts > 0 {
            self.gateway.metrics.upstream_retries.inc();
        }
        context.outcome.attempts += 1;
        context.note(|record| record.upstream_host = Some(prepared.authority.clone()));
        match self.gateway.upstreams.peer(prepared, context.started).await {
            Ok(peer) => Ok(peer),
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
        context.note(|record| {
            record.upstream_address = peer._address.as_inet().copied();
            record.connect = (!reused).then(|| connect_time(digest));
        });
        if uses_old_tls(digest) || !address_name::is_named(peer, digest) {
            return self.fail(context, Refusal::UpstreamTls);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        match context.body.clone() {
            Some(body) if !body.is_empty() => context.parked.park(session, request, body),
            Some(_) | None => {}
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        context: &mut Box<Context>,
    ) -> Result<()> {
        context.parked.restore(session);
        Ok(())
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
        edit_response(response, |headers| {
            headers.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
            headers.insert(X_REQUEST_ID, context.id.header_value().clone());
            // Not `extend`: that would leave an upstream's own beside ours.
            for (name, value) in context.quota.iter().flat_map(Quota::headers) {
                headers.insert(name, value);
            }
        });
        if self.must_close(context) {
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
        context.parked.restore(session);
        let method = &session.req_header().method;
        let body_at_hand = context.body.is_some() || !session.as_ref().retry_buffer_truncated();
        let retry = reused
            && session.response_written().is_none()
            && may_send_again(&error, method, body_at_hand, context.outcome.attempts);
        error.set_retry(retry);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Box<Context>,
    ) -> FailToProxy {
        context.parked.restore(session);
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
        context.parked.restore(session);
        context.outcome.status = session.response_written().map(|head| head.status.as_u16());
        let (received, sent) = (session.body_bytes_read(), session.body_bytes_sent());
        let answered = error.is_none() && context.outcome.upstream_status.is_some();
        context.note(|record| {
            record.request_bytes = received as u64;
            record.response_bytes = sent as u64;
            if answered {
                record.ended_by = EndedBy::Upstream;
            }
        });
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

fn answer_has_begun(session: &Session) -> bool {
    let written = session.response_written();
    written.is_some_and(|head| !head.status.is_informational() || head.status == 101)
}

fn peer_ip(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |inet| {
            inet.ip().to_canonical()
        })
}

/// TCP and TLS together.
fn connect_time(digest: Option<&Digest>) -> Duration {
    digest
        .into_iter()
        .flat_map(|digest| digest.timing_digest.iter().flatten())
        .filter_map(|layer| layer.establishment_duration)
        .sum()
}

/// Pingora would speak TLS 1.0 to an upstream that knows no better.
fn uses_old_tls(digest: Option<&Digest>) -> bool {
    digest
        .and_then(|digest| digest.ssl_digest.as_ref())
        .is_some_and(|tls| !matches!(tls.version.as_ref(), "TLSv1.2" | "TLSv1.3"))
}
