//! An HTTP/1 head as it came from the socket, before any parser has repaired
//! it (RFC 9112 sections 2 to 6). One pass, nothing allocated.

mod seen;

use self::seen::Seen;
use super::class::{Class, split_value};
use super::{HeadBudget, syntax};
use crate::refusal::{Malformation, Refusal};

const INVALID: Refusal = Refusal::Malformed(Malformation::InvalidHead);

/// `head` ends with the empty line, and nothing comes after it.
pub fn check_raw(head: &[u8], budget: &HeadBudget) -> Result<Framing, Refusal> {
    if head.len() > budget.bytes {
        return Err(Refusal::HeadTooLarge);
    }
    let (request_line, mut rest) = RequestLine::split(head)?;
    let mut seen = Seen::default();
    let mut fields = 0;
    while rest != b"\r\n" {
        let Some((field, after)) = Field::split(rest) else {
            return Err(INVALID);
        };
        fields += 1;
        if fields > budget.fields {
            return Err(Refusal::HeadTooLarge);
        }
        seen.note(&field)?;
        rest = after;
    }
    check_host(&request_line, &seen)?;
    Ok(Framing {
        body: check_framing(&request_line, &seen)?,
        asks_websocket: seen.has_websocket,
    })
}

/// What a head that has passed says of the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    pub body: BodyLength,
    /// They may be of the WebSocket protocol, if the answer agrees.
    pub asks_websocket: bool,
}

/// How much body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    Exactly(u64),
    Chunked,
}

struct RequestLine<'h> {
    /// Of an absolute target.
    authority: Option<&'h [u8]>,
    is_http_10: bool,
}

impl<'h> RequestLine<'h> {
    /// And what follows its CRLF. A bare LF ends no line, and a bare CR stands
    /// in no target.
    fn split(head: &'h [u8]) -> Result<(Self, &'h [u8]), Refusal> {
        let end = memchr::memchr(b'\n', head);
        let Some((line, rest)) = end.and_then(|end| head.split_at_checked(end + 1)) else {
            return Err(INVALID);
        };
        Ok((Self::read(line)?, rest))
    }

    fn read(line: &'h [u8]) -> Result<Self, Refusal> {
        let Some((line, version)) = line.split_last_chunk::<{ VERSION_LENGTH }>() else {
            return Err(INVALID);
        };
        let is_http_10 = match version {
            b" HTTP/1.1\r\n" => false,
            b" HTTP/1.0\r\n" => true,
            _other => return Err(INVALID),
        };
        let (method, target) = Class::TOKEN.split(line);
        let Some((b' ', target)) = target.split_first() else {
            return Err(INVALID);
        };
        let checked = syntax::check_method(method).and_then(|()| syntax::check_target(target));
        // Four words are no request line, whatever the second one is; and an
        // authority has not been looked into yet.
        if !matches!(checked, Ok(None)) && target.contains(&b' ') {
            return Err(INVALID);
        }
        Ok(Self {
            authority: checked?,
            is_http_10,
        })
    }
}

const VERSION_LENGTH: usize = b" HTTP/1.1\r\n".len();

struct Field<'h> {
    name: &'h [u8],
    /// With the blanks around it.
    value: &'h [u8],
}

impl<'h> Field<'h> {
    /// And what follows its CRLF. A folded line begins with a blank, and so
    /// has no valid name (RFC 9112 section 5.2); nor has one with a blank
    /// before the colon (section 5.1). An empty line is no field.
    fn split(text: &'h [u8]) -> Option<(Self, &'h [u8])> {
        let (name, rest) = Class::TOKEN.split(text);
        if name.is_empty() {
            return None;
        }
        let (value, rest) = split_value(rest.strip_prefix(b":")?);
        Some((Self { name, value }, rest.strip_prefix(b"\r\n")?))
    }

    fn trimmed_value(&self) -> &'h [u8] {
        // No other whitespace than SP and HTAB stands in a value.
        self.value.trim_ascii()
    }
}

/// In another case as well: Pingora takes the two for different hosts.
fn check_host(line: &RequestLine<'_>, seen: &Seen<'_>) -> Result<(), Refusal> {
    let Some(host) = seen.host else {
        return if line.is_http_10 && line.authority.is_none() {
            Ok(())
        } else {
            Err(Refusal::Malformed(Malformation::MissingHost))
        };
    };
    syntax::check_host(host)?;
    if line.authority.is_some_and(|authority| authority != host) {
        return Err(Refusal::Malformed(Malformation::HostMismatch));
    }
    Ok(())
}

