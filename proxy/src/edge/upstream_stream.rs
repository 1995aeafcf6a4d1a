//! A connection to an upstream that sends what is written when an answer is
//! awaited, not before. Pingora flushes behind a request's head and again
//! behind its body: two packets, and the upstream woken twice, where one does.
//!
//! While the upstream takes nothing, its answer is read ahead: it may wait for
//! us to read before it goes on itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wrapped::wraps_stream;

/// A head and a small body. What is larger gains nothing by waiting.
const MOST_HELD: usize = 4 * 1024;
/// Of an answer that comes while the request is still being written.
const MOST_EARLY: usize = 256 * 1024;

#[derive(Debug)]
pub struct UpstreamStream {
    inner: Stream,
    held: BytesMut,
    /// The inner connection may hold some of it too.
    is_flushed: bool,
    early: BytesMut,
    has_ended: bool,
}

impl UpstreamStream {
    /// A connection from the pool is one already.
    pub fn wrap(stream: Stream) -> Stream {
        if (*stream).as_any().is::<Self>() {
            return stream;
        }
        Box::new(Self {
            inner: stream,
            held: BytesMut::new(),
            is_flushed: true,
            early: BytesMut::new(),
            has_ended: false,
        })
    }

    /// The connection itself, what was read of it ahead, and what is still to be
    /// written to it.
    pub fn into_parts(self) -> (Stream, BytesMut, BytesMut) {
        (self.inner, self.early, self.held)
    }

    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// What the upstream says while it does not listen.
    fn read_early(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut space = [0; 4096];
        while self.early.len() < MOST_EARLY && !self.has_ended {
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(&mut self.inner).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => result?,
            }
            self.has_ended = read.filled().is_empty();
            self.early.extend_from_slice(read.filled());
        }
        Ok(())
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let here = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(here));
            return Poll::Ready(Ok(()));
        }
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            ready!(self.poll_send_held(cx))?;
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.is_flushed = true;
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An upstream that takes no more, or has closed its ear, may have
        // answered all the same.
        let sent = self.poll_send(cx);
        let before = buf.filled().len();
        let read = self.poll_inner(cx, buf);
        match (sent, read) {
            (Poll::Ready(Err(error)), Poll::Pending) => Poll::Ready(Err(error)),
            (Poll::Ready(Err(error)), Poll::Ready(Ok(()))) if buf.filled().len() == before => {
                Poll::Ready(Err(error))
            }
            (_, read) => read,
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        if self.held.len() + bytes.len() <= MOST_HELD {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = match self.poll_send_held(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_write(cx, bytes),
            Poll::Pending => Poll::Pending,
        };
        if written.is_pending() {
            self.read_early(cx)?;
        }
        written
    }

    /// Sent by the next read: every request is followed by one.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

wraps_stream!(UpstreamStream);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn head_and_body_go_out_together_when_an_answer_is_awaited() {
        let (ours, mut theirs) = tokio::io::duplex(100_000);
        let mut stream = UpstreamStream::wrap(Box::new(ours));
        for (body, is_held) in [(10, true), (MOST_HELD, false)] {
            stream.write_all(b"head").await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(&vec![b'x'; body]).await.unwrap();
            stream.flush().await.unwrap();
            let mut seen = [0; 1];
            let early = futures::FutureExt::now_or_never(theirs.read(&mut seen));
            assert_eq!(early.is_none(), is_held, "{body} bytes");
            let answer = async {
                let so_far = usize::from(early.is_some());
                theirs
                    .read_exact(&mut vec![0; 4 + body - so_far])
                    .await
                    .unwrap();
                theirs.write_all(b"ok").await.unwrap();
            };
            let mut answered = [0; 2];
            let (_, read) = tokio::join!(answer, stream.read_exact(&mut answered));
            assert_eq!((read.unwrap(), &answered), (2, b"ok"));
        }
    }

    #[tokio::test]
    async fn an_answer_to_a_request_that_is_not_taken_is_read() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let mut stream = UpstreamStream::wrap(Box::new(ours));
        let answer = vec![b'a'; 50_000];
        let write = async {
            for _ in 0..10 {
                stream.write_all(&[b'r'; 1000]).await.unwrap();
            }
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            read
        };
        let upstream = async {
            // All of the answer first: whoever does not read it waits for ever.
            theirs.write_all(&answer).await.unwrap();
            theirs.read_exact(&mut [0; 10_000]).await.unwrap();
            drop(theirs);
        };
        let (read, ()) = tokio::join!(write, upstream);
        assert_eq!(read, answer);
    }

    #[tokio::test]
    async fn a_connection_is_wrapped_once() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let once = UpstreamStream::wrap(Box::new(ours));
        let twice = UpstreamStream::wrap(once).into_any();
        let stream = twice.downcast::<UpstreamStream>().unwrap();
        assert!(!(*stream.inner).as_any().is::<UpstreamStream>());
    }
}
