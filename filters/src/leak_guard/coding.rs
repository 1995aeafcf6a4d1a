//! What an answer's head says of its body: whether it can be looked into, and
//! what vouches for its bytes.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, LAST_MODIFIED, SEC_WEBSOCKET_EXTENSIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::charset;

/// How an answer's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Plain,
    /// `text/event-stream`
    Events,
    /// gRPC and Connect.
    Messages,
    WebSocket,
    /// In characters that may not be those of ASCII: what is not found may be
    /// there all the same.
    Foreign,
    /// Compressed: not to be looked into.
    Encoded,
}

const MESSAGE_ENCODINGS: [HeaderName; 2] = [
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("connect-content-encoding"),
];

const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

impl Coding {
    /// By the upstream's own head: rules for headers may say something else of
    /// the same bytes. `Content-Encoding`, which they cannot change, is read
    /// when the guard begins: it is gone where the body has been decoded.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return match headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
                true => Self::Encoded,
                false => Self::WebSocket,
            };
        }
        let types = || {
            headers
                .get_all(CONTENT_TYPE)
                .iter()
                .map(HeaderValue::as_bytes)
        };
        let is_coded = |name| is_encoded(headers, name);
        match types().next().map_or(Self::Plain, Self::of_type) {
            Self::Messages if MESSAGE_ENCODINGS.iter().any(is_coded) => Self::Encoded,
            _ if types().any(charset::may_be_foreign) => Self::Foreign,
            coding => coding,
        }
    }

    /// The same, but for what `Content-Encoding` says.
    pub(super) fn within(self, headers: &HeaderMap) -> Self {
        match self {
            Self::Plain | Self::Events | Self::Messages | Self::Foreign
                if is_encoded(headers, &CONTENT_ENCODING) =>
            {
                Self::Encoded
            }
            coding => coding,
        }
    }

    pub(super) fn is_opaque(self) -> bool {
        match self {
            Self::Foreign | Self::Encoded => true,
            Self::Plain | Self::Events | Self::Messages | Self::WebSocket => false,
        }
    }

    fn of_type(value: &[u8]) -> Self {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        let messages: [&[u8]; 2] = [b"application/grpc", b"application/connect+"];
        if essence == b"text/event-stream" {
            Self::Events
        } else if essence.starts_with(b"application/grpc-web-text") {
            // Base64, from the first byte on.
            Self::Plain
        } else if messages.iter().any(|own| essence.starts_with(own)) {
            Self::Messages
        } else {
            Self::Plain
        }
    }
}

fn is_encoded(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

pub(super) fn has_validators(headers: &HeaderMap) -> bool {
    let digests = DIGESTS.iter().any(|name| headers.contains_key(name));
    digests || headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED)
}

/// What would vouch for other bytes than those that are sent: `ETag` and
/// `Last-Modified` (RFC 9110, section 8.8), by which a cache would keep a
/// masked body alive, and the digests.
pub fn drop_validators(headers: &mut HeaderMap) {
    headers.remove(ETAG);
    headers.remove(LAST_MODIFIED);
    drop_digests(headers);
}

/// RFC 9530, and its elders; also among trailers.
pub fn drop_digests(headers: &mut HeaderMap) {
    for name in DIGESTS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn coding(lines: &[(&'static str, &'static str)]) -> Coding {
        let headers = headers(lines);
        Coding::of(StatusCode::OK, &headers).within(&headers)
    }

    #[test]
    fn most_answers_are_plain() {
        for lines in [
            &[][..],
            &[("content-type", "application/json; charset=utf-8")],
            &[("content-encoding", "identity")],
            &[("content-encoding", "")],
            &[("content-type", "application/grpc-web-text+proto")],
        ] {
            assert_eq!(coding(lines), Coding::Plain, "{lines:?}");
        }
    }

    #[test]
    fn what_is_compressed_cannot_be_looked_into() {
        for lines in [
            &[("content-encoding", "gzip")][..],
            &[("content-encoding", "identity"), ("content-encoding", "br")],
            &[("content-encoding", "identity, zstd")],
            &[
                ("content-type", "application/grpc"),
                ("grpc-encoding", "gzip"),
            ],
            &[
                ("content-type", "application/connect+json"),
                ("connect-content-encoding", "gzip"),
            ],
        ] {
            assert_eq!(coding(lines), Coding::Encoded, "{lines:?}");
        }
    }

    #[test]
    fn characters_that_are_not_those_of_ascii_are_told_of_any_type() {
        let wide = ("content-type", "text/plain; charset=UTF-16");
        assert_eq!(coding(&[wide]), Coding::Foreign);
        assert_eq!(
            coding(&[("content-type", "text/html"), wide]),
            Coding::Foreign
        );
        let events = "text/event-stream; charset=utf-16";
        assert_eq!(coding(&[("content-type", events)]), Coding::Foreign);
        let compressed = [wide, ("content-encoding", "gzip")];
        assert_eq!(coding(&compressed), Coding::Encoded);
    }

    #[test]
    fn what_is_decoded_is_no_longer_compressed_but_in_the_same_characters() {
        let of_upstream = headers(&[
            ("content-type", "text/plain; charset=utf-16"),
            ("content-encoding", "gzip"),
        ]);
        let coding = Coding::of(StatusCode::OK, &of_upstream);
        assert_eq!(coding.within(&of_upstream), Coding::Encoded);
        assert_eq!(coding.within(&HeaderMap::new()), Coding::Foreign);
    }

    #[test]
    fn streams_of_messages_are_told_apart() {
        let of_type = |value| coding(&[("content-type", value)]);
        assert_eq!(of_type("text/event-stream"), Coding::Events);
        assert_eq!(of_type("Text/Event-Stream; charset=utf-8"), Coding::Events);
        for value in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web+proto",
            "application/connect+proto",
        ] {
            assert_eq!(of_type(value), Coding::Messages, "{value}");
        }
        let identity = [
            ("content-type", "application/grpc"),
            ("grpc-encoding", "identity"),
        ];
        assert_eq!(coding(&identity), Coding::Messages);
    }

    #[test]
    fn a_websocket_with_extensions_may_be_compressed() {
        let of_upgrade = |lines| Coding::of(StatusCode::SWITCHING_PROTOCOLS, &headers(lines));
        assert_eq!(of_upgrade(&[("upgrade", "websocket")]), Coding::WebSocket);
        let deflated = [("sec-websocket-extensions", "permessage-deflate")];
        assert_eq!(of_upgrade(&deflated), Coding::Encoded);
    }

    #[test]
    fn validators_and_digests_are_dropped_and_nothing_else() {
        let mut all = headers(&[
            ("etag", "\"1\""),
            ("last-modified", "Mon, 02 Jan 2006 15:04:05 GMT"),
            ("content-md5", "x"),
            ("digest", "sha-256=x"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("content-length", "5"),
        ]);
        assert!(has_validators(&all));
        drop_validators(&mut all);
        assert_eq!(all, headers(&[("content-length", "5")]));
        assert!(!has_validators(&all));
    }
}
