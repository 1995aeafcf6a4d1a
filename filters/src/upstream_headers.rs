//! Which of the client's headers reach the upstream. The rule: the
//! upstream sees no credential of ours, no claim about the client that we did
//! not make ourselves, nothing that was meant for one hop only (RFC 9110,
//! section 7.6.1), and nothing that a CGI-like server would take for one of
//! those because it reads `_` as `-` (RFC 3875, section 4.1.18).

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use knoxcall_bundle::SignatureVersion;
use smallvec::SmallVec;

use crate::head::Head;
use crate::inject::Injector;
use crate::names::METHOD_OVERRIDES;
use crate::table::Service;

/// In the client's order; a name with several values stands once for each.
pub type Kept<'h> = SmallVec<[(&'h HeaderName, &'h HeaderValue); 16]>;

pub type HeaderNames = SmallVec<[HeaderName; 4]>;

/// Everything of these families is ours, and so are `x-knox-*` headers that
/// do not exist yet.
const OWN: &str = "x-knox";

/// How the request's body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// As it comes, unread.
    Streamed,
    /// Read whole; now of so many bytes.
    Whole { length: u64, changed: bool },
}

/// Who decides over a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Client,
    Gateway,
    /// This connection, not the next one.
    Hop,
    /// Whoever writes the message: `Host` and the two framing headers.
    Framing,
    /// May hold a key of ours.
    Credential,
    Override,
    Expectation,
    /// Vouches for the bytes of the body.
    BodyDigest,
    /// What the answer may be written in: compressed, or as a difference.
    AnswerCoding,
    /// Asks for a part of the answer.
    Range,
}

static ASKED_CODING: HeaderName = ACCEPT_ENCODING;
/// The one coding that can be looked into.
static IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// What the route's rules on answers decode.
static DECODED: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Framing headers stay: they belong to whoever writes the message.
pub fn kept<'h>(
    head: &Head<'h>,
    service: &Service,
    injector: &Injector,
    body: BodyState,
) -> Kept<'h> {
    let judge = Judge {
        service,
        injector,
        body,
        methods_matter: service.allowed_methods.is_some()
            || !service.by_method.is_empty()
            || injector.rewrites_bodies(),
        wants_plain_answer: wants_plain_answer(service),
        wants_whole_answer: wants_whole_answer(service),
    };
    let nominated = nominated(head.headers);
    let goes_on = |name| !judge.removes(name, head.headers) && !nominated.contains(name);
    let headers = head.headers.iter();
    let mut kept: Kept<'h> = headers.filter(|(name, _)| goes_on(name)).collect();
    if judge.wants_plain_answer {
        // Without the header, any coding would do (RFC 9110, section 12.5.3).
        kept.push((&ASKED_CODING, asked_coding(service)));
    }
    kept
}

/// Has the answer's body to be read? It is then asked for as it is, without
/// compression, or in a coding that the route's rules decode.
pub fn wants_plain_answer(service: &Service) -> bool {
    service.leak_guard.is_some() || may_rewrite_answer(service)
}

/// A part of a JSON body cannot be changed, and one of a coded body cannot be
/// decoded, whatever the route allows.
fn wants_whole_answer(service: &Service) -> bool {
    (service.leak_guard.is_some() && !service.allow_range) || may_rewrite_answer(service)
}

fn may_rewrite_answer(service: &Service) -> bool {
    let rules = service.response_rules.as_deref();
    rules.is_some_and(|rules| rules.change_bodies() || rules.decode())
}

fn asked_coding(service: &Service) -> &'static HeaderValue {
    match service.response_rules.as_deref() {
        Some(rules) if rules.decode() => &DECODED,
        Some(_) | None => &IDENTITY,
    }
}

/// A WebSocket handshake (RFC 6455, section 4.1), the one upgrade that passes.
/// It has no body.
pub fn is_websocket(head: &Head<'_>) -> bool {
    let asks = |name, token| {
        let mut all = tokens(head.headers, name);
        all.any(|own| own.eq_ignore_ascii_case(token))
    };
    let has_body = head.headers.contains_key(TRANSFER_ENCODING)
        || (head.headers.get(CONTENT_LENGTH)).is_some_and(|length| length != "0");
    head.headers.contains_key(UPGRADE)
        && !has_body
        && head.version == Version::HTTP_11
        && *head.method == Method::GET
        && asks(&CONNECTION, b"upgrade")
        && tokens(head.headers, &UPGRADE).count() == 1
        && asks(&UPGRADE, b"websocket")
}

struct Judge<'a> {
    service: &'a Service,
    injector: &'a Injector,
    body: BodyState,
    methods_matter: bool,
    wants_plain_answer: bool,
    wants_whole_answer: bool,
}

