//! The grammar of methods, targets, hosts and lengths.

use super::class::Class;
use crate::refusal::{Malformation, Refusal};

/// Longer than any method that is registered (RFC 9110 section 16.1.1).
const LONGEST_METHOD: usize = 20;

/// Methods are case-sensitive (RFC 9110 section 9.1), but many an upstream
/// takes `post` for `POST`: one that is not in capitals would pass by what is
/// configured for it.
pub(super) fn check_method(method: &[u8]) -> Result<(), Refusal> {
    let is_method = (1..=LONGEST_METHOD).contains(&method.len())
        && Class::TOKEN.has_all(method)
        && !method.iter().any(u8::is_ascii_lowercase);
    if !is_method {
        return Err(Refusal::Malformed(Malformation::InvalidHead));
    }
    if method == b"TRACE" || method == b"CONNECT" {
        return Err(Refusal::MethodNotSupported);
    }
    Ok(())
}

/// Gives the authority of an absolute target. There is no place for the `*`
/// of OPTIONS: everything that is served has a path.
pub(super) fn check_target(target: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let (authority, path_and_query) = split_authority(target);
    let (path, query) = split_escaped(Class::PATH, path_and_query);
    let is_path = path.starts_with(b"/") || (path.is_empty() && authority.is_some());
    let is_query = query.is_empty() || query.starts_with(b"?");
    if is_path && is_query && split_escaped(Class::QUERY, query).1.is_empty() {
        Ok(authority)
    } else {
        Err(Refusal::Malformed(Malformation::InvalidTarget))
    }
}

/// As much of `text` as is of this class or of escapes, and the rest.
fn split_escaped(class: Class, text: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = text;
    loop {
        (_, rest) = class.split(rest);
        match after_escape(rest) {
            Some(after) => rest = after,
            None => return text.split_at(text.len() - rest.len()),
        }
    }
}

/// A `%` with two hexadecimal digits, and never NUL.
fn after_escape(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'%', b'0', b'0', ..] => None,
        [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some(after)
        }
        _no_escape => None,
    }
}

/// Path and query of a target that has passed: an absolute one (RFC 9112
/// section 3.2.2) without scheme and authority, any other one as it is.
pub fn origin_form(target: &[u8]) -> &[u8] {
    let (authority, rest) = split_authority(target);
    match authority {
        Some(_) if rest.is_empty() => b"/",
        Some(_) | None => rest,
    }
}

