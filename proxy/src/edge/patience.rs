//! How long each side of an exchange may be silent.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use knoxcall_bundle::Timeouts;
use pingora::protocols::http::ServerSession;

use super::context::Context;
use super::upstream_session::is_grpc;

pub struct Patience {
    /// Between two parts of the request's body, and for taking one of the
    /// answer's.
    pub client: Duration,
    /// Bytes a second of the request's body.
    pub least_rate: Option<NonZeroU32>,
    /// For the upstream's head.
    first_byte: Duration,
    /// Between two parts of its body.
    parts: Duration,
    /// Of an upstream that streams events.
    events: Duration,
    /// When all of it must be over.
    ends: Option<Instant>,
}

impl Patience {
    /// A call of gRPC may be silent for longer than a request, both ways. It is
    /// one over HTTP/2 alone: elsewhere its name would buy a slow client time.
    pub fn of(session: &ServerSession, timeouts: &Timeouts, context: &Context) -> Self {
        let limits = &context.snapshot.settings.limits;
        let mut patience = Self {
            client: limits.body_timeout,
            least_rate: limits.min_body_rate,
            first_byte: timeouts.first_byte,
            parts: timeouts.read,
            events: limits.stream_idle_timeout,
            ends: timeouts.total.map(|total| context.started + total),
        };
        if session.is_http2() && is_grpc(&session.req_header().headers) {
            patience.first_byte = patience.events;
            patience.await_events();
        }
        patience
    }

    /// From now on it is a stream that may rest.
    pub fn await_events(&mut self) {
        self.client = self.events;
        self.least_rate = None;
        self.parts = self.events;
        self.ends = None;
    }

    /// For the client to take what it is sent.
    pub fn of_client(&self) -> Duration {
        self.left()
            .map_or(self.client, |left| self.client.min(left))
    }

    pub fn of_upstream(&self, has_begun: bool) -> Duration {
        let wait = if has_begun {
            self.parts
        } else {
            self.first_byte
        };
        self.left().map_or(wait, |left| wait.min(left))
    }

    /// `None`: it took longer than all of it may.
    pub async fn in_all<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.left() {
            Some(left) => pingora_timeout::timeout(left, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// Has all of it together a time?
    pub fn is_bounded(&self) -> bool {
        self.ends.is_some()
    }

    /// Of the time for all of it, where that is bounded.
    pub fn left(&self) -> Option<Duration> {
        let ends = self.ends?;
        Some(ends.saturating_duration_since(Instant::now()))
    }
}
