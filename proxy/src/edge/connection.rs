//! The connection loop: our own, in place of Pingora's.
//!
//! Pingora's would restart its timeout with each byte of a head, count no
//! connections, and answer malformed heads itself, without our envelope and
//! without a record. Here the head is read whole under one deadline and judged
//! as raw bytes; only a sound one is handed on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use knoxcall_filters::refusal::Malformation;
use knoxcall_filters::{Refusal, hygiene};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::raw_answer;
use super::client_stream::ClientStream;
use super::connector::Connector;
use super::context::RequestId;
use super::deadline::Deadline;
use super::exchange::{Exchange, Served};
use super::head_reader::{HeadLimits, ReadHead, read_head};
use super::http2;
use super::malformed::record_malformed;
use crate::downstream::Accepted;
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
    connector: Connector,
}

impl Edge {
    pub fn new(gateway: Arc<Gateway>, connector: Connector) -> Self {
        Self { gateway, connector }
    }

    /// One connection that its listener has let in.
    pub async fn accepted(self: &Arc<Self>, connection: Accepted, shutdown: &ShutdownWatch) {
        let Accepted {
            stream,
            peer,
            permit: _until_the_end,
            tls,
            listener,
        } = connection;
        if tls.as_ref().is_some_and(|tls| tls.alpn_h2) {
            return http2::serve(self.clone(), stream, peer, shutdown.clone()).await;
        }
        // Over TLS it would have been agreed on.
        let may_be_http2 = listener.http2 && tls.is_none();
        self.serve(stream, peer, may_be_http2, shutdown).await;
    }

    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    pub fn exchange(&self, peer: IpAddr) -> Exchange<'_> {
        Exchange {
            gateway: &self.gateway,
            connector: &self.connector,
            peer,
        }
    }

    /// One connection, of whichever version its first bytes are.
    async fn serve(
        self: &Arc<Self>,
        stream: Stream,
        peer: IpAddr,
        mut may_be_http2: bool,
        shutdown: &ShutdownWatch,
    ) {
        let mut stream = Box::new(ClientStream::new(stream));
        let mut deadline = Deadline::after(self.limits().timeout);
        let exchange = self.exchange(peer);
        loop {
            let (mut head, end) = match read_head(&mut stream, &mut deadline, self.limits()).await {
                ReadHead::Complete { bytes, end } => (bytes, end),
                ReadHead::Refused(head, refusal) => {
                    return self.refuse(stream, &head, peer, &refusal).await;
                }
                ReadHead::Gone => return,
            };
            if may_be_http2 && head.get(..end) == Some(http2::PREFACE_HEAD) {
                stream.put_back(head);
                return http2::serve(self.clone(), stream, peer, shutdown.clone()).await;
            }
            may_be_http2 = false;
            if let Err(refusal) = self.begin(&mut stream, &mut head, end) {
                return self.refuse(stream, &head, peer, &refusal).await;
            }
            let mut session = Box::new(ServerSession::new_http1(stream));
            session.set_pipelined_prefix(head);
            let Served::Reusable(reused) = exchange.serve(session, &mut deadline).await else {
                return;
            };
            stream = reused;
            stream.end();
            deadline.set(self.keepalive_timeout());
        }
    }

    /// Judges the head, and leaves in `bytes` what is the request's own.
    fn begin(
        &self,
        stream: &mut ClientStream,
        bytes: &mut BytesMut,
        end: usize,
    ) -> Result<(), Refusal> {
        let budget = self.gateway.snapshot.load().head_budget;
        let framing = hygiene::check_raw(bytes.get(..end).unwrap_or_default(), &budget)?;
        stream
            .begin(bytes, end, framing.body)
            .map_err(|_| Refusal::Malformed(Malformation::InvalidBody))
    }

    fn limits(&self) -> HeadLimits {
        head_limits(&self.gateway.snapshot.load())
    }

    fn keepalive_timeout(&self) -> Duration {
        self.gateway
            .snapshot
            .load()
            .settings
            .limits
            .keepalive_timeout
    }

    /// Answers and records a request that never became one, and closes.
    async fn refuse(
        &self,
        mut stream: Box<ClientStream>,
        head: &[u8],
        peer: IpAddr,
        refusal: &Refusal,
    ) {
        stream.end();
        let id = RequestId::at(SystemTime::now());
        let answer = raw_answer(refusal, &id);
        record_malformed(&self.gateway, id, head, peer, refusal);
        let sent = tokio::time::timeout(REFUSAL_TIMEOUT, send(&mut stream, &answer)).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = tokio::time::timeout(LINGER, discard(&mut stream)).await;
        }
        let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
    }

    /// Without a stream the client would not understand an answer.
    pub async fn refuse_overload(&self, stream: Option<Stream>, peer: IpAddr) {
        self.gateway.metrics.connections_refused.inc();
        let id = RequestId::at(SystemTime::now());
        let answer = raw_answer(&Refusal::Overloaded, &id);
        record_malformed(&self.gateway, id, b"", peer, &Refusal::Overloaded);
        let Some(mut stream) = stream else { return };
        let _ = tokio::time::timeout(LINGER, send(&mut stream, &answer)).await;
        let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
    }
}

fn head_limits(snapshot: &Snapshot) -> HeadLimits {
    HeadLimits {
        bytes: snapshot.settings.limits.head_bytes,
        timeout: snapshot.settings.limits.head_timeout,
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.flush().await
}

async fn discard(stream: &mut ClientStream) {
    let mut scratch = [0_u8; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
