//! The connection loop: our own around Pingora's proxy.
//!
//! Pingora's would restart its timeout with each byte of a head, count no
//! connections, and answer malformed heads itself, without our envelope and
//! without a record. Here the head is read whole under one deadline and judged
//! as raw bytes; only a sound one is handed on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use knoxcall_filters::hygiene::BodyLength;
use knoxcall_filters::{Refusal, hygiene};

use super::answer::raw_answer;
use super::connections::{ConnectionLimits, Permit};
use super::context::RequestId;
use super::deadline::Deadline;
use super::head_reader::{HeadLimits, ReadHead, read_head};
use super::malformed::record_malformed;
use super::phases::Phases;
use crate::gateway::Gateway;
use crate::snapshot::Snapshot;

/// For writing a refusal to a client that may not read it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// For reading what a refused client still sends, so that closing does not
/// reset the connection before it has read the answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

pub struct Edge {
    gateway: Arc<Gateway>,
    proxy: Arc<HttpProxy<Phases>>,
}

impl Edge {
    pub fn new(gateway: Arc<Gateway>, proxy: HttpProxy<Phases>) -> Self {
        Self {
            gateway,
            proxy: Arc::new(proxy),
        }
    }

    fn admit(&self, peer: IpAddr) -> Option<Permit> {
        let snapshot = self.gateway.snapshot.load();
        let limits = &snapshot.settings.limits;
        let trusted = snapshot.table.trusts(peer);
        let limits = ConnectionLimits {
            total: limits.max_connections,
            per_address: (!trusted).then_some(limits.max_connections_per_address),
        };
        self.gateway.connections.admit(peer, limits)
    }

    /// One connection, from its first head to its last.
    async fn serve(&self, mut stream: Stream, peer: IpAddr, shutdown: &ShutdownWatch) {
        let mut deadline =
            Deadline::after(self.gateway.snapshot.load().settings.limits.head_timeout);
        let mut carried: Option<HttpPersistentSettings> = None;
        loop {
            let limits = head_limits(&self.gateway.snapshot.load());
            let (head, end) = match read_head(&mut stream, &mut deadline, limits).await {
                ReadHead::Complete { bytes, end } => (bytes, end),
                ReadHead::TooLarge(head) => {
                    return self
                        .refuse(stream, &head, peer, &Refusal::HeadTooLarge)
                        .await;
                }
                ReadHead::TimedOut(head) => {
                    return self
                        .refuse(stream, &head, peer, &Refusal::HeadTimeout)
                        .await;
                }
                ReadHead::Gone => return,
            };
            let budget = self.gateway.snapshot.load().head_budget;
            let body = match hygiene::check_raw(head.get(..end).unwrap_or_default(), &budget) {
                Ok(body) => body,
                Err(refusal) => return self.refuse(stream, &head, peer, &refusal).await,
            };
            let followed = is_followed(body, head.len() - end);
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = carried.take() {
                settings.apply_to_session(&mut session);
            }
            session.set_pipelined_prefix(head);
            if followed {
                session.set_connection_user_context(Some(Box::new(Followed)));
            }
            let Some(reused) = self.proxy.process_new_http(session, shutdown).await else {
                return;
            };
            (stream, carried) = reused.consume();
            deadline.set(
                self.gateway
                    .snapshot
                    .load()
                    .settings
                    .limits
                    .keepalive_timeout,
            );
        }
    }

    /// Answers and records a request that never became one, and closes.
    async fn refuse(&self, mut stream: Stream, head: &[u8], peer: IpAddr, refusal: &Refusal) {
        let id = RequestId::at(SystemTime::now());
        let answer = raw_answer(refusal, &id);
        record_malformed(&self.gateway, id, head, peer, refusal);
        let written = tokio::time::timeout(REFUSAL_TIMEOUT, stream.write_all(&answer)).await;
        if matches!(written, Ok(Ok(()))) {
            let _ = stream.flush().await;
            let _ = tokio::time::timeout(LINGER, discard(&mut stream)).await;
        }
        let _ = stream.shutdown().await;
    }

    async fn refuse_overload(&self, mut stream: Stream, peer: IpAddr) {
        self.gateway.metrics.connections_refused.inc();
        let id = RequestId::at(SystemTime::now());
        let answer = raw_answer(&Refusal::Overloaded, &id);
        record_malformed(&self.gateway, id, b"", peer, &Refusal::Overloaded);
        let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
        let _ = tokio::time::timeout(LINGER, stream.flush()).await;
        let _ = stream.shutdown().await;
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let peer = peer_address(&stream)?;
        match self.admit(peer) {
            Some(_permit) => self.serve(stream, peer, shutdown).await,
            None => self.refuse_overload(stream, peer).await,
        }
        None
    }
}

/// The client has sent more than this request: another one, ahead of its turn.
/// Pingora would close the connection behind an answer that promises to keep
/// it, so the answer must not promise.
pub struct Followed;

fn is_followed(body: BodyLength, bytes_behind_head: usize) -> bool {
    match body {
        BodyLength::Exactly(length) => bytes_behind_head as u64 > length,
        // Where the last chunk ends is not known here.
        BodyLength::Chunked => false,
    }
}

/// A connection whose other end is already gone has none.
fn peer_address(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    let address = digest.peer_addr()?.as_inet()?.ip();
    Some(address.to_canonical())
}

fn head_limits(snapshot: &Snapshot) -> HeadLimits {
    HeadLimits {
        bytes: snapshot.settings.limits.head_bytes,
        timeout: snapshot.settings.limits.head_timeout,
    }
}

async fn discard(stream: &mut Stream) {
    let mut scratch = [0_u8; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
