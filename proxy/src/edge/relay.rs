//! The conversation of a client and an upstream, once there are both: the
//! request one way, the answer the other, at the same time where the upstream
//! answers early.
//!
//! Who is waited for is who is blamed: the upstream's deadline runs while it
//! has all that it may ask for, the client's while it has more to send.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::EXPECT;
use http::{StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora::{Error, ErrorType, Result};

use super::answer_head::{Ending, final_head, interim_head, is_final};
use super::context::Context;
use super::deadline::Deadline;

/// For an upstream that no longer takes the request, to say why: most often
/// it has said so already.
const LAST_WORD: Duration = Duration::from_secs(1);

pub struct Relay<'r> {
    session: &'r mut ServerSession,
    upstream: &'r mut UpstreamSession,
    deadline: &'r mut Deadline,
    /// For the upstream's head, and between two parts of its body.
    patience: Duration,
    request: Request,
    /// The final head is here.
    answer_begun: bool,
}

/// How far the request has come.
enum Request {
    /// Its body waits for the upstream's leave (RFC 9110, section 10.1.1).
    Waits,
    Comes,
    Sent,
    /// The upstream takes no more of it.
    Unwanted(Box<Error>),
}

/// What is left of an exchange whose answer is here.
pub struct Over {
    /// For [`send_part`], once the upstream's connection is back in the pool:
    /// the client may ask again the moment it has this, and want it.
    pub last: Bytes,
    /// False: the answer came before the request's end, so nothing more can be
    /// asked on the upstream's connection.
    pub is_reusable: bool,
}

enum Event {
    FromClient(Result<Option<Bytes>>),
    FromUpstream(Result<Heard>),
    TooLate,
}

enum Heard {
    /// The upstream's session holds it.
    Head,
    Part(Bytes),
}

impl<'r> Relay<'r> {
    pub fn new(
        session: &'r mut ServerSession,
        upstream: &'r mut UpstreamSession,
        deadline: &'r mut Deadline,
        patience: Duration,
    ) -> Self {
        Self {
            session,
            upstream,
            deadline,
            patience,
            request: Request::Comes,
            answer_begun: false,
        }
    }

    /// From the request's first byte to the last part of the answer, which is
    /// left to send. An error is marked with the side that failed.
    pub async fn run(mut self, head: Box<RequestHeader>, context: &mut Context) -> Result<Over> {
        self.begin_request(head, context).await?;
        loop {
            match self.next().await {
                Event::FromClient(part) => {
                    self.allow_body(context);
                    self.forward(part.map_err(Error::into_down)?).await;
                }
                Event::FromUpstream(Ok(heard)) => {
                    if let Some(last) = self.answer(heard, context).await? {
                        let is_reusable = matches!(self.request, Request::Sent);
                        return Ok(Over { last, is_reusable });
                    }
                }
                Event::FromUpstream(Err(error)) => return Err(self.broken(error)),
                Event::TooLate => return Err(self.broken(Error::new(ErrorType::ReadTimedout))),
            }
        }
    }

    /// The upstream first: most often it has more to say, and the client not.
    async fn next(&mut self) -> Event {
        let (is_whole, is_listened_to) = match &self.request {
            Request::Waits | Request::Comes => (false, true),
            Request::Sent => (true, true),
            // What is left of it would be taken for bytes behind it.
            Request::Unwanted(_) => (false, false),
        };
        let is_awaited = !matches!(self.request, Request::Comes);
        tokio::select! {
            biased;
            heard = hear(self.upstream, self.answer_begun) => Event::FromUpstream(heard),
            part = self.session.read_body_or_idle(is_whole), if is_listened_to => {
                Event::FromClient(part)
            }
            () = self.deadline.passed(), if is_awaited => Event::TooLate,
        }
    }

    /// Where a write has failed before, that is what went wrong.
    fn broken(&mut self, error: Box<Error>) -> Box<Error> {
        match std::mem::replace(&mut self.request, Request::Comes) {
            Request::Unwanted(before) => before,
            Request::Waits | Request::Comes | Request::Sent => error.into_up(),
        }
    }

    /// The head, and what has come of the body with it.
    async fn begin_request(
        &mut self,
        head: Box<RequestHeader>,
        context: &mut Context,
    ) -> Result<()> {
        let awaits_leave = head.headers.contains_key(EXPECT);
        let sent = self.upstream.write_request_header(head).await;
        sent.map_err(Error::into_up)?;
        if let Some(body) = context.body.clone() {
            self.send(&body).await;
            self.finish_request().await;
        } else if self.session.is_body_done() {
            self.finish_request().await;
        } else if let Some(part) = self.session.read_request_body().now_or_never() {
            self.forward(part.map_err(Error::into_down)?).await;
        } else if awaits_leave {
            self.request = Request::Waits;
            self.deadline.set(self.patience);
            self.session.set_read_timeout(None);
        }
        Ok(())
    }

