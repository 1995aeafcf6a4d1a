//! A client and an upstream of HTTP/2 (RFC 9113), in clear by prior knowledge.
//! Both block, like everything here; what drives their connections runs on a
//! thread of their own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::request::Request;
use crate::wait::DEADLINE;

pub struct Http2Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// One request under way.
pub struct Http2Stream<'c> {
    client: &'c Http2Client,
    answer: ResponseFuture,
    body: SendStream<Bytes>,
}

#[derive(Clone, Debug)]
pub struct Http2Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

pub struct Http2Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Http2Received>>,
    connections: AtomicUsize,
}

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub struct Http2Received {
    pub method: String,
    pub authority: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

impl Http2Client {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    pub fn send(&self, request: &Request) -> Http2Response {
        let body = request.body_bytes();
        let mut stream = self.open(request, body.is_empty());
        if !body.is_empty() {
            stream.write(body, true);
        }
        stream.read().expect("an answer")
    }

    pub fn open(&self, request: &Request, is_all: bool) -> Http2Stream<'_> {
        let mut sender = self.sender.clone();
        let (answer, body) = self.runtime.block_on(async {
            sender = sender
                .ready()
                .await
                .expect("a connection that takes streams");
            sender.send_request(head(request), is_all).unwrap()
        });
        Http2Stream {
            client: self,
            answer,
            body,
        }
    }

    /// `None`: the connection takes no more streams, and the gateway has not
    /// begun this one: another connection may be asked.
    pub fn try_send(&self, request: &Request) -> Option<Http2Response> {
        let mut sender = self.sender.clone();
        let answer = self.runtime.block_on(async {
            sender = sender.ready().await.ok()?;
            let (answer, _) = sender.send_request(head(request), true).ok()?;
            Some(answer)
        })?;
        let answered = async { timeout(DEADLINE, read(answer)).await };
        let answered = self.runtime.block_on(answered).expect("an answer in time");
        match answered {
            // Behind the last stream that a GOAWAY names (RFC 9113, section
            // 6.8); one that is broken off has another error.
            Err(error) if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) => None,
            answered => Some(answered.expect("an answer")),
        }
    }

    /// As far as is known at this moment.
    pub fn is_closed_now(&self) -> bool {
        let sender = self.sender.clone();
        let ready = async { timeout(std::time::Duration::from_millis(1), sender.ready()).await };
        matches!(self.runtime.block_on(ready), Ok(Err(_)))
    }

    /// The connection takes no more requests, soon.
    pub fn is_closed(&self) -> bool {
        let sender = self.sender.clone();
        let ready = async { timeout(DEADLINE, sender.ready()).await };
        matches!(self.runtime.block_on(ready), Ok(Err(_)))
    }
}

impl Http2Stream<'_> {
    pub fn write(&mut self, bytes: impl Into<Bytes>, is_last: bool) -> &mut Self {
        let _guard = self.client.runtime.enter();
        self.body.send_data(bytes.into(), is_last).unwrap();
        self
    }

    pub fn reset(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// The answer, whole.
    pub fn read(self) -> Result<Http2Response, h2::Error> {
        let read = async { timeout(DEADLINE, read(self.answer)).await };
        self.client
            .runtime
            .block_on(read)
            .expect("an answer in time")
    }

    /// The answer's head, and a reader of what follows.
    pub fn begin(
        self,
    ) -> (
        StatusCode,
        HeaderMap,
        impl FnMut() -> Vec<u8>,
        SendStream<Bytes>,
    ) {
        let runtime = &self.client.runtime;
        let answer = runtime.block_on(async { timeout(DEADLINE, self.answer).await });
        let (head, mut body) = answer.expect("an answer in time").unwrap().into_parts();
        let next = move || {
            let data = runtime.block_on(async { timeout(DEADLINE, body.data()).await });
            let data = data.expect("data in time").transpose().unwrap();
            data.map(|data| data.to_vec()).unwrap_or_default()
        };
        (head.status, head.headers, next, self.body)
    }
}

