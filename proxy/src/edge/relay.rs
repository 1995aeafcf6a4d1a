//! The conversation of a client and an upstream, once there are both: the
//! request one way, the answer the other, at the same time where the upstream
//! answers early.
//!
//! Who is waited for is who is blamed: the upstream's deadline runs while it
//! has all that it may ask for, the client's while it has more to send.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::header::{EXPECT, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use knoxcall_filters::Refusal;
use knoxcall_filters::table::Service;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use super::answer_head::{AnswerHead, Ending, interim_head};
use super::context::Context;
use super::deadline::Deadline;
use super::gather::gather;
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::patience::Patience;
use super::to_client::{Last, send_continue, send_interim, send_part, within};
use super::upstream_session::{Heard, UpstreamSession};
use super::websocket::Inspection;

/// For an upstream that no longer takes the request, to say why: most often
/// it has said so already.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Answers before the answer. An upstream that has no end of them would be
/// listened to before any deadline is looked at.
const MOST_INTERIM: u32 = 64;
/// A client that takes so long for a part is not the faster for larger ones.
const SLOW: Duration = Duration::from_millis(100);

pub struct Relay<'r> {
    session: &'r mut ServerSession,
    upstream: &'r mut UpstreamSession,
    deadline: &'r mut Deadline,
    patience: Patience,
    request: Request,
    asks_websocket: bool,
    pace: Pace,
    service: &'r Service,
    interim_answers: u32,
    /// Since the final head is here.
    outgoing: Option<Outgoing>,
    /// Already, while parts of the body were gathered.
    heard: Option<Result<Heard>>,
    /// With what it is sent.
    client_keeps_up: bool,
}

/// Why there is no answer, or only a part of one.
pub enum Broken {
    /// By the route's rules; nothing of it has left.
    Refused(Refusal),
    Failed(Box<Error>),
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Box<Error>> for Broken {
    fn from(error: Box<Error>) -> Self {
        Self::Failed(error)
    }
}

/// How far the request has come.
enum Request {
    /// Its body waits for the upstream's leave (RFC 9110, section 10.1.1).
    Waits {
        since: Instant,
    },
    Comes,
    Sent,
    /// The upstream takes no more of it.
    Unwanted(Box<Error>),
}

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

/// How a conversation ends.
pub enum Conclusion {
    Answered(Over),
    /// The upstream has agreed to a WebSocket, and the client knows.
    Switched(Option<Inspection>),
}

/// What is left of an exchange whose answer is here.
pub struct Over {
    /// To be sent once the upstream's connection is back in the pool: the client
    /// may ask again the moment it has this, and want it.
    pub last: Last,
    /// False: the answer came before the request's end, so nothing more can be
    /// asked on the upstream's connection.
    pub is_reusable: bool,
    /// For the client to take the last part.
    pub patience: Duration,
}

enum Event {
    FromClient(Result<Option<Bytes>>),
    FromUpstream(Result<Heard>),
    TooLate,
}

impl<'r> Relay<'r> {
    pub fn new(
        session: &'r mut ServerSession,
        upstream: &'r mut UpstreamSession,
        deadline: &'r mut Deadline,
        patience: Patience,
        service: &'r Service,
    ) -> Self {
        Self {
            session,
            upstream,
            deadline,
            request: Request::Comes,
            asks_websocket: false,
            pace: Pace::new(patience.least_rate),
            patience,
            service,
            interim_answers: 0,
            outgoing: None,
            heard: None,
            client_keeps_up: true,
        }
    }

    /// From the request's first byte to the last part of the answer, which is
    /// left to send. An error is marked with the side that failed.
    pub async fn run(
        mut self,
        head: Box<RequestHeader>,
        context: &mut Context,
    ) -> Result<Conclusion, Broken> {
        let concluded = self.converse(head, context).await;
        // Also of an answer that broke off: some of it has left.
        if let Some(outgoing) = &self.outgoing {
            outgoing.note_findings(context);
        }
        concluded
    }

