//! Both directions of a WebSocket at once; neither waits for the other. An end
//! is passed on, and the other direction may finish what it has begun.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use knoxcall_filters::leak_guard::Findings;
use knoxcall_filters::websocket::{MessageGuard, close_frame, masked_close_frame};
use knoxcall_ledger::EndedBy;
use pingora::protocols::Stream;

use super::flow::{Flow, FlowEnd};
use super::raw::Raw;
use super::{Inspection, LONGEST_GOODBYE};
use crate::edge::deadline::Deadline;

/// Of silence, once one end has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub struct Pipe {
    client: Stream,
    upstream: Stream,
    up: Flow,
    down: Flow,
    last_move: Instant,
    /// Who ended first.
    ended: Option<EndedBy>,
}

/// Why nothing more is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    By(EndedBy),
    Idle,
    Uninspectable,
}

enum Event {
    OneEnded,
    BothEnded,
    Uninspectable,
}

impl Pipe {
    pub fn new(client: Raw, upstream: Raw, inspection: Option<Inspection>) -> Self {
        let guard =
            inspection.map(|inspection| MessageGuard::new(inspection.guard, inspection.mode));
        let (mut up, mut down) = (Flow::new(None), Flow::new(guard));
        up.send_first(&upstream.unsent);
        up.begin_with(&client.read);
        down.send_first(&client.unsent);
        down.begin_with(&upstream.read);
        Self {
            client: client.stream,
            upstream: upstream.stream,
            up,
            down,
            last_move: Instant::now(),
            ended: None,
        }
    }

    /// From the client, and from the upstream.
    pub fn bytes(&self) -> (u64, u64) {
        (self.up.bytes(), self.down.bytes())
    }

    pub fn findings(&self) -> Findings {
        self.down.findings()
    }

    pub async fn run(&mut self, deadline: &mut Deadline, idle: Duration) -> End {
        deadline.set(idle);
        loop {
            let event = tokio::select! {
                biased;
                event = poll_fn(|cx| self.poll(cx)) => Some(event),
                () = deadline.passed() => None,
            };
            match (event, self.ended) {
                (Some(Event::Uninspectable), _) => return End::Uninspectable,
                (Some(Event::BothEnded), Some(side)) => return End::By(side),
                // Nobody has anything left to say.
                (Some(Event::OneEnded), Some(side)) if self.is_closed() => return End::By(side),
                (Some(Event::OneEnded | Event::BothEnded), _) => deadline.set(LAST_WORDS),
                (None, ended) => {
                    let patience = if ended.is_some() { LAST_WORDS } else { idle };
                    let left = patience.saturating_sub(self.last_move.elapsed());
                    match ended {
                        _ if !left.is_zero() => deadline.set(left),
                        Some(side) => return End::By(side),
                        None => return End::Idle,
                    }
                }
            }
        }
    }

    /// A close to both ends that have not been told one, and the end of both
    /// connections, within a moment.
    pub async fn say_goodbye(&mut self, code: u16) {
        let mut key = [0; 4];
        // Without chance, a close that anybody could foresee is still one.
        let _ = boring::rand::rand_bytes(&mut key);
        let (to_upstream, to_client) = (masked_close_frame(code, key), close_frame(code));
        let goodbye = poll_fn(|cx| {
            let (client, upstream) = (&mut self.client, &mut self.upstream);
            let up = self.up.poll_goodbye(client, upstream, &to_upstream, cx);
            let down = self.down.poll_goodbye(upstream, client, &to_client, cx);
            match up.is_ready() && down.is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let _ = pingora_timeout::timeout(LONGEST_GOODBYE, goodbye).await;
    }

    fn is_closed(&self) -> bool {
        self.up.has_closed() && self.down.has_closed()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let before = self.up.moves() + self.down.moves();
        let up = poll_flow(&mut self.up, &mut self.client, &mut self.upstream, cx);
        let down = poll_flow(&mut self.down, &mut self.upstream, &mut self.client, cx);
        if self.up.moves() + self.down.moves() != before {
            self.last_move = Instant::now();
        }
        let (client, upstream) = (EndedBy::Client, EndedBy::Upstream);
        let sides = [(up, client, upstream), (down, upstream, client)];
        let mut has_ended = false;
        for (end, source, destination) in sides {
            let side = match end {
                None => continue,
                Some(FlowEnd::Uninspectable) => return Poll::Ready(Event::Uninspectable),
                Some(FlowEnd::Source) => source,
                Some(FlowEnd::Destination) => destination,
            };
            has_ended = true;
            self.ended.get_or_insert(side);
        }
        match has_ended {
            true if self.up.is_over() && self.down.is_over() => Poll::Ready(Event::BothEnded),
            true => Poll::Ready(Event::OneEnded),
            false => Poll::Pending,
        }
    }
}

/// One that is over has said so.
fn poll_flow(
    flow: &mut Flow,
    source: &mut Stream,
    destination: &mut Stream,
    cx: &mut Context<'_>,
) -> Option<FlowEnd> {
    if flow.is_over() {
        return None;
    }
    match flow.poll(source, destination, cx) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}
