//! A connection that has turned into a WebSocket: bytes both ways until an end
//! closes, nothing has been said for too long, or the gateway stops. The last
//! two are told to both ends by a close 1001 (RFC 6455, section 7.4.1).
//!
//! Before the upstream has agreed, it is a request like any other; see
//! [`super::relay`].

mod flow;
mod open;
mod pipe;
mod raw;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use knoxcall_bundle::LeakGuardMode;
use knoxcall_filters::Refusal;
use knoxcall_filters::leak_guard::LeakGuard;
use knoxcall_filters::websocket::{GOING_AWAY, PROTOCOL_ERROR};
use knoxcall_ledger::{EndedBy, Text};
use pingora::protocols::http::ServerSession;

use super::context::Context;
use super::deadline::Deadline;
use super::exchange::note_refusal;
use super::upstream_session::UpstreamSession;
use crate::gateway::Gateway;
use crate::upstream::Picked;

pub use open::WebSockets;

use open::Open;
use pipe::{End, Pipe};
use raw::Raw;

/// For both ends to take a close, and to end.
const LONGEST_GOODBYE: Duration = Duration::from_secs(1);

/// What the upstream's messages are looked through for.
pub struct Inspection {
    pub guard: Arc<LeakGuard>,
    pub mode: LeakGuardMode,
}

/// An upstream that has agreed.
pub struct Switched {
    upstream: Raw,
    picked: Picked,
    inspection: Option<Inspection>,
}

impl Switched {
    /// `None` of HTTP/2, which knows no such switch.
    pub fn new(
        upstream: UpstreamSession,
        picked: Picked,
        inspection: Option<Inspection>,
    ) -> Option<Self> {
        Some(Self {
            upstream: Raw::of_upstream(upstream)?,
            picked,
            inspection,
        })
    }
}

/// To the end of the connection, which the client has been told will be a
/// WebSocket.
pub async fn serve(
    gateway: &Gateway,
    session: Box<ServerSession>,
    switched: Switched,
    context: &mut Context,
    deadline: &mut Deadline,
) {
    let Some(client) = Raw::of_client(*session) else {
        return;
    };
    let mut socket = WebSocket {
        gateway,
        context,
        pipe: Pipe::new(client, switched.upstream, switched.inspection),
        _open: gateway.websockets.enter(),
        _place: switched.picked,
    };
    socket.run(deadline).await;
}

/// Its record is complete whenever it is dropped.
struct WebSocket<'s> {
    gateway: &'s Gateway,
    context: &'s mut Context,
    pipe: Pipe,
    _open: Open<'s>,
    /// At the upstream's endpoint.
    _place: Picked,
}

impl WebSocket<'_> {
    async fn run(&mut self, deadline: &mut Deadline) {
        let idle = self.context.snapshot.settings.limits.stream_idle_timeout;
        let end = {
            let talk = pin!(self.pipe.run(deadline, idle));
            self.gateway.websockets.unless_dismissed(talk).await
        };
        match end {
            Some(End::By(side)) => self.context.note(|record| record.ended_by = side),
            Some(End::Idle) => self.say_goodbye(GOING_AWAY, "WebSocket idle").await,
            Some(End::Uninspectable) => {
                let refusal = Refusal::ResponseUninspectable;
                self.gateway.metrics.count_refusal(refusal.code());
                note_refusal(self.context, &refusal);
                self.pipe.say_goodbye(PROTOCOL_ERROR).await;
            }
            None => self.say_goodbye(GOING_AWAY, "gateway stopping").await,
        }
    }

    async fn say_goodbye(&mut self, code: u16, why: &str) {
        self.context.note(|record| {
            record.ended_by = EndedBy::Gateway;
            record.error_detail = Some(Text::from(why));
        });
        self.pipe.say_goodbye(code).await;
    }
}

impl Drop for WebSocket<'_> {
    fn drop(&mut self) {
        let (up, down) = self.pipe.bytes();
        self.context.note(|record| {
            record.request_bytes = up;
            record.response_bytes = down;
        });
        self.context.note_leaks(self.pipe.findings());
    }
}
