//! Connections of HTTP/2 (RFC 9113): their streams are requests like any other,
//! served beside one another, each as a task of its own, so that a panic ends
//! one stream and not its neighbours.
//!
//! Pingora's own loop would let a silent client stay for ever, and knows no
//! bound on streams that are opened and reset at once (CVE-2023-44487).

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::Reason;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use knoxcall_filters::Refusal;
use knoxcall_filters::refusal::Malformation;
use pingora::Error;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::connection::Edge;
use super::context::RequestId;
use super::deadline::Deadline;
use super::exchange::Served;
use super::malformed::record_malformed;
use crate::snapshot::Snapshot;

/// What a connection of HTTP/1 that is not one begins with (section 3.4): its
/// first lines, as a head would end there.
pub const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Streams of a connection that its client may give up, or that are malformed,
/// before it is asked why: beyond, it must not be more than every second one.
const MOST_GIVEN_UP: usize = 100;
/// For the last frames of a connection that is closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// Of all streams together, before the client must wait for us.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Of one answer that the client does not take.
const SEND_BUFFER: usize = 64 * 1024;

type Connection = h2::server::Connection<Stream, Bytes>;

/// What the streams of one connection tell it.
#[derive(Default)]
struct Streams {
    active: AtomicUsize,
    begun: AtomicUsize,
    given_up: AtomicUsize,
    /// The last active one is over.
    quiet: Notify,
}

struct ActiveStream(Arc<Streams>);

/// What happens next on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once; a box would cost each request"
)]
enum Event {
    Accepted(H2Accept),
    Closed,
    Broken(Box<Error>),
    Silent,
    Stopping,
}

pub async fn serve(edge: Arc<Edge>, stream: Stream, peer: IpAddr, mut shutdown: ShutdownWatch) {
    let digest = Arc::new(digest(&stream));
    let (options, limits) = {
        let snapshot = edge.gateway().snapshot.load();
        (options(&snapshot), Limits::of(&snapshot))
    };
    let shaken = pingora_timeout::timeout(limits.handshake, handshake(stream, Some(options)));
    let Ok(Ok(mut connection)) = shaken.await else {
        return;
    };
    let streams = Arc::new(Streams::default());
    // It takes no more streams; those that are open come to their ends.
    let mut is_ending = false;
    loop {
        let event = tokio::select! {
            biased;
            // Also of one that was accepted after the word.
            _ = shutdown.wait_for(|stop| *stop), if !is_ending => Event::Stopping,
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => {
                match accepted {
                    Ok(accepted) => accepted.map_or(Event::Closed, Event::Accepted),
                    Err(error) => Event::Broken(error),
                }
            }
            () = streams.silent_for(limits.idle) => Event::Silent,
        };
        match event {
            Event::Accepted(H2Accept::Session(session)) => {
                let active = streams.begin();
                tokio::spawn(serve_stream(edge.clone(), session, peer, active));
            }
            Event::Accepted(H2Accept::Rejected) => {
                streams.note_malformed();
                record_rejected(&edge, peer);
            }
            // What its last streams have said may still be on its way.
            Event::Stopping | Event::Silent if !is_ending => {
                is_ending = true;
                connection.graceful_shutdown();
            }
            Event::Stopping | Event::Silent => {
                return close(connection, Reason::NO_ERROR).await;
            }
            Event::Closed => return,
            Event::Broken(error) => {
                if is_flood(&error) {
                    edge.gateway().metrics.http2_floods.inc();
                }
                return;
            }
        }
        if streams.are_mostly_given_up() {
            edge.gateway().metrics.http2_floods.inc();
            return close(connection, Reason::ENHANCE_YOUR_CALM).await;
        }
    }
}

