//! What the decision found out, written into the request's record.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use knoxcall_filters::names::X_REQUEST_ID;
use knoxcall_filters::trace_context::trace_id;
use knoxcall_filters::{Head, Site, Trail};
use knoxcall_ledger::{Body, BodyKind, Text};
use pingora::protocols::http::ServerSession;

use super::context::Context;

const ORIGIN: HeaderName = HeaderName::from_static("x-knoxcall-origin");
/// Of a captured body, this much is kept.
const LONGEST_BODY: usize = 16 * 1024;

/// What the head says of itself, before anything is decided.
pub fn note_head(context: &mut Context, head: &Head, peer: std::net::IpAddr) {
    context.begin_span(head);
    let captured = captured_headers(context, head.headers);
    context.note(|record| {
        record.method = Text::from(head.method.as_str());
        record.host = Text::from(head.host);
        record.path = Text::from(head.target);
        record.protocol = protocol(head.version);
        record.peer_ip = Some(peer);
        record.user_agent = text(head.headers, &USER_AGENT);
        record.client_request_id = text(head.headers, &X_REQUEST_ID);
        record.trace_id = trace_id(head).map(Text::from);
        record.client_origin = Some(origin(head.headers));
        record.headers = captured;
    });
}

pub fn note_site(context: &mut Context, site: &Site) {
    context.note(|record| {
        record.tenant_id = Some(site.tenant.id.0);
        record.source_ip = site.address.client;
    });
}

pub fn note_trail(context: &mut Context, trail: &Trail) {
    context.note(|record| {
        record.tenant_id = trail.tenant.map(|tenant| tenant.id.0);
        record.source_ip = trail.address.and_then(|address| address.client);
        record.identification_method = trail.identification;
        if let Some(route) = trail.route {
            record.route_id = Some(route.id.0);
            record.route = Some(Text::from(route.handle()));
        }
        if let Some(service) = trail.service {
            record.environment = Some(Text::from(service.environment.as_str()));
            record.sandbox = service.sandbox;
        }
        if let Some(client) = trail.client {
            record.client_id = Some(client.id.0);
            record.client_name = Some(Text::from(client.name.as_str()));
        }
        record.key_id = trail.key.map(|key| Text::from(key.id.as_str()));
    });
}

/// By name, each once; never by value.
pub fn note_secrets(context: &mut Context, in_headers: &Arc<[Arc<str>]>, in_body: &[Arc<str>]) {
    let all = if in_body.is_empty() {
        in_headers.clone()
    } else {
        let mut all = in_headers.to_vec();
        all.extend_from_slice(in_body);
        all.sort_unstable();
        all.dedup();
        all.into()
    };
    context.note(|record| record.secrets_used = all);
}

pub fn note_body(context: &mut Context, session: &ServerSession, body: &Bytes) {
    if !context.snapshot.settings.logging.requests.capture_body {
        return;
    }
    let kind = body_kind(session.req_header().headers.get(CONTENT_TYPE));
    let kept = body.get(..body.len().min(LONGEST_BODY)).unwrap_or_default();
    context.note(|record| {
        record.body = Some(Body {
            bytes: Text::from(kept),
            kind,
            truncated: kept.len() < body.len(),
        });
    });
}

fn captured_headers(context: &Context, headers: &HeaderMap) -> Vec<(Text, Text)> {
    let wanted = &context.snapshot.settings.logging.requests.capture_headers;
    let of_name = |name| headers.get_all(name).iter().map(move |value| (name, value));
    wanted
        .iter()
        .flat_map(of_name)
        .map(|(name, value): (&HeaderName, &HeaderValue)| {
            (Text::from(name.as_str()), Text::from(value.as_bytes()))
        })
        .collect()
}

/// The SDK marks the calls that it has rerouted.
fn origin(headers: &HeaderMap) -> &'static str {
    match headers.get(&ORIGIN).map(HeaderValue::as_bytes) {
        Some(b"sdk-intercept") => "sdk_intercept",
        Some(_) | None => "direct",
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<Text> {
    headers.get(name).map(|value| Text::from(value.as_bytes()))
}

fn body_kind(content_type: Option<&HeaderValue>) -> BodyKind {
    let essence = content_type
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.split(|byte| *byte == b';').next())
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    if essence == b"application/json" || essence.ends_with(b"+json") {
        BodyKind::Json
    } else if essence == b"application/x-www-form-urlencoded" {
        BodyKind::Form
    } else {
        BodyKind::Other
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
