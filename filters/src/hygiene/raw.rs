//! An HTTP/1 head as it came from the socket, before any parser has repaired
//! it (RFC 9112 sections 2 to 6). One pass, nothing allocated.

use super::syntax::{self, TOKEN, is_one};
use super::{HeadBudget, SINGLES};
use crate::refusal::{Malformation, Refusal};

const INVALID: Refusal = Refusal::Malformed(Malformation::InvalidHead);

/// `head` ends with the empty line, and nothing comes after it.
pub fn check_raw(head: &[u8], budget: &HeadBudget) -> Result<BodyLength, Refusal> {
    if head.len() > budget.bytes {
        return Err(Refusal::HeadTooLarge);
    }
    let mut lines = Lines(head);
    let request_line = RequestLine::read(lines.next_line()?)?;
    let mut seen = Seen::default();
    let mut fields = 0;
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > budget.fields {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field(line)?;
        seen.note(name, value)?;
    }
    if !lines.0.is_empty() {
        return Err(INVALID);
    }
    check_host(&request_line, &seen)?;
    check_framing(&request_line, &seen)
}

/// How much body follows a head that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    Exactly(u64),
    Chunked,
}

struct Lines<'h>(&'h [u8]);

impl<'h> Lines<'h> {
    /// Up to CRLF: a bare LF ends no line, a bare CR is refused with the
    /// other control characters.
    fn next_line(&mut self) -> Result<&'h [u8], Refusal> {
        let end = memchr::memchr(b'\n', self.0).ok_or(INVALID)?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        line.strip_suffix(b"\r\n").ok_or(INVALID)
    }
}

struct RequestLine<'h> {
    /// Of an absolute target.
    authority: Option<&'h [u8]>,
    is_http_10: bool,
}

impl<'h> RequestLine<'h> {
    fn read(line: &'h [u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(INVALID);
        };
        let is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _other => return Err(INVALID),
        };
        syntax::check_method(method)?;
        let authority = syntax::check_target(target)?;
        Ok(Self {
            authority,
            is_http_10,
        })
    }
}

/// A folded line begins with a blank, and so has no valid name (RFC 9112
/// section 5.2); nor has one with a blank before the colon (section 5.1).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = line.iter().position(|byte| !is_one(&TOKEN, *byte));
    let (name, value) = end
        .and_then(|end| line.split_at_checked(end))
        .ok_or(INVALID)?;
    match value.split_first() {
        Some((b':', value)) if !name.is_empty() && !has_control(value) => {
            // Nothing but SP and HTAB is left of what this cuts.
            Ok((name, value.trim_ascii()))
        }
        Some(_) | None => Err(INVALID),
    }
}

/// Without early return, so that the compiler can look at many bytes at once.
fn has_control(value: &[u8]) -> bool {
    value.iter().fold(false, |found, byte| {
        found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7F)
    })
}

/// How a header that a decision depends on is looked at.
#[derive(Clone, Copy)]
enum Single {
    Host,
    Length,
    Coding,
    /// Its value is judged later, by whoever uses it.
    Named,
}

/// The list of [`super::SINGLE`], at hand for comparing bytes.
const KNOWN: [(&[u8], Single); SINGLES] = [
    (b"host", Single::Host),
    (b"content-length", Single::Length),
    (b"transfer-encoding", Single::Coding),
    (b"x-knoxcall-route", Single::Named),
    (b"x-knoxcall-key", Single::Named),
    (b"x-knoxcall-environment", Single::Named),
    (b"cf-connecting-ip", Single::Named),
];

/// What has been seen of the headers that a decision depends on.
#[derive(Default)]
struct Seen<'h> {
    copies: [bool; SINGLES],
    host: Option<&'h [u8]>,
    length: Option<u64>,
    has_coding: bool,
}

impl<'h> Seen<'h> {
    fn note(&mut self, name: &[u8], value: &'h [u8]) -> Result<(), Refusal> {
        let known = KNOWN
            .iter()
            .zip(&mut self.copies)
            .find(|((known, _), _)| known.len() == name.len() && known.eq_ignore_ascii_case(name));
        let Some(((_, single), copy)) = known else {
            return Ok(());
        };
        let is_second = std::mem::replace(copy, true);
        match single {
            Single::Length if is_second => Err(Refusal::Malformed(Malformation::AmbiguousLength)),
            Single::Coding if is_second || !value.eq_ignore_ascii_case(b"chunked") => Err(
                Refusal::Malformed(Malformation::UnsupportedTransferEncoding),
            ),
            Single::Host | Single::Named if is_second => {
                Err(Refusal::Malformed(Malformation::DuplicateHeader))
            }
            Single::Host => {
                self.host = Some(value);
                Ok(())
            }
            Single::Length => {
                self.length = Some(syntax::length(value)?);
                Ok(())
            }
            Single::Coding => {
                self.has_coding = true;
                Ok(())
            }
            Single::Named => Ok(()),
        }
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
mod tests {
    use Malformation::*;
    use proptest::prelude::*;

    use super::*;
    use crate::hygiene::SINGLE;

    #[test]
    fn knows_the_same_headers_as_the_check_of_a_parsed_head() {
        let names = SINGLE.each_ref().map(|name| name.as_str().as_bytes());
        assert_eq!(KNOWN.map(|(name, _)| name), names);
    }

    fn check(head: impl AsRef<[u8]>) -> Result<(), Refusal> {
        check_raw(head.as_ref(), &HeadBudget::default()).map(|_length| ())
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
            check_raw(head.as_bytes(), &HeadBudget::default())
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
    fn passes_ordinary_requests() {
        assert_eq!(line("GET / HTTP/1.1"), Ok(()));
        assert_eq!(line("OPTIONS /a?b=c HTTP/1.0"), Ok(()));
        assert_eq!(line("GET http://h/a HTTP/1.1"), Ok(()));
        assert_eq!(line("FOO!x /a HTTP/1.1"), Ok(()));
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