/// To its end, or until the cut is made.
async fn serve_stream(edge: Arc<Edge>, mut session: HttpSession, peer: IpAddr, of: ActiveStream) {
    join_cookies(&mut session);
    let session = Box::new(ServerSession::new_http2(session));
    // Whoever waits sets it first.
    let mut deadline = Deadline::after(FAREWELL);
    let exchange = edge.exchange(peer);
    let serving = exchange.serve(session, &mut deadline);
    let served = edge.gateway().cutoff.unless_cut(pin!(serving)).await;
    if let Some(Served::Abandoned) = served {
        of.0.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long the parts of a connection may take.
struct Limits {
    handshake: Duration,
    idle: Duration,
}

impl Limits {
    fn of(snapshot: &Snapshot) -> Self {
        let limits = &snapshot.settings.limits;
        Self {
            handshake: limits.head_timeout,
            idle: limits.keepalive_timeout,
        }
    }
}

fn options(snapshot: &Snapshot) -> H2Options {
    let limits = &snapshot.settings.limits;
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.http2_max_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// Says why, and gives what is under way the time to go out.
async fn close(mut connection: Connection, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closed = std::future::poll_fn(|cx| connection.poll_closed(cx));
    let _ = pingora_timeout::timeout(FAREWELL, closed).await;
}

/// h2 has a bound of its own on streams that are reset before they are accepted,
/// and has said so to the client.
fn is_flood(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| {
        cause.is_library() && cause.reason() == Some(Reason::ENHANCE_YOUR_CALM)
    })
}

/// Answered or reset by Pingora: it had no head that could be told of.
fn record_rejected(edge: &Edge, peer: IpAddr) {
    let refusal = Refusal::Malformed(Malformation::InvalidHead);
    let id = RequestId::at(SystemTime::now());
    record_malformed(edge.gateway(), id, b"", peer, &refusal);
}

/// Clients may send each cookie by itself; for whoever does not speak HTTP/2
/// they are one field (section 8.2.3).
fn join_cookies(session: &mut HttpSession) {
    let header = session.req_header_mut();
    if let Some(joined) = joined_cookies(&header.headers) {
        let _ = header.insert_header(COOKIE, joined);
    }
}

/// `None`: there is nothing to join.
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(COOKIE).iter();
    let (first, second) = (all.next()?, all.next()?);
    let mut joined = first.as_bytes().to_vec();
    for more in std::iter::once(second).chain(all) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(more.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

fn digest(stream: &Stream) -> Digest {
    Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    }
}

impl Streams {
    fn begin(self: &Arc<Self>) -> ActiveStream {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        ActiveStream(self.clone())
    }

    fn note_malformed(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    fn are_mostly_given_up(&self) -> bool {
        let given_up = self.given_up.load(Ordering::Relaxed);
        given_up > MOST_GIVEN_UP && given_up * 2 > self.begun.load(Ordering::Relaxed)
    }

    /// Ends when no stream has been active for so long.
    async fn silent_for(&self, idle: Duration) {
        while self.active.load(Ordering::Acquire) > 0 {
            self.quiet.notified().await;
        }
        pingora_timeout::sleep(idle).await;
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.quiet.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_become_one_field() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined_cookies(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        assert_eq!(joined_cookies(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("b=2; c=3"));
        headers.append(COOKIE, HeaderValue::from_static("d=4"));
        assert_eq!(joined_cookies(&headers).unwrap(), "a=1; b=2; c=3; d=4");
    }

    #[test]
    fn who_gives_up_most_of_many_streams_is_told_so() {
        let streams = Arc::new(Streams::default());
        for _ in 0..MOST_GIVEN_UP {
            streams.note_malformed();
        }
        assert!(!streams.are_mostly_given_up(), "few are borne");
        streams.note_malformed();
        assert!(streams.are_mostly_given_up());
        for _ in 0..=MOST_GIVEN_UP {
            drop(streams.begin());
        }
        assert!(!streams.are_mostly_given_up(), "most were served");
    }

    #[tokio::test]
    async fn a_connection_with_an_active_stream_is_not_silent() {
        let streams = Arc::new(Streams::default());
        let active = streams.begin();
        let silent = streams.silent_for(Duration::from_millis(10));
        assert!(
            tokio::time::timeout(Duration::from_millis(60), silent)
                .await
                .is_err()
        );
        drop(active);
        streams.silent_for(Duration::from_millis(10)).await;
    }
}
