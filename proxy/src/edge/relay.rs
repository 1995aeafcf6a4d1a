//! The conversation of a client and an upstream, once there are both: the
//! request one way, the answer the other, at the same time where the upstream
//! answers early.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use knoxcall_filters::names::{UPSTREAM_STATUS, X_REQUEST_ID};
use knoxcall_filters::rate_limit::Quota;
use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::{Error, ErrorType, Result};

use super::context::Context;
use super::deadline::Deadline;
use super::header_edit::edit_response;

/// Of this hop, not of the next one (RFC 9110, section 7.6.1).
static OF_ONE_HOP: [HeaderName; 2] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

pub struct Relay<'r> {
    session: &'r mut ServerSession,
    upstream: &'r mut UpstreamSession,
    deadline: &'r mut Deadline,
    /// For the upstream's head, and between two parts of its body.
    patience: Duration,
    request_is_sent: bool,
}

/// How a client finds where an answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    AsSaid,
    Chunks,
    /// With the connection: for HTTP/1.0, which knows no chunks.
    Close,
}

enum Event {
    FromClient(Result<Option<Bytes>>),
    FromUpstream(Result<HttpTask>),
    TooLate,
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
            request_is_sent: false,
        }
    }

    /// From the request's first byte to the answer's last. An error is marked
    /// with the side that failed. False: the answer came before the request's
    /// end, so nothing more can be asked on the upstream's connection.
    pub async fn run(mut self, context: &mut Context) -> Result<bool> {
        let head = self.session.req_header().clone();
        let sent = self.upstream.write_request_header(Box::new(head)).await;
        sent.map_err(Error::into_up)?;
        match context.body.clone() {
            Some(body) => self.send_whole(&body).await?,
            None => self.send_at_hand().await?,
        }
        loop {
            match self.next().await {
                Event::FromClient(part) => self.forward(part.map_err(Error::into_down)?).await?,
                Event::FromUpstream(task) => {
                    if self.answer(task.map_err(Error::into_up)?, context).await? {
                        return Ok(self.request_is_sent);
                    }
                    self.deadline.set(self.patience);
                }
                Event::TooLate => return Err(Error::new_up(ErrorType::ReadTimedout)),
            }
        }
    }

    /// The upstream first: most often it has more to say, and the client not.
    async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            task = self.upstream.read_response_task() => Event::FromUpstream(task),
            part = self.session.read_body_or_idle(self.request_is_sent) => Event::FromClient(part),
            // Until then it is the client who takes time.
            () = self.deadline.passed(), if self.request_is_sent => Event::TooLate,
        }
    }

    async fn send_whole(&mut self, body: &[u8]) -> Result<()> {
        if !body.is_empty() {
            self.upstream
                .write_body(body)
                .await
                .map_err(Error::into_up)?;
        }
        self.finish_request().await
    }

    /// What has come of the body goes out with the head.
    async fn send_at_hand(&mut self) -> Result<()> {
        while !self.request_is_sent {
            if self.session.is_body_done() {
                return self.finish_request().await;
            }
            match self.session.read_request_body().now_or_never() {
                Some(part) => self.forward(part.map_err(Error::into_down)?).await?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    async fn forward(&mut self, part: Option<Bytes>) -> Result<()> {
        match part {
            Some(part) => {
                let written = self.upstream.write_body(&part).await;
                written.map(|_| ()).map_err(Error::into_up)
            }
            None => self.finish_request().await,
        }
    }

    async fn finish_request(&mut self) -> Result<()> {
        self.request_is_sent = true;
        self.deadline.set(self.patience);
        let finished = self.upstream.finish_body().await;
        finished.map(|_| ()).map_err(Error::into_up)
    }

    /// True: that was the last of it.
    async fn answer(&mut self, task: HttpTask, context: &mut Context) -> Result<bool> {
        match task {
            HttpTask::Header(head, _) if head.status.is_informational() => {
                self.inform(head, context).await?;
                Ok(false)
            }
            HttpTask::Header(head, is_end) => {
                self.begin_answer(head, context).await?;
                Ok(is_end)
            }
            HttpTask::Body(part, is_end) => {
                // Its end is sent when the upstream's connection is back in
                // the pool: the client's next request may want it.
                let part = part.unwrap_or_default();
                let write = self.session.write_response_body(part, false);
                within(client_patience(context), write).await?;
                Ok(is_end)
            }
            HttpTask::Done => Ok(true),
            HttpTask::Failed(error) => Err(error.into_up()),
            HttpTask::UpgradedBody(..) | HttpTask::Trailer(_) => {
                Err(Error::new_up(ErrorType::InvalidHTTPHeader))
            }
        }
    }

    async fn inform(&mut self, mut head: Box<ResponseHeader>, context: &Context) -> Result<()> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked.
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        // A client of HTTP/1.0 knows no such answer (RFC 9110, section 15.2),
        // and the one that waited for a 100 has had ours.
        let is_unwanted = head.status == StatusCode::CONTINUE && context.body.is_some();
        if is_unwanted || self.session.req_header().version != Version::HTTP_11 {
            return Ok(());
        }
        head.set_version(Version::HTTP_11);
        edit_response(&mut head, |headers| {
            headers.remove(UPSTREAM_STATUS);
            remove_of_one_hop(headers);
        });
        self.write_head(head, context).await
    }

    async fn begin_answer(
        &mut self,
        mut head: Box<ResponseHeader>,
        context: &mut Context,
    ) -> Result<()> {
        let status = head.status;
        context.outcome.upstream_status = Some(status.as_u16());
        context.outcome.first_byte = Some(context.started.elapsed());
        check_coding(&head.headers)?;
        if context.must_close() {
            self.session.set_keepalive(None);
        }
        let ending = self.ending(&head);
        if ending == Ending::Close {
            self.session.set_keepalive(None);
        }
        head.set_version(Version::HTTP_11);
        edit_response(&mut head, |headers| {
            match ending {
                Ending::AsSaid => {}
                Ending::Chunks => {
                    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                Ending::Close => {
                    headers.remove(TRANSFER_ENCODING);
                }
            }
            remove_of_one_hop(headers);
            mark(headers, status, context);
        });
        self.write_head(head, context).await
    }

    /// Pingora has taken the upstream's chunks apart, so the answer ends as
    /// the client understands it.
    fn ending(&self, head: &ResponseHeader) -> Ending {
        let has_no_body = self.session.req_header().method == Method::HEAD
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if has_no_body || head.headers.contains_key(CONTENT_LENGTH) {
            Ending::AsSaid
        } else if self.knows_chunks() {
            Ending::Chunks
        } else {
            Ending::Close
        }
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>, context: &Context) -> Result<()> {
        let write = self.session.write_response_header(head);
        within(client_patience(context), write).await
    }

    fn knows_chunks(&self) -> bool {
        self.session.req_header().version == Version::HTTP_11
    }
}

/// Another coding than chunks could end elsewhere for the client than for us.
fn check_coding(headers: &HeaderMap) -> Result<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        (Some(_), _) => Err(Error::new_up(ErrorType::InvalidHTTPHeader)),
    }
}

/// What is ours to say in every answer of an upstream.
pub fn mark(headers: &mut HeaderMap, status: StatusCode, context: &Context) {
    headers.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
    headers.insert(X_REQUEST_ID, context.id.header_value().clone());
    // Not `extend`: that would leave an upstream's own beside ours.
    for (name, value) in context.quota.iter().flat_map(Quota::headers) {
        headers.insert(name, value);
    }
}

/// `Upgrade` stays: in a 426 it is what the client has to know.
fn remove_of_one_hop(headers: &mut HeaderMap) {
    let Some(named) = headers.remove(CONNECTION) else {
        return;
    };
    let names = named.as_bytes().split(|byte| *byte == b',');
    for name in names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()) {
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING && name != UPGRADE {
            headers.remove(name);
        }
    }
    for name in &OF_ONE_HOP {
        headers.remove(name);
    }
}

pub fn answer_has_begun(session: &ServerSession) -> bool {
    let written = session.response_written();
    written.is_some_and(|head| !head.status.is_informational() || head.status == 101)
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
