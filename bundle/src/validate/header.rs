//! Which headers a route may set or sign with, and which a document may name.
//!
//! Neither: what frames a message or belongs to one connection (RFC 9110,
//! 7.6.1; RFC 9112, 6), and what the gateway itself says (`X-Forwarded-*`,
//! `X-Request-Id`, `X-Knoxcall-*`).

use http::{HeaderName, Method};

use crate::names::nearest;
use crate::problem::{At, Problems};

const FRAMING: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const OURS: [&str; 3] = ["forwarded", "x-request-id", "x-real-ip"];
const OUR_PREFIXES: [&str; 2] = ["x-forwarded-", "x-knoxcall-"];

pub(super) fn name(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderName> {
    let name = HeaderName::try_from(text).ok();
    if name.is_none() {
        let remedy = "letters, digits and -, without colon or space";
        problems.add(at, "is not a header name", remedy);
    }
    name
}

pub(super) fn names(texts: &[String], at: &At<'_>, problems: &mut Problems) -> Vec<HeaderName> {
    texts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| name(text, &at.index(index), problems))
        .collect()
}

pub(super) fn injectable(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderName> {
    free(text, "cannot be injected", at, problems)
}

/// A header that carries a signature, its timestamp or its nonce.
pub(super) fn of_signature(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderName> {
    free(text, "cannot carry it", at, problems)
}

/// An upstream may read `_` as `-`: names that differ in it alone are one.
pub(super) fn as_read(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

fn free(
    text: &str,
    message: &'static str,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<HeaderName> {
    let name = name(text, at, problems)?;
    let read = as_read(&name);
    if FRAMING.contains(&read.as_str()) {
        let remedy = "it frames the message or belongs to one connection";
        problems.add(at, message, remedy);
        return None;
    }
    if OURS.contains(&read.as_str()) || OUR_PREFIXES.iter().any(|ours| read.starts_with(ours)) {
        let remedy = "the gateway reads, sets or strips it itself";
        problems.add(at, message, remedy);
        return None;
    }
    Some(name)
}

/// RFC 9110, RFC 5789, and WebDAV's. TRACE and CONNECT are never served.
const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

pub(super) fn method(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<Method> {
    let upper = text.trim().to_ascii_uppercase();
    if METHODS.contains(&upper.as_str()) {
        return Method::from_bytes(upper.as_bytes()).ok();
    }
    let remedy = match nearest(&upper, METHODS.into_iter()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {}", METHODS.join(", ")),
    };
    problems.add(at, "is not a method that can be served", remedy);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_injectable(text: &str) -> bool {
        injectable(text, &At::ROOT, &mut Problems::default()).is_some()
    }

    #[test]
    fn credentials_and_own_names_can_be_injected() {
        for name in [
            "Authorization",
            "X-Api-Key",
            "cookie",
            "User-Agent",
            "X-Region",
        ] {
            assert!(is_injectable(name), "{name}");
        }
    }

    #[test]
    fn refuses_framing_and_hop_by_hop_headers() {
        for name in [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "CONNECTION",
            "te",
            "upgrade",
        ] {
            assert!(!is_injectable(name), "{name}");
        }
    }

    #[test]
    fn refuses_what_the_gateway_says_itself_however_it_is_written() {
        for name in [
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-Knoxcall-Key",
            "x-request-id",
        ] {
            assert!(!is_injectable(name), "{name}");
        }
    }

    #[test]
    fn knows_methods_in_any_case_and_refuses_trace_and_connect() {
        let mut problems = Problems::default();
        assert_eq!(method("get", &At::ROOT, &mut problems), Some(Method::GET));
        for text in ["TRACE", "CONNECT", "POTS", ""] {
            assert_eq!(
                method(text, &At::ROOT.key(text), &mut problems),
                None,
                "{text}"
            );
        }
        assert_eq!(problems.len(), 4);
    }

    #[test]
    fn refuses_what_is_no_header_name() {
        for name in ["", "a b", "a:b", "a\r\nb", "é"] {
            assert!(!is_injectable(name), "{name:?}");
        }
    }
}
