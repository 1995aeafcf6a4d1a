//! What is refused before anything is decided: every request that two parsers
//! could read in two ways (RFC 9112 sections 2, 3, 5, 6 and 11).
//!
//! Stricter than the RFC allows on purpose: a bare LF ends no line, two equal
//! Content-Length are two, an empty line opens no head (whoever reads heads may
//! have skipped one before it). Nothing is repaired; what passes means the same
//! to whoever comes after us.

mod chunks;
mod class;
mod raw;
mod syntax;

use http::{HeaderName, Version, header};

pub use self::chunks::{Chunks, Malchunked};
pub use self::raw::{BodyLength, Framing, check_raw};
pub use self::syntax::origin_form;
use crate::head::Head;
use crate::names;
use crate::refusal::{Malformation, Refusal};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBudget {
    /// Of the request line, all fields and the empty line.
    pub bytes: usize,
    pub fields: usize,
}

impl Default for HeadBudget {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            fields: 100,
        }
    }
}

/// Headers that a decision depends on. Where another copy could be read by
/// the next hop, or by us, there is no safe choice between the two.
static SINGLE: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    names::ROUTE,
    names::KEY,
    names::ENVIRONMENT,
    names::CF_CONNECTING_IP,
];

/// The same rules for a head that did not come as HTTP/1 text. For HTTP/1,
/// [`check_raw`] has seen more than this can.
pub fn check_parsed(head: &Head<'_>, budget: &HeadBudget) -> Result<(), Refusal> {
    check_size(head, budget)?;
    syntax::check_method(head.method.as_str().as_bytes())?;
    check_host(head)?;
    if syntax::check_target(head.target)?.is_some() {
        return Err(Refusal::Malformed(Malformation::InvalidTarget));
    }
    for name in &SINGLE {
        let value = head.single(name).map_err(|refusal| {
            if name == header::CONTENT_LENGTH {
                Refusal::Malformed(Malformation::AmbiguousLength)
            } else {
                refusal
            }
        })?;
        if name == header::CONTENT_LENGTH
            && let Some(value) = value
        {
            syntax::length(value.as_bytes())?;
        }
    }
    check_framing(head)
}

/// A field is counted with its `: ` and CRLF.
fn check_size(head: &Head<'_>, budget: &HeadBudget) -> Result<(), Refusal> {
    let fields = head.headers.iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let line = head.method.as_str().len() + head.target.len() + head.host.len();
    if head.headers.len() > budget.fields || line + bytes > budget.bytes {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

fn check_host(head: &Head<'_>) -> Result<(), Refusal> {
    if head.host.is_empty() {
        return match head.version {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            _later => Err(Refusal::Malformed(Malformation::MissingHost)),
        };
    }
    syntax::check_host(head.host)?;
    let named = head.headers.get(header::HOST);
    if named.is_some_and(|named| !named.as_bytes().eq_ignore_ascii_case(head.host)) {
        return Err(Refusal::Malformed(Malformation::HostMismatch));
    }
    Ok(())
}

fn check_framing(head: &Head<'_>) -> Result<(), Refusal> {
    let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) else {
        return Ok(());
    };
    if head.version != Version::HTTP_11 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::Malformed(
            Malformation::UnsupportedTransferEncoding,
        ));
    }
    if head.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Refusal::Malformed(Malformation::AmbiguousLength));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    const BUDGET: HeadBudget = HeadBudget {
        bytes: 400,
        fields: 5,
    };

    struct Request {
        method: Method,
        target: &'static str,
        host: &'static str,
        version: Version,
        headers: HeaderMap,
    }

    fn request() -> Request {
        let headers = HeaderMap::new();
        let (target, host) = ("/a", "acme.example");
        Request {
            method: Method::GET,
            target,
            host,
            version: Version::HTTP_2,
            headers,
        }
    }

    impl Request {
        fn with(mut self, name: &'static str, value: &'static str) -> Self {
            self.headers.append(name, HeaderValue::from_static(value));
            self
        }

        fn check(&self) -> Result<(), Refusal> {
            let head = Head {
                method: &self.method,
                target: self.target.as_bytes(),
                host: self.host.as_bytes(),
                version: self.version,
                headers: &self.headers,
            };
            check_parsed(&head, &BUDGET)
        }
    }

    fn malformed(what: Malformation) -> Result<(), Refusal> {
        Err(Refusal::Malformed(what))
    }

    #[test]
    fn passes_an_ordinary_http2_head() {
        let ordinary = request()
            .with("content-length", "4")
            .with("host", "ACME.example");
        assert_eq!(ordinary.check(), Ok(()));
    }

    #[test]
    fn refuses_what_names_no_host_or_two() {
        assert_eq!(
            Request {
                host: "",
                ..request()
            }
            .check(),
            malformed(Malformation::MissingHost)
        );
        assert_eq!(
            Request {
                host: "user@acme.example",
                ..request()
            }
            .check(),
            malformed(Malformation::InvalidHost)
        );
        assert_eq!(
            request().with("host", "other.example").check(),
            malformed(Malformation::HostMismatch)
        );
        let old = Request {
            host: "",
            version: Version::HTTP_10,
            ..request()
        };
        assert_eq!(old.check(), Ok(()));
    }

    #[test]
    fn refuses_trace_and_connect() {
        for method in [Method::TRACE, Method::CONNECT] {
            let refused = Request {
                method,
                ..request()
            }
            .check();
            assert_eq!(refused, Err(Refusal::MethodNotSupported));
        }
    }

    #[test]
    fn refuses_targets_that_are_not_a_path() {
        for target in [
            "*",
            "a",
            "",
            "http://acme.example/a",
            "/a b",
            "/a\\b",
            "/a%00",
        ] {
            let refused = Request {
                target,
                ..request()
            }
            .check();
            assert_eq!(refused, malformed(Malformation::InvalidTarget), "{target}");
        }
    }

    #[test]
    fn refuses_a_second_copy_of_a_header_that_decides() {
        for name in [
            "x-knoxcall-route",
            "x-knoxcall-key",
            "x-knoxcall-environment",
        ] {
            let refused = request().with(name, "a").with(name, "a").check();
            assert_eq!(refused, malformed(Malformation::DuplicateHeader), "{name}");
        }
        let refused = request()
            .with("content-length", "1")
            .with("content-length", "1")
            .check();
        assert_eq!(refused, malformed(Malformation::AmbiguousLength));
    }

    #[test]
    fn refuses_ambiguous_framing() {
        let chunked = |version| {
            Request {
                version,
                ..request()
            }
            .with("transfer-encoding", "chunked")
        };
        let unsupported = malformed(Malformation::UnsupportedTransferEncoding);
        assert_eq!(chunked(Version::HTTP_2).check(), unsupported);
        assert_eq!(chunked(Version::HTTP_11).check(), Ok(()));
        assert_eq!(
            chunked(Version::HTTP_11)
                .with("content-length", "1")
                .check(),
            malformed(Malformation::AmbiguousLength)
        );
        assert_eq!(
            request().with("content-length", "+1").check(),
            malformed(Malformation::AmbiguousLength)
        );
    }

    #[test]
    fn refuses_a_head_over_budget() {
        let long = Box::leak("x".repeat(BUDGET.bytes).into_boxed_str());
        assert_eq!(
            request().with("x-long", long).check(),
            Err(Refusal::HeadTooLarge)
        );
        let many = (0..=BUDGET.fields).fold(request(), |request, _| request.with("x-a", "1"));
        assert_eq!(many.check(), Err(Refusal::HeadTooLarge));
    }
}
