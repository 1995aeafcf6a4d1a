//! An answer that agrees to a WebSocket.

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::{Broken, Relay};
use crate::edge::answer_head::AnswerHead;
use crate::edge::context::Context;
use crate::edge::outgoing::Outgoing;
use crate::edge::websocket::Inspection;

impl Relay<'_> {
    /// The plan asks for no other protocol.
    pub(super) fn has_switched(&self) -> bool {
        let agrees = |head: &ResponseHeader| {
            let protocol = head.headers.get(UPGRADE).map(HeaderValue::as_bytes);
            head.status == StatusCode::SWITCHING_PROTOCOLS
                && protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
        };
        self.asks_websocket && self.upstream.head().is_some_and(agrees)
    }

    /// Tells the client.
    pub(super) async fn switch(
        &mut self,
        context: &mut Context,
    ) -> Result<Option<Inspection>, Broken> {
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
}
