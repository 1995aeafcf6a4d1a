//! The request's way to the upstream.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::header::{EXPECT, UPGRADE};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::Relay;
use crate::edge::context::Context;
use crate::edge::to_client::send_continue;

/// For an upstream that no longer takes the request, to say why: most often
/// it has said so already.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How far the request has come.
pub(super) enum Request {
    /// Its body waits for the upstream's leave (RFC 9110, section 10.1.1).
    Waits {
        since: Instant,
    },
    Comes,
    Sent,
    /// The upstream takes no more of it.
    Unwanted(Box<Error>),
}

impl Relay<'_> {
    /// The head, and what has come of the body with it.
    pub(super) async fn begin_request(
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
            return send_continue(self.session, self.patience.of_client()).await;
        }
        let since = Instant::now();
        self.request = Request::Waits { since };
        self.await_upstream();
        self.session.set_read_timeout(None);
        Ok(())
    }

    pub(super) fn allow_body(&mut self) {
        if let Request::Waits { since } = self.request {
            self.request = Request::Comes;
            self.pace.pardon(since.elapsed());
            self.session.set_read_timeout(Some(self.patience.client));
        }
    }

    /// An error is the client's: the upstream's is found by listening to it.
    pub(super) async fn forward(&mut self, part: Option<Bytes>) -> Result<()> {
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

    fn note_written(&mut self, written: Result<()>) {
        if let Err(error) = written {
            self.request = Request::Unwanted(error);
            self.deadline.set(LAST_WORD);
        }
    }
}
