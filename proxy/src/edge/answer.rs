//! What the gateway itself answers: refusals in the envelope
//! `{error:{type,message,request_id}}`, and health.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use knoxcall_filters::Refusal;
use knoxcall_filters::names::X_REQUEST_ID;
use knoxcall_filters::rate_limit::{Quota, retry_after};

use super::context::RequestId;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The gateway's own answer, whatever it is.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Answer {
    pub fn refusal(refusal: &Refusal, id: &RequestId, quota: Option<&Quota>) -> Self {
        let mut headers = refusal_headers(refusal);
        if let Some(quota) = quota {
            headers.extend(quota.headers());
        }
        let mut body = Vec::with_capacity(192);
        refusal.envelope(id.as_str(), &mut body);
        Self {
            status: refusal.status().as_u16(),
            headers,
            body: body.into(),
        }
    }

    pub async fn send(self, session: &mut ServerSession, id: &RequestId) -> Result<()> {
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 6))?;
        head.insert_header(CONTENT_TYPE, JSON)?;
        head.insert_header(CONTENT_LENGTH, self.body.len())?;
        head.insert_header(CACHE_CONTROL, NO_STORE)?;
        head.insert_header(X_REQUEST_ID, id.header_value().clone())?;
        for (name, value) in self.headers {
            head.insert_header(name, value)?;
        }
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(self.body, true).await
    }
}

/// The same refusal as bytes, for a connection that never became a session.
/// It is closed afterwards.
pub fn raw_answer(refusal: &Refusal, id: &RequestId) -> Vec<u8> {
    let answer = Answer::refusal(refusal, id, None);
    let status = refusal.status();
    let mut out = Vec::with_capacity(512);
    let mut line = |text: &str| {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    line(&format!(
        "HTTP/1.1 {} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Refused")
    ));
    line("Content-Type: application/json");
    line(&format!("Content-Length: {}", answer.body.len()));
    line("Cache-Control: no-store");
    line(&format!("X-Request-Id: {}", id.as_str()));
    for (name, value) in &answer.headers {
        line(&format!("{name}: {}", value.to_str().unwrap_or_default()));
    }
    line(&format!(
        "Date: {}",
        pingora::protocols::http::date::get_cached_date()
            .to_str()
            .unwrap_or_default()
    ));
    line("Connection: close");
    line("");
    out.extend_from_slice(&answer.body);
    out
}

fn refusal_headers(refusal: &Refusal) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if let Some(methods) = refusal.allow()
        && let Ok(value) = HeaderValue::from_str(&methods)
    {
        headers.push((ALLOW, value));
    }
    if let Some(wait) = refusal.retry_after() {
        headers.push(retry_after(wait));
    }
    headers
}