impl Judge<'_> {
    /// A name with `_` is judged as the one with `-`.
    fn removes(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        if memchr::memchr(b'_', name.as_str().as_bytes()).is_none() {
            let plain = name.as_str();
            return self.owner_removes(owner(plain), name, headers) || self.replaces(plain);
        }
        let mut plain = SmallVec::<[u8; 64]>::from_slice(name.as_str().as_bytes());
        for byte in &mut plain {
            if *byte == b'_' {
                *byte = b'-';
            }
        }
        let Ok(plain) = std::str::from_utf8(&plain) else {
            return true;
        };
        let owner = owner(plain);
        owner == Owner::Framing || self.owner_removes(owner, name, headers) || self.replaces(plain)
    }

    fn owner_removes(&self, owner: Owner, name: &HeaderName, headers: &HeaderMap) -> bool {
        match owner {
            Owner::Client | Owner::Framing => false,
            Owner::Gateway | Owner::Hop => true,
            Owner::Credential => headers.get_all(name).iter().any(holds_our_key),
            Owner::Override => self.methods_matter,
            Owner::Expectation => self.body != BodyState::Streamed,
            Owner::BodyDigest => matches!(self.body, BodyState::Whole { changed: true, .. }),
            Owner::AnswerCoding => self.wants_plain_answer,
            Owner::Range => self.wants_whole_answer,
        }
    }

    fn replaces(&self, plain: &str) -> bool {
        self.signs(plain) || self.injects(plain)
    }

    fn signs(&self, name: &str) -> bool {
        self.service.signature.as_ref().is_some_and(|rule| {
            let nonce = match rule.version {
                SignatureVersion::V1 => None,
                SignatureVersion::V2 => Some(&rule.nonce_header),
            };
            [&rule.signature_header, &rule.timestamp_header]
                .into_iter()
                .chain(nonce)
                .any(|own| reads_as(own.as_str(), name))
        })
    }

    fn injects(&self, name: &str) -> bool {
        let mut names = self.injector.header_names();
        names.any(|own| reads_as(own.as_str(), name))
    }
}

/// `plain` has no `_`.
fn reads_as(name: &str, plain: &str) -> bool {
    name.len() == plain.len()
        && name
            .bytes()
            .zip(plain.bytes())
            .all(|(one, other)| one == other || (one == b'_' && other == b'-'))
}

/// `name` in lower case.
fn owner(name: &str) -> Owner {
    match name {
        "host" | "content-length" | "transfer-encoding" => Owner::Framing,
        "connection" | "keep-alive" | "te" | "trailer" | "upgrade" | "http2-settings" => Owner::Hop,
        "authorization" | "x-api-key" => Owner::Credential,
        "expect" => Owner::Expectation,
        "content-digest" | "content-md5" | "digest" | "repr-digest" => Owner::BodyDigest,
        "accept-encoding"
        | "grpc-accept-encoding"
        | "connect-accept-encoding"
        | "sec-websocket-extensions"
        | "a-im" => Owner::AnswerCoding,
        "range" | "if-range" => Owner::Range,
        // Proofs of possession are made for our own address (RFC 9449).
        "dpop" => Owner::Gateway,
        "forwarded"
        | "x-request-id"
        | "client-ip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-real-ip"
        | "x-forwarded"
        | "x-remote-addr"
        | "x-remote-ip"
        | "x-originating-ip"
        | "x-proxyuser-ip"
        | "x-original-forwarded-for"
        | "x-envoy-external-address"
        | "wl-proxy-client-ip" => Owner::Gateway,
        // Each by the name of a network that sets it.
        "true-client-ip"
        | "cf-connecting-ip"
        | "cf-connecting-ipv6"
        | "cf-pseudo-ipv4"
        | "do-connecting-ip"
        | "fastly-client-ip"
        | "fly-client-ip"
        | "x-appengine-user-ip"
        | "x-azure-clientip"
        | "x-azure-socketip"
        | "x-nf-client-connection-ip"
        | "x-vercel-forwarded-for" => Owner::Gateway,
        // Whom the client has asked, past `Host`.
        "x-host" | "x-original-host" | "x-http-host-override" => Owner::Gateway,
        // Some frameworks take the path from here, past every rule of ours.
        "x-original-url" | "x-rewrite-url" | "x-http-path-override" | "x-envoy-original-path" => {
            Owner::Gateway
        }
        other if other.starts_with("x-forwarded-") || other.starts_with(OWN) => Owner::Gateway,
        other if other.starts_with("proxy-") => Owner::Hop,
        other if METHOD_OVERRIDES.iter().any(|name| *name == *other) => Owner::Override,
        _ => Owner::Client,
    }
}

/// `Bearer tk_…`, `DPoP kc_…` and the like, and the key alone. An
/// authorization of the application's own passes.
fn holds_our_key(value: &HeaderValue) -> bool {
    let is_ours = |text: &[u8]| {
        let prefixes: [&[u8]; 3] = [b"tk_", b"kc_", b"AKE"];
        prefixes.iter().any(|prefix| text.starts_with(prefix))
    };
    let value = value.as_bytes().trim_ascii();
    let credentials = match memchr::memchr2(b' ', b'\t', value) {
        Some(at) => value.get(at..).unwrap_or_default().trim_ascii(),
        None => value,
    };
    is_ours(credentials)
}

/// Those by which a message is framed, addressed and read.
const NEVER_OF_ONE_HOP: [HeaderName; 5] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONTENT_ENCODING,
    CONTENT_TYPE,
];

/// Headers that a message's `Connection` names are for this hop as well, as far
/// as they can be.
pub fn nominated(headers: &HeaderMap) -> HeaderNames {
    tokens(headers, &CONNECTION)
        .filter(|token| !is_connection_option(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !NEVER_OF_ONE_HOP.contains(name))
        .collect()
}

fn is_connection_option(token: &[u8]) -> bool {
    let options: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    options
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// The members of a comma-separated list (RFC 9110, section 5.6.1).
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