fn check_framing(line: &RequestLine<'_>, seen: &Seen<'_>) -> Result<BodyLength, Refusal> {
    match (seen.length, seen.has_coding) {
        (Some(_), true) => Err(Refusal::Malformed(Malformation::AmbiguousLength)),
        (None, true) if line.is_http_10 => Err(Refusal::Malformed(
            Malformation::UnsupportedTransferEncoding,
        )),
        (None, true) => Ok(BodyLength::Chunked),
        (Some(length), false) => Ok(BodyLength::Exactly(length)),
        (None, false) => Ok(BodyLength::Exactly(0)),
    }
}

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use Malformation::*;
    use proptest::prelude::*;

    use super::*;
    use crate::hygiene::SINGLE;

    fn check(head: impl AsRef<[u8]>) -> Result<(), Refusal> {
        check_raw(head.as_ref(), &HeadBudget::default()).map(|_framing| ())
    }

    /// A request with these further lines, each with its line end.
    fn with(lines: &str) -> Result<(), Refusal> {
        check(format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n"))
    }

    fn line(request_line: &str) -> Result<(), Refusal> {
        check(format!("{request_line}\r\nHost: h\r\n\r\n"))
    }

    fn malformed(what: Malformation) -> Result<(), Refusal> {
        Err(Refusal::Malformed(what))
    }

    #[test]
    fn tells_how_much_body_follows() {
        let length = |lines: &str| {
            let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            check_raw(head.as_bytes(), &HeadBudget::default()).map(|framing| framing.body)
        };
        assert_eq!(length(""), Ok(BodyLength::Exactly(0)));
        assert_eq!(
            length("Content-Length: 42\r\n"),
            Ok(BodyLength::Exactly(42))
        );
        assert_eq!(
            length("Transfer-Encoding: chunked\r\n"),
            Ok(BodyLength::Chunked)
        );
    }

    #[test]
    fn tells_who_asks_for_a_websocket() {
        let asks = |lines: &str| {
            let head = format!("GET /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            check_raw(head.as_bytes(), &HeadBudget::default()).map(|framing| framing.asks_websocket)
        };
        assert_eq!(asks(""), Ok(false));
        assert_eq!(asks("Connection: upgrade\r\n"), Ok(false));
        assert_eq!(asks("Upgrade: h2c\r\n"), Ok(false));
        assert_eq!(asks("uPGRADE: WebSocket\r\n"), Ok(true));
    }

    #[test]
    fn passes_ordinary_requests() {
        assert_eq!(line("GET / HTTP/1.1"), Ok(()));
        assert_eq!(line("OPTIONS /a?b=c HTTP/1.0"), Ok(()));
        assert_eq!(line("GET http://h/a HTTP/1.1"), Ok(()));
        assert_eq!(line("FOO!X /a HTTP/1.1"), Ok(()));
        assert_eq!(with("Content-Length: 4\r\n"), Ok(()));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(()));
        assert_eq!(with("X-A:\r\nx-a: \t v \t\r\nX-B: \u{e9}\r\n"), Ok(()));
        assert_eq!(check("GET / HTTP/1.0\r\n\r\n"), Ok(()));
    }

    #[test]
    fn refuses_http_11_without_host() {
        assert_eq!(check("GET /a HTTP/1.1\r\n\r\n"), malformed(MissingHost));
        assert_eq!(
            check("GET http://h/a HTTP/1.1\r\n\r\n"),
            malformed(MissingHost)
        );
        assert_eq!(
            check("GET http://h/a HTTP/1.0\r\n\r\n"),
            malformed(MissingHost)
        );
    }

    #[test]
    fn refuses_hosts_that_are_not_one_host() {
        for host in ["", "a b", "u@h", "h/x", "h:", "h:99999", "a,b"] {
            let head = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(check(head), malformed(InvalidHost), "{host:?}");
        }
        assert_eq!(with("Host: h\r\n"), malformed(DuplicateHeader));
        assert_eq!(with("hOST: g\r\n"), malformed(DuplicateHeader));
    }

    #[test]
    fn refuses_an_absolute_target_with_another_host() {
        for target in [
            "http://evil/a",
            "http://h:80/a",
            "http://h.evil/",
            "http://u@h/",
            "http:///",
        ] {
            assert_eq!(
                line(&format!("GET {target} HTTP/1.1")),
                malformed(HostMismatch),
                "{target}"
            );
        }
    }

    #[test]
    fn refuses_both_framing_headers_in_either_order() {
        for lines in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        ] {
            assert_eq!(with(lines), malformed(AmbiguousLength), "{lines:?}");
        }
    }

    #[test]
    fn refuses_every_content_length_but_one_plain_number() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +4\r\n",
            "Content-Length: -4\r\n",
            "Content-Length: 0x4\r\n",
            "Content-Length: 4 4\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            assert_eq!(with(lines), malformed(AmbiguousLength), "{lines:?}");
        }
    }

    #[test]
    fn refuses_every_transfer_coding_but_one_chunked() {
        for lines in [
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(
                with(lines),
                malformed(UnsupportedTransferEncoding),
                "{lines:?}"
            );
        }
        assert_eq!(
            with("Transfer-Encoding: \u{b}chunked\r\n"),
            malformed(InvalidHead)
        );
        let old = "POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(old), malformed(UnsupportedTransferEncoding));
    }

    #[test]
    fn refuses_lines_that_parsers_split_differently() {
        for head in [
            "GET /a HTTP/1.1\nHost: h\n\n",
            "GET /a HTTP/1.1\r\nHost: h\nX-A: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\rb\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\r\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\r\n b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\r\n\tb\r\n\r\n",
            "GET /a HTTP/1.1\r\n Host: h\r\n\r\n",
            "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\nX-A: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n",
            "GET /a HTTP/1.1",
            "",
        ] {
            assert_eq!(check(head), malformed(InvalidHead), "{head:?}");
        }
    }

    #[test]
    fn refuses_malformed_fields() {
        for lines in [
            "X-A : 1\r\n",
            "X-A\t: 1\r\n",
            "X A: 1\r\n",
            ": 1\r\n",
            "X-A\r\n",
            "X-\u{e9}: 1\r\n",
            "X(A): 1\r\n",
            "X-A: a\0b\r\n",
            "X-A: a\u{7f}b\r\n",
            "X-A: a\u{1b}b\r\n",
            "Transfer-Encoding : chunked\r\n",
        ] {
            assert_eq!(with(lines), malformed(InvalidHead), "{lines:?}");
        }
    }

    #[test]
    fn refuses_malformed_request_lines() {
        for request_line in [
            "GET /a",
            "GET  /a HTTP/1.1",
            "GET /a  HTTP/1.1",
            " GET /a HTTP/1.1",
            "GET /a HTTP/1.1 ",
            "GET\t/a HTTP/1.1",
            "G(T /a HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET http://h /a HTTP/1.1",
            "GET http://h  HTTP/1.1",
            "TRACE / a HTTP/1.1",
            "GET /a HTTP/1.2",
            "GET /a HTTP/2.0",
            "GET /a HTTP/0.9",
            "GET /a http/1.1",
            "GET /a HTTP/1.10",
            "GET /a",
            "",
        ] {
            assert_eq!(
                line(request_line),
                malformed(InvalidHead),
                "{request_line:?}"
            );
        }
        for target in [
            "*", "a", "/a\"b", "/a#f", "/a\\b", "/%00", "/\u{e9}", "/a%zz",
        ] {
            let refused = line(&format!("GET {target} HTTP/1.1"));
            assert_eq!(refused, malformed(InvalidTarget), "{target:?}");
        }
    }

    #[test]
    fn refuses_trace_and_connect_whatever_their_target() {
        for request_line in [
            "TRACE / HTTP/1.1",
            "CONNECT h:443 HTTP/1.1",
            "CONNECT * HTTP/1.0",
        ] {
            assert_eq!(
                line(request_line),
                Err(Refusal::MethodNotSupported),
                "{request_line}"
            );
        }
    }

    #[test]
    fn refuses_a_second_copy_of_every_header_that_decides() {
        for single in SINGLE.iter().map(|name| name.as_str()) {
            let twice = format!("{single}: 1\r\n{}: 1\r\n", single.to_ascii_uppercase());
            assert!(
                matches!(with(&twice), Err(Refusal::Malformed(_))),
                "{single}"
            );
        }
        for name in [
            "x-knoxcall-route",
            "x-knoxcall-key",
            "X-Knoxcall-Environment",
        ] {
            let twice = format!("{name}: a\r\nX-B: 1\r\n{name}: a\r\n");
            assert_eq!(with(&twice), malformed(DuplicateHeader), "{name}");
        }
        assert_eq!(
            with("CF-Connecting-IP: ::\r\ncf-connecting-ip: ::\r\n"),
            malformed(DuplicateHeader)
        );
        assert_eq!(with("X-Forwarded-For: 1\r\nX-Forwarded-For: 2\r\n"), Ok(()));
    }

    #[test]
    fn refuses_a_head_over_budget() {
        let head = "GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n";
        let fits = HeadBudget {
            bytes: head.len(),
            fields: 2,
        };
        assert!(check_raw(head.as_bytes(), &fits).is_ok());
        let short = HeadBudget {
            bytes: head.len() - 1,
            ..fits
        };
        assert_eq!(
            check_raw(head.as_bytes(), &short),
            Err(Refusal::HeadTooLarge)
        );
        let few = HeadBudget { fields: 1, ..fits };
        assert_eq!(check_raw(head.as_bytes(), &few), Err(Refusal::HeadTooLarge));
    }

    fn ordinary() -> impl Strategy<Value = Vec<u8>> {
        let field = "[A-Za-z0-9]{1,8}-[A-Za-z]{1,8}:[ ]?[!-~]{0,12}\r\n";
        let fields = proptest::collection::vec(field, 0..8);
        ("/[a-z0-9/]{0,20}", fields).prop_map(|(path, fields)| {
            format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n", fields.concat()).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn passes_what_is_well_formed(head in ordinary()) {
            prop_assert_eq!(check(head), Ok(()));
        }

        #[test]
        fn refuses_a_control_character_anywhere(
            mut head in ordinary(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![0u8..9, 10u8..32, Just(0x7F)],
        ) {
            head.insert(at.index(head.len() + 1), byte);
            prop_assert!(check(head).is_err());
        }

        #[test]
        fn judges_any_bytes(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&head);
            let mut ended = head;
            ended.extend_from_slice(b"\r\n\r\n");
            let _ = check(ended);
        }
    }
}
