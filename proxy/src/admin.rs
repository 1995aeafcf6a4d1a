//! The admin listener: health and metrics, read-only. Few connections, each
//! request within a deadline: nobody may use up the process's files here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response, StatusCode};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::sync::Semaphore;

use crate::gateway::Gateway;
use crate::health::Probe;
use crate::upstream;

/// At once; more are closed without an answer.
const MOST_CONNECTIONS: usize = 64;
/// From a connection's beginning, or the answer before, to the end of the next
/// answer: longer than probes and scrapers rest between two requests.
const LONGEST_TURN: Duration = Duration::from_secs(30);

pub struct Admin {
    gateway: Arc<Gateway>,
}

/// An application with few connections, each of which soon says something.
pub struct Few<A> {
    app: Arc<A>,
    room: Semaphore,
    longest_turn: Duration,
}

impl<A> Few<A> {
    pub fn new(app: A) -> Self {
        Self {
            app: Arc::new(app),
            room: Semaphore::new(MOST_CONNECTIONS),
            longest_turn: LONGEST_TURN,
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync> ServerApp for Few<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _place = self.room.try_acquire().ok()?;
        let mut open = Some(stream);
        while let Some(stream) = open {
            let turn = self.app.process_new(stream, shutdown);
            open = tokio::time::timeout(self.longest_turn, turn).await.ok()?;
        }
        None
    }
}

impl Admin {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    fn answer(&self, method: &Method, path: &[u8]) -> Response<Vec<u8>> {
        if *method != Method::GET && *method != Method::HEAD {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain",
                b"read-only\n".to_vec(),
            );
        }
        if let Some(probe) = Probe::of(method, path) {
            let answer = probe.answer(&self.gateway);
            let status =
                StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return plain(status, "application/json", answer.body.to_vec());
        }
        match path {
            b"/metrics" => {
                let text = self.gateway.metrics.render(&self.gateway.sample());
                plain(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                )
            }
            b"/upstreams" => {
                let snapshot = self.gateway.snapshot.load();
                let shown = upstream::status::shown(snapshot.upstreams.iter(), Instant::now());
                let text = shown.to_string().into_bytes();
                plain(StatusCode::OK, "application/json", text)
            }
            _ => plain(
                StatusCode::NOT_FOUND,
                "text/plain",
                b"/healthz, /livez, /metrics and /upstreams are here\n".to_vec(),
            ),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let target = head.raw_path();
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        self.answer(&head.method, path)
    }
}

fn plain(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = response.body().len().into();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    struct Silent;

    #[async_trait]
    impl ServerApp for Silent {
        async fn process_new(self: &Arc<Self>, _open: Stream, _: &ShutdownWatch) -> Option<Stream> {
            pending().await
        }
    }

    async fn connection() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stream: pingora::protocols::l4::stream::Stream = accepted.unwrap().0.into();
        (client.unwrap(), Box::new(stream))
    }

    #[tokio::test]
    async fn a_turn_that_never_ends_is_ended() {
        let mut few = Few::new(Silent);
        few.longest_turn = Duration::from_millis(10);
        let few = Arc::new(few);
        let (mut client, stream) = connection().await;
        let (_stop, shutdown) = watch::channel(false);
        assert!(few.process_new(stream, &shutdown).await.is_none());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it is closed");
        assert_eq!(few.room.available_permits(), MOST_CONNECTIONS);
    }
}
