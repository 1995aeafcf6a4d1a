//! A client's connection that lets no request see more than its own bytes.
//!
//! Pingora takes what comes behind a request's body for a fault of that
//! request: it breaks off the answer that is under way, or closes behind an
//! answer that promises to stay. Here those bytes wait for their turn, as RFC
//! 9112, section 9.3.2, has it, and a chunked body is followed to its end by
//! rules that leave no two readings of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use knoxcall_filters::hygiene::{BodyLength, Chunks, Malchunked};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wrapped::wraps_stream;

/// A client may be ahead by so much; more stays in the kernel.
const MOST_AHEAD: usize = 16 * 1024;

#[derive(Debug)]
pub struct ClientStream {
    inner: Stream,
    /// What came behind the present request.
    ahead: BytesMut,
    left: Left,
    has_unsent: bool,
}

/// What the present request may still read.
#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunked(Chunks),
    /// There is no present request.
    Everything,
}

impl ClientStream {
    pub fn new(inner: Stream) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            left: Left::Everything,
            has_unsent: false,
        }
    }

    /// The connection itself, and what came of it behind the present request.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.inner, self.ahead)
    }

    /// What was read from it is unread: whoever reads next begins there.
    pub fn put_back(&mut self, bytes: BytesMut) {
        let later = std::mem::replace(&mut self.ahead, bytes);
        self.ahead.extend_from_slice(&later);
        self.left = Left::Everything;
    }

    /// A request begins, whose head is `bytes` up to `head_end`. Leaves in
    /// `bytes` what is the request's own.
    pub fn begin(
        &mut self,
        bytes: &mut BytesMut,
        head_end: usize,
        body: BodyLength,
    ) -> Result<(), Malchunked> {
        let behind = bytes.get(head_end..).unwrap_or_default();
        let own = match body {
            BodyLength::Exactly(length) => {
                let here = length.min(behind.len() as u64);
                self.left = Left::Bytes(length - here);
                here as usize
            }
            BodyLength::Chunked => {
                let mut chunks = Chunks::default();
                let here = chunks.follow(behind)?;
                self.left = Left::Chunked(chunks);
                here
            }
        };
        let own = (head_end + own).min(bytes.len());
        if own < bytes.len() {
            // These came before what is still unread.
            let mut ahead = bytes.split_off(own);
            ahead.extend_from_slice(&self.ahead);
            self.ahead = ahead;
        }
        Ok(())
    }

    /// The request is over: what is kept and what comes is the next one's.
    pub fn end(&mut self) {
        self.left = Left::Everything;
    }

    /// Nothing more belongs to the request: what comes is kept, the end of the
    /// connection is told.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 512];
        while self.ahead.len() < MOST_AHEAD {
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(read.filled());
        }
        Poll::Pending
    }

    fn poll_length(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let before = buf.filled().len();
        if most >= buf.remaining() {
            ready!(self.poll_next(cx, buf))?;
        } else {
            let mut own = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(self.poll_next(cx, &mut own))?;
            let read = own.filled().len();
            buf.advance(read);
        }
        self.left = Left::Bytes(left - (buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }

    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_next(cx, buf))?;
        let Left::Chunked(chunks) = &mut self.left else {
            return Poll::Ready(Ok(()));
        };
        let read = buf.filled().get(before..).unwrap_or_default();
        let own = chunks.follow(read).map_err(malchunked)?;
        let behind = read.get(own..).unwrap_or_default();
        if !behind.is_empty() {
            // These came before what is still unread.
            let mut ahead = BytesMut::from(behind);
            ahead.extend_from_slice(&self.ahead);
            self.ahead = ahead;
        }
        buf.set_filled(before + own);
        Poll::Ready(Ok(()))
    }

    /// The bytes in the order in which they came.
    fn poll_next(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let here = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(here));
        Poll::Ready(Ok(()))
    }

    /// Whoever waits for the client lets it have what there is for it: Pingora
    /// would hold a slow answer back until it is complete.
    fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_unsent
            && let Poll::Ready(sent) = Pin::new(&mut self.inner).poll_flush(cx)
        {
            self.has_unsent = false;
            return sent;
        }
        Ok(())
    }
}

