//! What goes to the upstream in place of what the client sent, as plain data:
//! the proxy carries it out and looks nothing up. The rule: everything that a
//! plan says was decided from the bundle and this request alone.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use knoxcall_bundle::{Scheme, Target, TargetHost, UnixSeconds};
use smallvec::SmallVec;

use crate::admit::Admitted;
use crate::head::Head;
pub use crate::inject::NewBody;
use crate::inject::RequestValues;
use crate::names::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::path;
use crate::refusal::Refusal;
use crate::table::TargetIndex;
use crate::trace_context;
use crate::upstream_headers;
pub use crate::upstream_headers::BodyState;

/// What the proxy knows of a request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'r> {
    pub request_id: &'r HeaderValue,
    pub now: UnixSeconds,
    /// How the client's connection came in.
    pub proto: Proto,
    /// The gateway's own, of this request.
    pub span: trace_context::Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Http,
    Https,
}

/// Must a request's body be read before a peer is chosen?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyNeed {
    Stream,
    /// To be judged or changed.
    Whole,
}

/// The request as the upstream gets it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target_index: TargetIndex,
    /// The target's path and the client's, joined, and the client's query.
    pub path_and_query: Vec<u8>,
    /// All of them, in place of the client's.
    pub headers: HeaderMap,
    /// The connection turns into a WebSocket if the upstream agrees.
    pub websocket: bool,
    /// The names of the secrets in `headers`.
    pub secrets_used: Arc<[Arc<str>]>,
}

pub fn body_need(admitted: &Admitted<'_, '_>, method: &Method) -> BodyNeed {
    let judged = admitted.service.signature.is_some();
    match judged || admitted.rules.injector.rewrites_body(method) {
        true => BodyNeed::Whole,
        false => BodyNeed::Stream,
    }
}

/// `None`: the body goes on as it is. Call it before [`plan`], which wants to
/// know.
pub fn plan_body(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    body: &[u8],
    facts: &RequestFacts<'_>,
) -> Result<Option<NewBody>, Refusal> {
    let request = request_values(admitted, facts);
    admitted.rules.injector.body(head, body, &request)
}

impl BodyState {
    /// Of a body that was read whole.
    pub fn of(original: &Bytes, rewritten: Option<&NewBody>) -> Self {
        let content = rewritten.map_or(original, |new| &new.content);
        Self::Whole {
            length: u64::try_from(content.len()).unwrap_or(u64::MAX),
            changed: rewritten.is_some(),
        }
    }
}

pub fn plan(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    body: BodyState,
    facts: &RequestFacts<'_>,
) -> Result<Plan, Refusal> {
    let rules = admitted.rules;
    let websocket = upstream_headers::is_websocket(head);
    let mut headers = kept(admitted, head, body);
    set_forwarded(admitted, head, facts, &mut headers);
    trace_context::pass_on(head, facts.request_id, facts.span, &mut headers);
    for header in rules.injector.headers(&request_values(admitted, facts)) {
        let (name, value) = header?;
        headers.insert(name, value);
    }
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    frame(admitted, body, &mut headers);
    // Last, so that no injected header takes their place.
    headers.insert(X_REQUEST_ID, facts.request_id.clone());
    headers.insert(HOST, rules.host.clone());
    Ok(Plan {
        target_index: rules.target_index,
        path_and_query: path_and_query(admitted, head),
        headers,
        websocket,
        secrets_used: rules.injector.secrets().clone(),
    })
}

/// The client's headers that go on, with room for ours: a map that grows
/// moves all it holds.
fn kept(admitted: &Admitted<'_, '_>, head: &Head<'_>, body: BodyState) -> HeaderMap {
    const OURS: usize = 9;
    let injector = &admitted.rules.injector;
    let kept = upstream_headers::kept(head, admitted.service, injector, body);
    let room = kept.len() + injector.header_names().len() + OURS;
    let mut headers = HeaderMap::with_capacity(room);
    for (name, value) in kept {
        if *name != HOST {
            headers.append(name, value.clone());
        }
    }
    headers
}

fn request_values<'r>(admitted: &Admitted<'r, '_>, facts: &RequestFacts<'r>) -> RequestValues<'r> {
    RequestValues {
        client: admitted.caller.client().map(Arc::as_ref),
        now: facts.now,
        request_id: facts.request_id.to_str().unwrap_or_default(),
    }
}

fn path_and_query(admitted: &Admitted<'_, '_>, head: &Head<'_>) -> Vec<u8> {
    let target = &admitted.rules.target.target.path;
    path::join(target, admitted.path, head.query())
}

/// The client's address and nothing else: whoever is behind us has our word
/// for it, not a list to pick from. Without an address, no header.
fn set_forwarded(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    facts: &RequestFacts<'_>,
    headers: &mut HeaderMap,
) {
    if let Some(address) = admitted.address.client.and_then(address_value) {
        headers.insert(X_FORWARDED_FOR, address);
    }
    headers.insert(X_FORWARDED_PROTO, proto(admitted, head, facts.proto));
    if let Some(host) = client_host(head) {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

fn address_value(address: IpAddr) -> Option<HeaderValue> {
    use std::io::Write;
    // The longest is an IPv6 address with an embedded IPv4 one.
    let mut text = SmallVec::<[u8; 64]>::new();
    match address {
        // By hand: the formatter takes longer than the rest of the plan.
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push(b'.');
                }
                text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => write!(text, "{v6}").ok()?,
    }
    HeaderValue::from_bytes(&text).ok()
}

/// What a trusted proxy says of its own side counts, if it is one of the two.
fn proto(admitted: &Admitted<'_, '_>, head: &Head<'_>, ours: Proto) -> HeaderValue {
    let said = match admitted.address.via_trusted_proxy {
        true => head.single(&X_FORWARDED_PROTO).ok().flatten(),
        false => None,
    };
    let proto = match said.map(HeaderValue::as_bytes) {
        Some(b"http") => Proto::Http,
        Some(b"https") => Proto::Https,
        Some(_) | None => ours,
    };
    HeaderValue::from_static(match proto {
        Proto::Http => "http",
        Proto::Https => "https",
    })
}

fn client_host(head: &Head<'_>) -> Option<HeaderValue> {
    match head.headers.get(HOST) {
        Some(value) if value.as_bytes() == head.host => Some(value.clone()),
        Some(_) | None => HeaderValue::from_bytes(head.host).ok(),
    }
}

/// A body that was read is sent by its length, whatever it came by.
fn frame(admitted: &Admitted<'_, '_>, body: BodyState, headers: &mut HeaderMap) {
    let BodyState::Whole { length, changed } = body else {
        return;
    };
    let was_chunked = headers.remove(TRANSFER_ENCODING).is_some();
    if length > 0 || was_chunked || headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let merged = changed && admitted.rules.injector.merges_json();
    if merged && !headers.contains_key(CONTENT_TYPE) {
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
    }
}

/// RFC 9110, section 7.2: the port only where it is not the scheme's own.
pub fn host(target: &Target) -> HeaderValue {
    let default = match target.scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let mut text = match &target.host {
        TargetHost::Name(name) => name.to_string(),
        TargetHost::Address(IpAddr::V4(address)) => address.to_string(),
        TargetHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
    };
    if target.port != default {
        text.push(':');
        text.push_str(itoa::Buffer::new().format(target.port));
    }
    // A host name is made of characters that a header value may hold.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
