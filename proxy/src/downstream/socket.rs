//! A client's socket, as Pingora's connections are: small writes are collected
//! until somebody flushes. Under TLS it also reads ahead: BoringSSL asks for
//! each record twice, five bytes and then the rest, which would be twice the
//! system calls. What is read ahead is kept no longer than it is unread, so
//! that an idle connection holds no buffer.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use async_trait::async_trait;
use futures::FutureExt;
use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;

use super::TlsFacts;

/// About what a segment carries: more would delay, less would send small ones.
const UNSENT: usize = 1460;
/// One record of TLS.
const AHEAD: usize = 16 * 1024;

#[derive(Debug)]
pub struct ClientSocket {
    io: BufWriter<TcpStream>,
    reads_ahead: bool,
    /// Read and not yet asked for, from `taken` on.
    ahead: Vec<u8>,
    taken: usize,
    digest: Arc<SocketDigest>,
    /// Under TLS, what its handshake has settled: see [`TlsFacts::of`].
    facts: Option<Arc<ProxyDigest>>,
    since: SystemTime,
}

impl ClientSocket {
    /// `peer` is whom it is taken for, which a proxy may have told.
    pub fn new(stream: TcpStream, peer: SocketAddr, reads_ahead: bool) -> Self {
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // Nobody has set it before.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Self {
            io: BufWriter::with_capacity(UNSENT, stream),
            reads_ahead,
            ahead: Vec::new(),
            taken: 0,
            digest: Arc::new(digest),
            facts: None,
            since: SystemTime::now(),
        }
    }

    /// Pingora passes on what it takes for the digest of a proxy, and leaves it
    /// alone.
    pub fn set_facts(&mut self, facts: Arc<TlsFacts>) {
        let Ok(unused) = ResponseHeader::build_no_case(StatusCode::OK, Some(0)) else {
            return;
        };
        let digest = ProxyDigest::new(Box::new(unused), Some(Box::new(facts)));
        self.facts = Some(Arc::new(digest));
    }

    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let unread = self.ahead.get(self.taken..).unwrap_or_default();
        let here = unread.len().min(buf.remaining());
        buf.put_slice(unread.get(..here).unwrap_or_default());
        self.taken += here;
        if self.taken >= self.ahead.len() {
            self.ahead = Vec::new();
            self.taken = 0;
        }
    }

    fn poll_read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::<u8>::uninit() }; AHEAD];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let here = read.filled().len().min(buf.remaining());
        let (asked, more) = read.filled().split_at(here);
        buf.put_slice(asked);
        if !more.is_empty() {
            self.ahead = more.to_vec();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.reads_ahead {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        if !this.ahead.is_empty() {
            this.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        match buf.remaining() < AHEAD {
            true => this.poll_read_ahead(cx, buf),
            false => Pin::new(&mut this.io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// What nobody has flushed goes out if the socket takes it at once.
impl Drop for ClientSocket {
    fn drop(&mut self) {
        if !self.io.buffer().is_empty() {
            let _ = self.io.flush().now_or_never();
        }
    }
}

#[async_trait]
impl Shutdown for ClientSocket {
    async fn shutdown(&mut self) {
        // A client that has gone needs none.
        let _ = AsyncWriteExt::shutdown(&mut self.io).await;
    }
}

impl UniqueID for ClientSocket {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().as_raw_fd()
    }
}

impl Ssl for ClientSocket {}

impl GetTimingDigest for ClientSocket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.since,
            ..TimingDigest::default()
        })]
    }
}

impl GetProxyDigest for ClientSocket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.facts.clone()
    }
}

impl GetSocketDigest for ClientSocket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

impl Peek for ClientSocket {}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(reads_ahead: bool) -> (TcpStream, ClientSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (stream, peer) = accepted.unwrap();
        (
            client.unwrap(),
            ClientSocket::new(stream, peer, reads_ahead),
        )
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_read_in_its_order_and_not_kept() {
        for reads_ahead in [false, true] {
            let (mut client, mut socket) = pair(reads_ahead).await;
            let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
            let writing = tokio::spawn({
                let sent = sent.clone();
                async move {
                    client.write_all(&sent).await.unwrap();
                }
            });
            let mut read = Vec::new();
            for size in [5, 300, 20_000, 1, 7].into_iter().cycle() {
                let mut piece = vec![0; size];
                let count = socket.read(&mut piece).await.unwrap();
                read.extend_from_slice(&piece[..count]);
                if count == 0 {
                    break;
                }
            }
            writing.await.unwrap();
            assert_eq!(read, sent, "{reads_ahead}");
            assert_eq!(socket.ahead.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn small_writes_wait_for_a_flush_and_are_sent_at_the_end() {
        let (mut client, mut socket) = pair(false).await;
        socket.write_all(b"one ").await.unwrap();
        socket.write_all(b"two").await.unwrap();
        let mut piece = [0; 16];
        let early = client.try_read(&mut piece);
        assert_eq!(early.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(socket);
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "one two");
    }
}