fn split_authority(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if target.starts_with(b"/") {
        return (None, target);
    }
    let scheme = [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
    let Some(rest) = scheme.and_then(|scheme| target.get(scheme.len()..)) else {
        return (None, target);
    };
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // `http://host?query` has no path to send: it is left to be refused.
    if rest.starts_with(b"?") {
        (None, target)
    } else {
        (Some(authority), rest)
    }
}

/// `host` or `host:port`; the host a name or an address.
pub(super) fn check_host(value: &[u8]) -> Result<(), Refusal> {
    let port = match value {
        [b'[', address @ ..] => after_address(address),
        name => after_name(name),
    };
    match port {
        Some([]) => Ok(()),
        Some([b':', port @ ..]) if is_port(port) => Ok(()),
        Some(_) | None => Err(Refusal::Malformed(Malformation::InvalidHost)),
    }
}

fn after_address(text: &[u8]) -> Option<&[u8]> {
    let (address, rest) = Class::BRACKETED.split(text);
    rest.strip_prefix(b"]").filter(|_| !address.is_empty())
}

fn after_name(text: &[u8]) -> Option<&[u8]> {
    let (name, rest) = Class::HOST.split(text);
    (1..=255).contains(&name.len()).then_some(rest)
}

fn is_port(text: &[u8]) -> bool {
    is_digits(text) && std::str::from_utf8(text).is_ok_and(|port| port.parse::<u16>().is_ok())
}

/// Plain digits that fit; no sign, no list (RFC 9110 section 8.6).
pub(super) fn length(value: &[u8]) -> Result<u64, Refusal> {
    // 18 digits fit into 64 bits, signed or not.
    if !is_digits(value) || value.len() > 18 {
        return Err(Refusal::Malformed(Malformation::AmbiguousLength));
    }
    let digits = value.iter().map(|byte| u64::from(byte - b'0'));
    Ok(digits.fold(0, |sum, digit| sum * 10 + digit))
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_method_that_is_not_in_capitals_or_too_long() {
        for method in [
            "post",
            "Post",
            "POSt",
            "trace",
            "Trace",
            "connect",
            "a",
            &"A".repeat(21),
        ] {
            assert_eq!(
                check_method(method.as_bytes()),
                Err(Refusal::Malformed(Malformation::InvalidHead)),
                "{method}"
            );
        }
        for method in [
            "GET",
            "M-SEARCH",
            "UPDATEREDIRECTREF",
            "X!2",
            &"A".repeat(20),
        ] {
            assert_eq!(check_method(method.as_bytes()), Ok(()), "{method}");
        }
    }

    #[test]
    fn takes_the_authority_of_an_absolute_target() {
        assert_eq!(check_target(b"/a?b"), Ok(None));
        assert_eq!(check_target(b"http://h:1/a"), Ok(Some(b"h:1".as_slice())));
        assert_eq!(check_target(b"HTTPS://h"), Ok(Some(b"h".as_slice())));
        assert_eq!(check_target(b"//h/a"), Ok(None));
    }

    #[test]
    fn refuses_targets_outside_of_the_grammar() {
        for target in [
            "",
            "*",
            "a",
            "h:443",
            "ftp://h/",
            "http://h?q",
            "/a b",
            "/a#b",
            "/a\\b",
            "/a\"",
            "/a<",
            "/a^",
            "/a`",
            "/a{b}",
            "/a|b",
            "/a\u{e9}",
            "/a[1]",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a%00",
            "/a?b%00",
            "/a?%",
            "/a?b#c",
            "/a?\\",
            "/\u{7f}",
            "/\0",
        ] {
            let refused = check_target(target.as_bytes());
            assert_eq!(
                refused,
                Err(Refusal::Malformed(Malformation::InvalidTarget)),
                "{target:?}"
            );
        }
    }

    #[test]
    fn passes_targets_inside_of_the_grammar() {
        for target in [
            "/",
            "//",
            "/a;b=c,d",
            "/@:!$&'()*+,;=-._~",
            "/%41?a[]=%5B1]&b=/?",
            "/?",
        ] {
            assert_eq!(check_target(target.as_bytes()), Ok(None), "{target}");
        }
    }

    #[test]
    fn the_origin_form_is_what_follows_the_authority() {
        assert_eq!(origin_form(b"http://h/a?b"), b"/a?b");
        assert_eq!(origin_form(b"http://h"), b"/");
        assert_eq!(origin_form(b"/a?u=http://h/"), b"/a?u=http://h/");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in [
            "h",
            "a-b_c.example:80",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:8080",
            "h.",
        ] {
            assert_eq!(check_host(host.as_bytes()), Ok(()), "{host}");
        }
        for host in [
            "", ":80", "h:", "h:x", "h:65536", "h:-1", "h:+1", "u@h", "h/p", "h?q", "h#f", "a b",
            "a,b", "h:80:80", "::1", "[]", "[::1", "::1]", "[::1]x", "[u@h]", "h%41", "h\\", "é",
        ] {
            let refused = check_host(host.as_bytes());
            assert_eq!(
                refused,
                Err(Refusal::Malformed(Malformation::InvalidHost)),
                "{host:?}"
            );
        }
    }

    #[test]
    fn a_length_is_plain_digits() {
        for length in ["0", "007", "999999999999999999"] {
            assert!(super::length(length.as_bytes()).is_ok(), "{length}");
        }
        for length in [
            "",
            "+4",
            "-1",
            "4 ",
            "4,4",
            "0x4",
            "4.0",
            "18446744073709551616",
            "٤",
        ] {
            let refused = super::length(length.as_bytes());
            assert_eq!(
                refused,
                Err(Refusal::Malformed(Malformation::AmbiguousLength)),
                "{length}"
            );
        }
    }
}
