//! The answer's way to the client.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use super::gather::gather;
use super::{Broken, Relay};
use crate::edge::answer_head::{AnswerHead, Ending, interim_head};
use crate::edge::context::Context;
use crate::edge::outgoing::Outgoing;
use crate::edge::pace::Pace;
use crate::edge::to_client::{Last, send_interim, send_part};
use crate::edge::upstream_session::Heard;

/// Answers before the answer. An upstream that has no end of them would be
/// listened to before any deadline is looked at.
const MOST_INTERIM: u32 = 64;
/// A client that takes so long for a part is not the faster for larger ones.
const SLOW: Duration = Duration::from_millis(100);

/// What follows a part of the answer's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Comes,
    Trailers,
    Nothing,
}

impl Rest {
    fn after(has_ended: bool) -> Self {
        match has_ended {
            true => Self::Nothing,
            false => Self::Comes,
        }
    }
}

impl Relay<'_> {
    /// The last part, where that is it.
    pub(super) async fn answer(
        &mut self,
        heard: Heard,
        context: &mut Context,
    ) -> Result<Option<Last>, Broken> {
        match heard {
            Heard::Head => self.begin_answer(context).await,
            Heard::Part(mut part) => {
                // Of a slow client, no more is held than must be.
                if self.client_keeps_up {
                    (part, self.heard) = gather(self.upstream, part);
                }
                let has_ended = self.heard.is_none() && self.upstream.has_ended()?;
                self.pass_on(part, Rest::after(has_ended), context).await
            }
            Heard::End(None) => self.pass_on(Bytes::new(), Rest::Nothing, context).await,
            Heard::End(Some(trailers)) => {
                let last = self.pass_on(Bytes::new(), Rest::Trailers, context).await?;
                Ok(self.with_trailers(last, trailers))
            }
        }
    }

    fn with_trailers(&mut self, last: Option<Last>, trailers: HeaderMap) -> Option<Last> {
        let Some(Last::Part(part)) = &last else {
            return last;
        };
        let part = part.clone();
        match self
            .outgoing
            .as_mut()
            .and_then(|out| out.trailers(trailers))
        {
            Some(trailers) => Some(Last::Trailers { part, trailers }),
            None => last,
        }
    }

    /// An interim answer does not move the upstream's deadline: it could go on
    /// for ever.
    async fn begin_answer(&mut self, context: &mut Context) -> Result<Option<Last>, Broken> {
        // It has just been read.
        let Some(upstream) = self.upstream.head() else {
            return Err(Error::new_up(ErrorType::InternalError).into());
        };
        let status = upstream.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked, or not for that.
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader).into());
        }
        if status.is_informational() {
            self.interim_answers += 1;
            if self.interim_answers > MOST_INTERIM {
                return Err(Error::new_up(ErrorType::InvalidHTTPHeader).into());
            }
            let head = interim_head(upstream, self.service, context);
            self.inform(head, context).await?;
            return Ok(None);
        }
        context.outcome.upstream_status = Some(status.as_u16());
        context.outcome.first_byte = Some(context.started.elapsed());
        let head = AnswerHead::of(upstream)?;
        if head.streams_events() {
            self.patience.await_events();
            self.pace = Pace::new(self.patience.least_rate);
        }
        let request = self.session.req_header();
        self.outgoing = Some(Outgoing::begin(self.service, head, request, context)?);
        let rest = Rest::after(self.upstream.has_ended()?);
        self.pass_on(Bytes::new(), rest, context).await
    }

    /// A part of the answer's body, as far as it may leave. The last one is left
    /// to send.
    async fn pass_on(
        &mut self,
        part: Bytes,
        rest: Rest,
        context: &mut Context,
    ) -> Result<Option<Last>, Broken> {
        let is_last = rest != Rest::Comes;
        let Some(outgoing) = &mut self.outgoing else {
            return Err(Error::new_up(ErrorType::InternalError).into());
        };
        let request = self.session.req_header();
        let leaving = outgoing.feed(self.service, part, is_last, request, context)?;
        let is_all = rest == Rest::Nothing && leaving.part.is_empty();
        if let Some((head, ending)) = leaving.head {
            if context.must_close() || ending == Ending::Close {
                self.session.set_keepalive(None);
            }
            if is_all && let ServerSession::H2(session) = self.session {
                let written = session.write_response_header(head, true);
                written.map_err(Error::into_down)?;
                return Ok(Some(Last::Sent));
            }
            self.write_head(head).await?;
        }
        if is_last {
            return Ok(Some(Last::Part(leaving.part)));
        }
        let began = Instant::now();
        send_part(self.session, leaving.part, self.patience.of_client()).await?;
        self.client_keeps_up = began.elapsed() < SLOW;
        self.await_more();
        Ok(None)
    }

    async fn inform(&mut self, head: Box<ResponseHeader>, context: &Context) -> Result<()> {
        let is_leave = head.status == StatusCode::CONTINUE;
        if is_leave {
            self.allow_body();
        }
        // Whose body is here has had ours.
        if is_leave && context.body.is_some() {
            return Ok(());
        }
        send_interim(self.session, head, self.patience.of_client()).await
    }
}