    fn allow_body(&mut self, context: &Context) {
        if matches!(self.request, Request::Waits) {
            self.request = Request::Comes;
            let patience = client_patience(context);
            self.session.set_read_timeout(Some(patience));
        }
    }

    async fn forward(&mut self, part: Option<Bytes>) {
        if let Some(part) = part {
            self.send(&part).await;
        }
        if matches!(self.request, Request::Comes) && self.session.is_body_done() {
            self.finish_request().await;
        }
    }

    async fn send(&mut self, part: &[u8]) {
        // In chunks, an empty one would be the last.
        if !part.is_empty() {
            let written = self.upstream.write_body(part).await;
            self.note_written(written.map(drop));
        }
    }

    async fn finish_request(&mut self) {
        if let Request::Unwanted(_) = self.request {
            return;
        }
        self.request = Request::Sent;
        self.deadline.set(self.patience);
        let finished = self.upstream.finish_body().await;
        self.note_written(finished.map(drop));
    }

    fn note_written(&mut self, written: Result<()>) {
        if let Err(error) = written {
            self.request = Request::Unwanted(error.into_up());
            self.deadline.set(LAST_WORD);
        }
    }

    /// The last part, where that is it.
    async fn answer(&mut self, heard: Heard, context: &mut Context) -> Result<Option<Bytes>> {
        let part = match heard {
            Heard::Head if self.begin_answer(context).await? => Bytes::new(),
            Heard::Head => return Ok(None),
            Heard::Part(part) => part,
        };
        if self.upstream.is_body_done() {
            return Ok(Some(part));
        }
        send_part(self.session, part, context).await?;
        // The upstream has so long again for the next part.
        self.deadline.set(self.patience);
        Ok(None)
    }

    /// False for an interim answer, which does not move the upstream's
    /// deadline: it could go on for ever.
    async fn begin_answer(&mut self, context: &mut Context) -> Result<bool> {
        // It has just been read.
        let Some(upstream) = self.upstream.resp_header() else {
            return Err(Error::new_up(ErrorType::InternalError));
        };
        let status = upstream.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked.
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        if status.is_informational() {
            let head = interim_head(upstream, context);
            self.inform(head, context).await?;
            return Ok(false);
        }
        self.answer_begun = true;
        context.outcome.upstream_status = Some(status.as_u16());
        context.outcome.first_byte = Some(context.started.elapsed());
        let (head, ending) = final_head(upstream, self.session.req_header(), context)?;
        if context.must_close() || ending == Ending::Close {
            self.session.set_keepalive(None);
        }
        self.write_head(head, context).await?;
        Ok(true)
    }

    async fn inform(&mut self, head: Box<ResponseHeader>, context: &Context) -> Result<()> {
        let is_leave = head.status == StatusCode::CONTINUE;
        if is_leave {
            self.allow_body(context);
        }
        // A client of HTTP/1.0 knows no such answer (RFC 9110, section 15.2),
        // and the one whose body is here has had ours.
        let is_unwanted = is_leave && context.body.is_some();
        if is_unwanted || self.session.req_header().version != Version::HTTP_11 {
            return Ok(());
        }
        // Pingora would take the body that is to come for one left unread.
        self.session
            .set_close_on_response_before_downstream_finish(false);
        let written = self.write_head(head, context).await;
        self.session
            .set_close_on_response_before_downstream_finish(true);
        written
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>, context: &Context) -> Result<()> {
        let write = self.session.write_response_header(head);
        within(client_patience(context), write).await
    }
}

/// Loses nothing where it is dropped while it waits. Pingora's own task copies
/// each head.
async fn hear(upstream: &mut UpstreamSession, answer_begun: bool) -> Result<Heard> {
    if !answer_begun {
        upstream.read_response().await?;
        return Ok(Heard::Head);
    }
    let part = upstream.read_body_bytes().await?;
    Ok(Heard::Part(part.unwrap_or_default()))
}

/// Some of an answer's body.
pub async fn send_part(session: &mut ServerSession, part: Bytes, context: &Context) -> Result<()> {
    let write = session.write_response_body(part, false);
    within(client_patience(context), write).await
}

pub fn answer_has_begun(session: &ServerSession) -> bool {
    let written = session.response_written();
    written.is_some_and(|head| is_final(head.status))
}

/// For a client that takes nothing of its answer.
pub fn client_patience(context: &Context) -> Duration {
    context.snapshot.settings.limits.body_timeout
}

/// What is written to a client, in time or not at all.
pub async fn within<T>(patience: Duration, write: impl Future<Output = Result<T>>) -> Result<T> {
    match pingora_timeout::timeout(patience, write).await {
        Ok(written) => written.map_err(Error::into_down),
        Err(_) => Err(Error::new_down(ErrorType::WriteTimedout)),
    }
}