    async fn converse(
        &mut self,
        head: Box<RequestHeader>,
        context: &mut Context,
    ) -> Result<Conclusion, Broken> {
        if let Some(left) = self.patience.left() {
            self.deadline.set(left);
        }
        self.begin_request(head, context).await?;
        loop {
            match self.next().await {
                Event::FromClient(part) => {
                    self.forward(part.map_err(Error::into_down)?).await?;
                }
                Event::FromUpstream(Ok(Heard::Head)) if self.has_switched() => {
                    return self.switch(context).await.map(Conclusion::Switched);
                }
                Event::FromUpstream(Ok(heard)) => {
                    if let Some(last) = self.answer(heard, context).await? {
                        let is_reusable = matches!(self.request, Request::Sent);
                        return Ok(Conclusion::Answered(Over {
                            last,
                            is_reusable,
                            patience: self.patience.client,
                        }));
                    }
                }
                Event::FromUpstream(Err(error)) => return Err(self.broken(error).into()),
                Event::TooLate => {
                    return Err(self.broken(Error::new(ErrorType::ReadTimedout)).into());
                }
            }
        }
    }

    /// The upstream first: most often it has more to say, and the client not.
    async fn next(&mut self) -> Event {
        if let Some(heard) = self.heard.take() {
            return Event::FromUpstream(heard);
        }
        let (is_whole, is_listened_to) = match &self.request {
            Request::Waits { .. } | Request::Comes => (false, true),
            Request::Sent => (true, true),
            // What is left of it would be taken for bytes behind it.
            Request::Unwanted(_) => (false, false),
        };
        let is_awaited = self.patience.is_bounded() || !matches!(self.request, Request::Comes);
        tokio::select! {
            biased;
            heard = self.upstream.hear(self.outgoing.is_some()) => Event::FromUpstream(heard),
            part = listen(self.session, is_whole, self.patience.client), if is_listened_to => {
                Event::FromClient(part)
            }
            () = self.deadline.passed(), if is_awaited => Event::TooLate,
        }
    }

    /// Where a write has failed before, that is what went wrong.
    fn broken(&mut self, error: Box<Error>) -> Box<Error> {
        match std::mem::replace(&mut self.request, Request::Comes) {
            Request::Unwanted(before) => before,
            Request::Waits { .. } | Request::Comes | Request::Sent => error.into_up(),
        }
    }

    /// The head, and what has come of the body with it.
    async fn begin_request(
        &mut self,
        head: Box<RequestHeader>,
        context: &mut Context,
    ) -> Result<()> {
        let expects_leave = head.headers.contains_key(EXPECT);
        self.asks_websocket = head.headers.contains_key(UPGRADE);
        let body = context.body.clone();
        let has_body = match &body {
            Some(body) => !body.is_empty(),
            None => !self.session.is_body_done(),
        };
        self.upstream.write_head(head, has_body).await?;
        if let Some(body) = body {
            self.send(body).await;
            self.finish_request().await;
        } else if self.session.is_body_done() {
            self.finish_request().await;
        } else {
            self.session.set_read_timeout(Some(self.patience.client));
            if let Some(part) = self.session.read_request_body().now_or_never() {
                self.forward(part.map_err(Error::into_down)?).await?;
            } else if expects_leave {
                self.await_leave().await?;
            }
        }
        Ok(())
    }

    async fn await_leave(&mut self) -> Result<()> {
        if !self.upstream.gives_leave() {
            return send_continue(self.session, self.patience.client).await;
        }
        let since = Instant::now();
        self.request = Request::Waits { since };
        self.await_upstream();
        self.session.set_read_timeout(None);
        Ok(())
    }

    fn allow_body(&mut self) {
        if let Request::Waits { since } = self.request {
            self.request = Request::Comes;
            self.pace.pardon(since.elapsed());
            self.session.set_read_timeout(Some(self.patience.client));
        }
    }

