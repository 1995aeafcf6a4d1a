//! The bare connection below a session, with what was read and written of it
//! and not passed on.

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;

use crate::edge::client_stream::ClientStream;
use crate::edge::upstream_session::UpstreamSession;
use crate::edge::upstream_stream::UpstreamStream;

pub struct Raw {
    pub stream: Stream,
    /// Was read from it.
    pub read: BytesMut,
    /// Is still to be written to it.
    pub unsent: BytesMut,
}

impl Raw {
    pub fn of_client(session: ServerSession) -> Option<Self> {
        let ServerSession::H1(session) = session else {
            return None;
        };
        let stream = session.into_inner().into_any().downcast::<ClientStream>();
        let (stream, read) = stream.ok()?.into_parts();
        Some(Self {
            stream,
            read,
            unsent: BytesMut::new(),
        })
    }

    pub fn of_upstream(session: UpstreamSession) -> Option<Self> {
        let UpstreamSession::Http1(mut session) = session else {
            return None;
        };
        // What came with the head is told without waiting.
        let behind = session.read_body_bytes().now_or_never();
        let behind: Option<Bytes> = behind.and_then(Result::ok).flatten();
        let stream = session.into_inner().into_any();
        let (stream, early, unsent) = stream.downcast::<UpstreamStream>().ok()?.into_parts();
        let mut read = BytesMut::from(behind.unwrap_or_default());
        read.extend_from_slice(&early);
        Some(Self {
            stream,
            read,
            unsent,
        })
    }
}