async fn read(answer: ResponseFuture) -> Result<Http2Response, h2::Error> {
    let (head, mut body) = answer.await?.into_parts();
    let bytes = collect(&mut body).await?;
    Ok(Http2Response {
        status: head.status,
        headers: head.headers,
        body: bytes,
        trailers: body.trailers().await?,
    })
}

async fn collect(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn head(request: &Request) -> http::Request<()> {
    let mut head = http::Request::builder()
        .version(Version::HTTP_2)
        .method(request.method.as_str())
        .uri(format!("http://{}{}", request.authority(), request.target));
    for (name, value) in request.header_lines() {
        head = head.header(name.to_ascii_lowercase(), value);
    }
    head.body(()).unwrap()
}

impl Http2Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn assert_refused(&self, status: u16, kind: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["error"]["type"], kind);
        assert_eq!(
            body["error"]["request_id"].as_str(),
            self.header("x-request-id")
        );
    }
}

impl Http2Upstream {
    /// Answers with what it got; by path, with what a test needs:
    /// `/trailers` ends in trailers, `/telling-trailers` says the body there,
    /// `/trailers-only` is a head alone, `/no-body` a head and trailers,
    /// `/not-modified` a 304 with a body all the same, `/echo`
    /// sends each part back as it comes, `/reset` breaks off in the middle,
    /// `/failed` and `/refused` before the answer.
    pub fn start() -> Self {
        let runtime = runtime();
        let shared = Arc::new(Shared::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Http2Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub fn last_request(&self) -> Http2Received {
        self.requests().pop().expect("a request")
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.ok()?;
            while let Some(Ok((request, answer))) = connection.accept().await {
                tokio::spawn(serve(request, answer, shared.clone()));
            }
            Some(())
        });
    }
}

async fn serve(
    request: http::Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let kind = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut received = Http2Received {
        method: head.method.to_string(),
        authority: head
            .uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default(),
        path: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers: head.headers,
        body: Vec::new(),
    };
    let ok = || http::Response::builder().status(200);
    if kind == "trailers-only" {
        shared.received.lock().unwrap().push(received);
        let only = ok()
            .header("grpc-status", "5")
            .header("content-type", "application/grpc");
        answer.send_response(only.body(()).unwrap(), true).ok()?;
        return Some(());
    }
    if kind == "echo" {
        let mut out = answer.send_response(ok().body(()).unwrap(), false).ok()?;
        while let Some(Ok(part)) = body.data().await {
            body.flow_control().release_capacity(part.len()).ok()?;
            received.body.extend_from_slice(&part);
            out.send_data(part, false).ok()?;
        }
        shared.received.lock().unwrap().push(received);
        out.send_trailers(trailers()).ok()?;
        return Some(());
    }
    received.body = collect(&mut body).await.ok()?;
    let echoed = Bytes::from(received.body.clone());
    shared.received.lock().unwrap().push(received);
    match kind.as_str() {
        "failed" => {
            answer.send_reset(Reason::INTERNAL_ERROR);
            return Some(());
        }
        "refused" => {
            answer.send_reset(Reason::REFUSED_STREAM);
            return Some(());
        }
        _ => {}
    }
    let head = match kind.as_str() {
        "not-modified" => http::Response::builder().status(304),
        "no-body" => ok().header("etag", "\"1\""),
        _ => ok(),
    };
    let mut out = answer.send_response(head.body(()).unwrap(), false).ok()?;
    match kind.as_str() {
        "no-body" => out.send_trailers(trailers()).ok()?,
        "trailers" => {
            out.send_data(echoed, false).ok()?;
            out.send_trailers(trailers()).ok()?;
        }
        "telling-trailers" => {
            let mut trailers = trailers();
            trailers.insert("x-said", HeaderValue::from_bytes(&echoed).ok()?);
            out.send_data(Bytes::from_static(b"body"), false).ok()?;
            out.send_trailers(trailers).ok()?;
        }
        "reset" => {
            out.send_data(Bytes::from_static(b"begun"), false).ok()?;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            out.send_reset(Reason::INTERNAL_ERROR);
        }
        _ => out.send_data(echoed, true).ok()?,
    }
    Some(())
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    trailers
}
