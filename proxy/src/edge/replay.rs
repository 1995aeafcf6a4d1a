//! Sends a body that has already been read on to the upstream.
//!
//! A body that must be judged or changed is read before a peer is chosen.
//! Pingora 0.9.1 then believes that nothing is left to send: its retry buffer
//! holds 64 KiB and no more. So for the moment in which the proxy asks the
//! downstream session for the body, a stand-in takes the session's place: one
//! whose body has been read and lies whole in its retry buffer. The real
//! session is back before any byte is written to the client.
//!
//! The stand-in's trait is hidden in Pingora's documentation. The black-box
//! tests of bodies (0, 1, 65,535 … 1 MiB bytes) fail loudly if another version
//! treats it differently.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use std::time::Duration;

/// The real downstream session, while a stand-in has its place.
#[derive(Default)]
pub struct Parked(Option<Box<ServerSession>>);

impl Parked {
    /// Puts a stand-in that holds `body` in the session's place.
    pub fn park(&mut self, session: &mut Session, head: &RequestHeader, body: Bytes) {
        let stand_in = ServerSession::new_custom(Box::new(StandIn {
            head: head.clone(),
            body,
        }));
        let real = std::mem::replace(&mut session.downstream_session, Box::new(stand_in));
        self.0 = Some(real);
    }

    /// Puts the real session back; does nothing where it is in its place.
    pub fn restore(&mut self, session: &mut Session) {
        if let Some(real) = self.0.take() {
            session.downstream_session = real;
        }
    }
}

struct StandIn {
    head: RequestHeader,
    body: Bytes,
}

/// Nothing is ever written to a stand-in; should Pingora try, the request
/// fails instead of the process.
fn not_a_client<T>() -> Result<T> {
    Error::e_explain(
        ErrorType::InternalError,
        "the response reached the stand-in session",
    )
}

#[async_trait]
impl CustomSession for StandIn {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }
    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }
    async fn write_response_header(&mut self, _: Box<ResponseHeader>, _: bool) -> Result<()> {
        not_a_client()
    }
    async fn write_response_header_ref(&mut self, _: &ResponseHeader, _: bool) -> Result<()> {
        not_a_client()
    }
    async fn write_body(&mut self, _: Bytes, _: bool) -> Result<()> {
        not_a_client()
    }
    async fn write_trailers(&mut self, _: HeaderMap) -> Result<()> {
        not_a_client()
    }
    async fn response_duplex_vec(&mut self, _: Vec<HttpTask>) -> Result<bool> {
        not_a_client()
    }
    fn set_read_timeout(&mut self, _: Option<Duration>) {}
    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }
    fn set_write_timeout(&mut self, _: Option<Duration>) {}
    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }
    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}
    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }
    fn request_summary(&self) -> String {
        "stand-in".to_owned()
    }
    fn response_written(&self) -> Option<&ResponseHeader> {
        None
    }
    async fn shutdown(&mut self, _: u32, _: &str) {}
    fn is_body_done(&mut self) -> bool {
        true
    }
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }
    async fn read_body_or_idle(&mut self, _: bool) -> Result<Option<Bytes>> {
        not_a_client()
    }
    fn body_bytes_sent(&self) -> usize {
        0
    }
    fn body_bytes_read(&self) -> usize {
        self.body.len()
    }
    fn digest(&self) -> Option<&Digest> {
        None
    }
    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }
    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }
    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }
    fn enable_retry_buffering(&mut self) {}
    fn retry_buffer_truncated(&self) -> bool {
        false
    }
    fn get_retry_buffer(&self) -> Option<Bytes> {
        Some(self.body.clone())
    }
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }
    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