    /// An error is the client's: the upstream's is found by listening to it.
    async fn forward(&mut self, part: Option<Bytes>) -> Result<()> {
        self.allow_body();
        if self.pace.is_too_slow(part.as_ref().map_or(0, Bytes::len)) {
            return Err(Error::new_down(ErrorType::ReadTimedout));
        }
        // Behind trailers, which are not passed on, only this tells the end.
        let mut is_over = part.is_none();
        if let Some(part) = part {
            let taken_from = Instant::now();
            self.send(part).await;
            self.pace.pardon(taken_from.elapsed());
            is_over = self.session.is_body_done();
        }
        if matches!(self.request, Request::Comes) && is_over {
            self.finish_request().await;
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) {
        // In chunks, an empty one would be the last.
        if !part.is_empty() {
            let written = self.upstream.write_part(part).await;
            self.note_written(written);
        }
    }

    async fn finish_request(&mut self) {
        if let Request::Unwanted(_) = self.request {
            return;
        }
        self.request = Request::Sent;
        self.await_upstream();
        let finished = self.upstream.finish_body().await;
        self.note_written(finished);
    }

    /// It has so long from now.
    fn await_upstream(&mut self) {
        let wait = self.patience.of_upstream(self.outgoing.is_some());
        self.deadline.set(wait);
    }

    /// While it answers. One that still gets the request may well wait for it.
    fn await_more(&mut self) {
        if !matches!(self.request, Request::Comes) {
            self.await_upstream();
        } else if let Some(left) = self.patience.left() {
            self.deadline.set(left);
        }
    }

    fn note_written(&mut self, written: Result<()>) {
        if let Err(error) = written {
            self.request = Request::Unwanted(error);
            self.deadline.set(LAST_WORD);
        }
    }

    /// The last part, where that is it.
    async fn answer(
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
        }
        let request = self.session.req_header();
        self.outgoing = Some(Outgoing::begin(self.service, head, request, context)?);
        let rest = Rest::after(self.upstream.has_ended()?);
        self.pass_on(Bytes::new(), rest, context).await
    }

    /// The plan asks for no other protocol.
    fn has_switched(&self) -> bool {
        let agrees = |head: &ResponseHeader| {
            let protocol = head.headers.get(UPGRADE).map(HeaderValue::as_bytes);
            head.status == StatusCode::SWITCHING_PROTOCOLS
                && protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
        };
        self.asks_websocket && self.upstream.head().is_some_and(agrees)
    }

    /// Tells the client.
    async fn switch(&mut self, context: &mut Context) -> Result<Option<Inspection>, Broken> {
        let Some(upstream) = self.upstream.head() else {
            return Err(Error::new_up(ErrorType::InternalError).into());
        };
        context.outcome.upstream_status = Some(upstream.status.as_u16());
        context.outcome.first_byte = Some(context.started.elapsed());
        let has_extensions = upstream.headers.contains_key(SEC_WEBSOCKET_EXTENSIONS);
        let (service, request) = (self.service, self.session.req_header());
        let head = AnswerHead::of(upstream)?;
        let mut outgoing = Outgoing::begin(service, head, request, context)?;
        let leaving = outgoing.feed(service, Bytes::new(), false, request, context)?;
        outgoing.note_findings(context);
        let Some((head, _)) = leaving.head else {
            return Err(Error::new_up(ErrorType::InternalError).into());
        };
        self.write_head(head).await?;
        // A strict guard has refused it by now.
        let guard = service.leak_guard.as_ref().filter(|_| !has_extensions);
        Ok(guard.map(|guard| Inspection {
            guard: guard.clone(),
            mode: service.leak_guard_mode,
        }))
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
        send_part(self.session, leaving.part, self.patience.client).await?;
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
        send_interim(self.session, head, self.patience.client).await
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        let write = self.session.write_response_header(head);
        within(self.patience.client, write).await
    }
}

/// The next of the client's body; once it is whole, the client's leaving. Of
/// HTTP/2, Pingora knows no time-out.
async fn listen(
    session: &mut ServerSession,
    is_whole: bool,
    patience: Duration,
) -> Result<Option<Bytes>> {
    let has_own_timeout = is_whole || !session.is_http2();
    let listening = session.read_body_or_idle(is_whole);
    if has_own_timeout {
        return listening.await;
    }
    match pingora_timeout::timeout(patience, listening).await {
        Ok(part) => part,
        Err(_) => Err(Error::new_down(ErrorType::ReadTimedout)),
    }
}
