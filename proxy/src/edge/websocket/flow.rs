//! One direction of a WebSocket. What one end has said is read only when the
//! other has taken what came before, so that no more is kept than one reading.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use knoxcall_filters::leak_guard::Findings;
use knoxcall_filters::websocket::{Frames, MessageGuard, Uninspectable};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of one reading. It is on the stack: an idle WebSocket keeps no buffer.
const READING: usize = 64 * 1024;

pub struct Flow {
    watch: Watch,
    /// What the destination has not taken yet.
    pending: BytesMut,
    state: State,
    is_flushed: bool,
    bytes: u64,
    /// Grows whenever something has moved.
    moves: u64,
}

/// Where frames begin and end.
enum Watch {
    Plain(Frames),
    Guarded(Box<MessageGuard>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more may be read: a frame cannot be inspected.
    Barred,
    /// Nothing more is to come: what is pending goes out, and the end is told.
    Ending,
    Over,
}

/// What has brought a flow to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    Source,
    Destination,
    Uninspectable,
}

impl Flow {
    pub fn new(guard: Option<MessageGuard>) -> Self {
        Self {
            watch: match guard {
                Some(guard) => Watch::Guarded(Box::new(guard)),
                None => Watch::Plain(Frames::default()),
            },
            pending: BytesMut::new(),
            state: State::Open,
            is_flushed: true,
            bytes: 0,
            moves: 0,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn moves(&self) -> u64 {
        self.moves
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub fn has_closed(&self) -> bool {
        self.watch.has_closed()
    }

    pub fn findings(&self) -> Findings {
        match &self.watch {
            Watch::Plain(_) => Findings::default(),
            Watch::Guarded(guard) => guard.findings(),
        }
    }

    /// Goes out before all else.
    pub fn send_first(&mut self, unsent: &[u8]) {
        self.pending.extend_from_slice(unsent);
    }

    /// What the source said before.
    pub fn begin_with(&mut self, read: &[u8]) {
        if !read.is_empty() && self.take(read).is_err() {
            self.state = State::Barred;
        }
    }

    /// Moves what can be moved, to the flow's end.
    pub fn poll(
        &mut self,
        source: &mut Stream,
        destination: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<FlowEnd> {
        loop {
            if ready!(self.poll_send(destination, cx)).is_err() {
                self.state = State::Over;
                return Poll::Ready(FlowEnd::Destination);
            }
            match self.state {
                State::Open => match self.poll_pass(source, destination, cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return self.poll_flush(destination, cx),
                },
                State::Barred => return Poll::Ready(FlowEnd::Uninspectable),
                State::Ending => {
                    // Where it fails, the destination has ended too.
                    let _ = ready!(Pin::new(&mut *destination).poll_shutdown(cx));
                    self.state = State::Over;
                }
                State::Over => return Poll::Ready(FlowEnd::Source),
            }
        }
    }

    /// Ends the flow with `close`, as soon as a frame may go out, and waits for
    /// the source to end too.
    pub fn poll_goodbye(
        &mut self,
        source: &mut Stream,
        destination: &mut Stream,
        close: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if self.state == State::Over {
                return self.poll_drain(source, cx);
            }
            if ready!(self.poll_send(destination, cx)).is_err() {
                self.state = State::Over;
                continue;
            }
            match self.state {
                State::Open if !self.watch.is_between() => {
                    ready!(self.poll_finish_frame(source, cx));
                }
                // The frame that bars it may be a close that was not passed on.
                State::Open | State::Barred => {
                    if self.state == State::Barred || !self.watch.has_closed() {
                        self.pending.extend_from_slice(close);
                    }
                    self.state = State::Ending;
                }
                State::Ending | State::Over => {
                    let _ = ready!(Pin::new(&mut *destination).poll_flush(cx));
                    let _ = ready!(Pin::new(&mut *destination).poll_shutdown(cx));
                    self.state = State::Over;
                }
            }
        }
    }

    /// One reading, passed on as far as the destination takes it.
    #[inline(never)]
    fn poll_pass(
        &mut self,
        source: &mut Stream,
        destination: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); READING];
        let mut read = ReadBuf::uninit(&mut space);
        let result = ready!(Pin::new(source).poll_read(cx, &mut read));
        let part = read.filled();
        // One that has failed says nothing more, as one that has ended.
        if result.is_err() || part.is_empty() {
            self.end();
            return Poll::Ready(());
        }
        self.moves += 1;
        if let Watch::Plain(frames) = &mut self.watch {
            frames.follow(part);
            self.bytes += part.len() as u64;
            self.pass(part, destination, cx);
        } else if self.take(part).is_err() {
            self.state = State::Barred;
        }
        Poll::Ready(())
    }

    /// What is not taken at once is kept. A failure is seen by the next write.
    fn pass(&mut self, mut part: &[u8], destination: &mut Stream, cx: &mut Context<'_>) {
        while !part.is_empty() {
            match Pin::new(&mut *destination).poll_write(cx, part) {
                Poll::Ready(Ok(taken)) if taken > 0 => {
                    self.is_flushed = false;
                    part = part.get(taken..).unwrap_or_default();
                }
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        self.pending.extend_from_slice(part);
    }

    fn take(&mut self, part: &[u8]) -> Result<(), Uninspectable> {
        self.bytes += part.len() as u64;
        match &mut self.watch {
            Watch::Plain(frames) => {
                frames.follow(part);
                self.pending.extend_from_slice(part);
                Ok(())
            }
            Watch::Guarded(guard) => {
                self.pending.reserve(part.len());
                guard.feed(&Bytes::copy_from_slice(part), &mut self.pending)
            }
        }
    }

    fn end(&mut self) {
        if let Watch::Guarded(guard) = &mut self.watch {
            guard.end(&mut self.pending);
        }
        self.state = State::Ending;
    }

    fn poll_send(
        &mut self,
        destination: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pending.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.pending.is_empty() {
            let sent = Pin::new(&mut *destination).poll_write(cx, &self.pending);
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_flushed = false;
            self.moves += 1;
            self.pending.advance(sent);
        }
        self.pending = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// While nothing comes, the destination gets all that has come.
    fn poll_flush(&mut self, destination: &mut Stream, cx: &mut Context<'_>) -> Poll<FlowEnd> {
        if self.is_flushed {
            return Poll::Pending;
        }
        match ready!(Pin::new(destination).poll_flush(cx)) {
            Ok(()) => {
                self.is_flushed = true;
                Poll::Pending
            }
            Err(_) => {
                self.state = State::Over;
                Poll::Ready(FlowEnd::Destination)
            }
        }
    }

    fn poll_finish_frame(&mut self, source: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut read = ReadBuf::uninit(&mut space);
        let result = ready!(Pin::new(source).poll_read(cx, &mut read));
        let part = read.filled();
        if result.is_err() || part.is_empty() {
            self.end();
            return Poll::Ready(());
        }
        match &mut self.watch {
            Watch::Plain(frames) => {
                let own = frames.finish_frame(part);
                let own = part.get(..own).unwrap_or_default();
                self.bytes += own.len() as u64;
                self.pending.extend_from_slice(own);
            }
            Watch::Guarded(guard) => {
                self.bytes += part.len() as u64;
                let part = Bytes::copy_from_slice(part);
                if guard.finish_frame(&part, &mut self.pending).is_err() {
                    self.state = State::Barred;
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_drain(&self, source: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        loop {
            let mut read = ReadBuf::uninit(&mut space);
            let result = ready!(Pin::new(&mut *source).poll_read(cx, &mut read));
            if result.is_err() || read.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl Watch {
    fn is_between(&self) -> bool {
        match self {
            Self::Plain(frames) => frames.is_between(),
            Self::Guarded(guard) => guard.is_between(),
        }
    }

    fn has_closed(&self) -> bool {
        match self {
            Self::Plain(frames) => frames.has_closed(),
            Self::Guarded(guard) => guard.has_closed(),
        }
    }
}
