//! A connection to an upstream that sends what is written when an answer is
//! awaited, not before. Pingora flushes behind a request's head and again
//! behind its body: two packets, and the upstream woken twice, where one does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wrapped::wraps_stream;

/// A head and a small body. What is larger gains nothing by waiting.
const MOST_HELD: usize = 4 * 1024;

#[derive(Debug)]
pub struct UpstreamStream {
    inner: Stream,
    held: BytesMut,
    /// The inner connection may hold some of it too.
    is_flushed: bool,
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
        })
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
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
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
        ready!(self.poll_send_held(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
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
    async fn a_connection_is_wrapped_once() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let once = UpstreamStream::wrap(Box::new(ours));
        let twice = UpstreamStream::wrap(once).into_any();
        let stream = twice.downcast::<UpstreamStream>().unwrap();
        assert!(!(*stream.inner).as_any().is::<UpstreamStream>());
    }
}