/// A body that has no certain end; the client is told so, not the upstream.
fn malchunked(error: Malchunked) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.send_unsent(cx)?;
        match &this.left {
            Left::Bytes(0) => this.poll_ahead(cx),
            Left::Bytes(left) => {
                let left = *left;
                this.poll_length(cx, buf, left)
            }
            Left::Chunked(chunks) if chunks.is_over() => this.poll_ahead(cx),
            Left::Chunked(_) => this.poll_chunked(cx, buf),
            Left::Everything => this.poll_next(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_unsent = true;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.has_unsent = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

wraps_stream!(ClientStream);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn connection() -> (DuplexStream, ClientStream) {
        let (client, server) = tokio::io::duplex(1024);
        (client, ClientStream::new(Box::new(server)))
    }

    async fn read(stream: &mut ClientStream) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let read = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(read);
        bytes
    }

    #[tokio::test]
    async fn a_request_reads_its_own_body_and_the_next_one_the_rest() {
        for (body, length) in [
            ("hello", BodyLength::Exactly(5)),
            ("5\r\nhello\r\n0\r\n\r\n", BodyLength::Chunked),
        ] {
            for at_hand in [0, 3, body.len()] {
                let (mut client, mut stream) = connection();
                let more = format!("{body}GET /next");
                let mut bytes = BytesMut::from(format!("head{}", &more[..at_hand]).as_bytes());
                stream.begin(&mut bytes, 4, length).unwrap();
                client.write_all(&more.as_bytes()[at_hand..]).await.unwrap();
                let mut own = bytes.split_off(4).to_vec();
                while own.len() < body.len() {
                    own.extend(read(&mut stream).await);
                }
                assert_eq!(String::from_utf8(own).unwrap(), body, "{at_hand}");
                drop(client);
                assert_eq!(read(&mut stream).await, b"", "the end is told at once");
                stream.end();
                assert_eq!(read(&mut stream).await, b"GET /next", "{at_hand}");
            }
        }
    }

    #[tokio::test]
    async fn what_came_with_the_head_beyond_the_body_is_kept() {
        let (_client, mut stream) = connection();
        let mut bytes = BytesMut::from(&b"headhelloGET /next"[..]);
        stream.begin(&mut bytes, 4, BodyLength::Exactly(5)).unwrap();
        assert_eq!(bytes, &b"headhello"[..]);
        stream.end();
        assert_eq!(read(&mut stream).await, b"GET /next");
    }

    /// A head is read in smaller pieces than a client may be ahead.
    #[tokio::test]
    async fn what_was_kept_is_read_before_what_comes() {
        for (body, length) in [
            ("0123456789".to_owned(), BodyLength::Exactly(10)),
            (
                "a\r\n0123456789\r\n0\r\n\r\n".to_owned(),
                BodyLength::Chunked,
            ),
        ] {
            let (mut client, mut stream) = connection();
            stream.ahead = BytesMut::from(&body.as_bytes()[3..]);
            client.write_all(b"GET /next").await.unwrap();
            let mut bytes = BytesMut::from(format!("head{}", &body[..3]).as_bytes());
            stream.begin(&mut bytes, 4, length).unwrap();
            let mut own = bytes.split_off(4).to_vec();
            while own.len() < body.len() {
                own.extend(read(&mut stream).await);
            }
            assert_eq!(String::from_utf8(own).unwrap(), body);
            stream.end();
            assert_eq!(read(&mut stream).await, b"GET /next");
        }
    }

    #[tokio::test]
    async fn an_answer_in_parts_is_sent_while_the_client_is_awaited() {
        let (mut client, mut stream) = connection();
        let mut bytes = BytesMut::from(&b"head"[..]);
        stream.begin(&mut bytes, 4, BodyLength::Exactly(0)).unwrap();
        stream.write_all(b"part").await.unwrap();
        assert!(stream.has_unsent);
        let waits = futures::FutureExt::now_or_never(stream.read(&mut [0; 1]));
        assert!(waits.is_none() && !stream.has_unsent);
        let mut part = [0; 4];
        client.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"part");
    }

    #[tokio::test]
    async fn a_malformed_chunk_ends_the_body_with_an_error() {
        let (mut client, mut stream) = connection();
        let mut bytes = BytesMut::from(&b"head"[..]);
        stream.begin(&mut bytes, 4, BodyLength::Chunked).unwrap();
        client.write_all(b"5;a\nhello\r\n").await.unwrap();
        let error = stream.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_client_that_is_far_ahead_waits() {
        let (mut client, mut stream) = connection();
        let mut bytes = BytesMut::from(&b"head"[..]);
        stream.begin(&mut bytes, 4, BodyLength::Exactly(0)).unwrap();
        let flood = tokio::spawn(async move { client.write_all(&[b'x'; 10 * MOST_AHEAD]).await });
        let idle = tokio::time::timeout(std::time::Duration::from_millis(50), read(&mut stream));
        assert!(idle.await.is_err(), "nothing is told to the request");
        assert!(stream.ahead.len() <= MOST_AHEAD + 64);
        flood.abort();
    }
}
