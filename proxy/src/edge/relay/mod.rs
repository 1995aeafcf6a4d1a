//! The conversation of a client and an upstream, once there are both: the
//! request one way, the answer the other, at the same time where the upstream
//! answers early.
//!
//! Who is waited for is who is blamed: the upstream's deadline runs while it
//! has all that it may ask for, the client's while it has more to send.

mod answer;
mod gather;
mod request;
mod switch;

use std::time::Duration;

use bytes::Bytes;
use knoxcall_filters::Refusal;
use knoxcall_filters::table::Service;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use self::request::Request;
use super::context::Context;
use super::deadline::Deadline;
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::patience::Patience;
use super::to_client::{Last, within};
use super::upstream_session::{Heard, UpstreamSession};
use super::websocket::Inspection;

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
                            patience: self.patience.of_client(),
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

    async fn write_head(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        let write = self.session.write_response_header(head);
        within(self.patience.of_client(), write).await
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
