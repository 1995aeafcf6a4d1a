//! Paths: which are refused, how they are compared, how they are joined.
//!
//! The rule: nothing that any upstream could read as climbing out of the
//! target path passes. So a path is judged as the most generous decoder would
//! see it (RFC 3986 sections 2.1, 3.3 and 5.2.4): percent-decoded until nothing
//! is left to decode, `;` parameters cut off, backslash taken for slash, and
//! what looks like a dot or a slash for one. What passes is sent on verbatim,
//! empty segments included.

mod lookalikes;
mod matching;

pub(crate) use self::matching::{after_named, matched};
use crate::refusal::{Malformation, Refusal};

/// `path` is raw, without query.
pub fn check(path: &[u8]) -> Result<(), Refusal> {
    if path.first() != Some(&b'/') {
        return Err(Refusal::Malformed(Malformation::InvalidTarget));
    }
    let safe = match memchr::memchr(b'%', path) {
        None => segments_are_safe(path),
        Some(_) => fully_decoded(path)
            .and_then(|decoded| lookalikes::plain(&decoded))
            .is_some_and(|plain| segments_are_safe(&plain)),
    };
    if safe {
        Ok(())
    } else {
        Err(Refusal::InvalidPath)
    }
}

/// Two slashes at the beginning of what is sent name a host (RFC 3986, section
/// 4.2): so a client could choose it where the target has no path of its own.
pub(crate) fn check_start(target: &str, client: &[u8]) -> Result<(), Refusal> {
    if target.is_empty() && client.starts_with(b"//") {
        return Err(Refusal::InvalidPath);
    }
    Ok(())
}

/// What follows `/api`, where that is the first segment; the path itself
/// where it is not.
pub(crate) fn without_api(path: &[u8]) -> &[u8] {
    match path.strip_prefix(b"/api") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        Some(_) | None => path,
    }
}

/// `target` is a target's path: empty, or begins with `/` and does not end
/// with one. `client` has passed [`check`], and is empty or begins with `/`.
/// `query` is empty or begins with `?`.
pub fn join(target: &str, client: &[u8], query: &[u8]) -> Vec<u8> {
    let path: &[u8] = match target.is_empty() && client.is_empty() {
        true => b"/",
        false => client,
    };
    [target.as_bytes(), path, query].concat()
}

/// The byte that the two digits after a `%` stand for, and what follows.
fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after.split_first_chunk::<2>()?;
    Some((byte(*digits)?, rest))
}

fn byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// Decodes in one pass until no escape is left, however often it was encoded;
/// `None` as soon as a slash, a backslash or a NUL comes out of an escape.
fn fully_decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(*byte);
        // A decoded byte may complete an escape that began before it.
        while let Some(inner) = trailing_escape(&decoded) {
            if matches!(inner, b'/' | b'\\' | 0) {
                return None;
            }
            decoded.truncate(decoded.len() - 3);
            decoded.push(inner);
        }
    }
    Some(decoded)
}

fn trailing_escape(decoded: &[u8]) -> Option<u8> {
    match decoded.last_chunk::<3>() {
        Some([b'%', high, low]) => byte([*high, *low]),
        Some(_) | None => None,
    }
}

fn segments_are_safe(path: &[u8]) -> bool {
    // A segment that climbs has a dot first, or blanks and then a dot.
    if memchr::memchr2(b'.', b'\\', path).is_none() {
        return true;
    }
    path.split(|byte| *byte == b'/').all(is_safe)
}

/// A segment of nothing but dots climbs. So it may where parameters follow
/// (`..;v=1`), and where blanks or control characters do, which some file
/// systems cut off.
fn is_safe(segment: &[u8]) -> bool {
    if memchr::memchr(b'\\', segment).is_some() {
        return false;
    }
    let name = segment
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    let only_dots = name
        .iter()
        .all(|byte| *byte == b'.' || *byte <= b' ' || *byte == 0x7F);
    !(only_dots && name.contains(&b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_whatever_climbs() {
        for path in [
            "/..",
            "/../",
            "/a/..",
            "/a/../b",
            "/./a",
            "/a/.",
            "/...",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/%2e",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a%5cb",
            "/a%5C..",
            "/a\\b",
            "/..;/b",
            "/..;v=1/b",
            "/.;/b",
            "/..%3b/b",
            "/%252e%252e/b",
            "/a%252fb",
            "/a%255cb",
            "/%25252525252e./b",
            "/%25%32%65./b",
            "/%%32%65./b",
            "/%2%65./b",
            "/..%20/b",
            "/%20../b",
            "/..%09",
            "/. .",
            "/%c0%ae%c0%ae/b",
            "/a%c0%afb",
            "/a%e0%80%af",
            "/%25c0%25ae",
            "/a%00b",
            "/a%2500",
            "/%c0%2e%c0%2e/b",
            "/%c0.%c0./b",
            "/%c0%6e%c0%6e/b",
            "/a%c1%1cb",
            "/%f0%80%80%ae/b",
            "/%f8%80%80%80%ae/b",
            "/%fc%80%80%80%80%ae/b",
            "/%EF%BC%8E%EF%BC%8E/b",
            "/.%EF%BC%8E/b",
            "/%E2%80%A4%E2%80%A4/b",
            "/%E2%80%A5/b",
            "/%25E2%2580%25A5/b",
            "/a%EF%BC%8F..%EF%BC%8Fb",
            "/a%EF%BC%BC..",
            "/..%EF%BC%9Bv/b",
            "/..%c2%a0/b",
            "/..%a0/b",
            "/..%e3%80%80/b",
            "/%e2%80%8b../b",
            "/.%c2%ad./b",
        ] {
            assert_eq!(check(path.as_bytes()), Err(Refusal::InvalidPath), "{path}");
        }
    }

    #[test]
    fn passes_what_only_looks_like_climbing() {
        for path in [
            "/",
            "//",
            "/a//b/",
            "/a.b",
            "/.well-known/x",
            "/..a",
            "/a..",
            "/a...b/c",
            "/v1;k=v/a",
            "/a;..",
            "/100%25",
            "/%E2%82%AC",
            "/a%20b",
            "/%3b",
            "/a%252Cb",
            "/~u/@x:y",
            "/%C3%A9.",
            "/%C3%A9/%E9/VOIL%C0.html",
            "/%EF%BC%A1%EF%BC%8F%EF%BC%A2",
            "/a%E2%80%A6",
            "/a%c2%a0b/%e3%80%80",
        ] {
            assert_eq!(check(path.as_bytes()), Ok(()), "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for path in ["", "a", "*", "h:443", "http://h/"] {
            let refused = Err(Refusal::Malformed(Malformation::InvalidTarget));
            assert_eq!(check(path.as_bytes()), refused, "{path}");
        }
    }

    #[test]
    fn joins_the_target_path_and_the_clients_verbatim() {
        for (target, client, joined) in [
            ("", "", "/"),
            ("", "/", "/"),
            ("", "/a%41//b/", "/a%41//b/"),
            ("/v1", "", "/v1"),
            ("/v1", "/", "/v1/"),
            ("/v1/users", "/123", "/v1/users/123"),
        ] {
            assert_eq!(join(target, client.as_bytes(), b""), joined.as_bytes());
            let with_query = format!("{joined}?q=/");
            assert_eq!(
                join(target, client.as_bytes(), b"?q=/"),
                with_query.as_bytes()
            );
        }
    }

    #[test]
    fn strips_api_as_a_whole_segment_only() {
        for (path, rest) in [
            ("/api", ""),
            ("/api/", "/"),
            ("/api/a", "/a"),
            ("/apis", "/apis"),
            ("/v/api", "/v/api"),
        ] {
            assert_eq!(without_api(path.as_bytes()), rest.as_bytes());
        }
    }

    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let pieces = proptest::sample::select(vec![
            "/", ".", "..", ";", "%", "2", "5", "25", "2e", "2f", "5c", "%2e", "%2E", "%2f", "%5c",
            "%25", "%3b", "%32", "%65", "%20", "%00", "\\", "a", "%c0%ae", "~", "?",
        ]);
        proptest::collection::vec(pieces, 0..14)
            .prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
    }

    fn decoded_once(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match escape(after).filter(|_| *first == b'%') {
                Some((byte, after)) => {
                    out.push(byte);
                    rest = after;
                }
                None => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    }

    /// How an upstream may resolve a path; `None` where it leaves its root.
    fn depth_never_below_root(path: &[u8], cut_parameters: bool) -> bool {
        let mut depth = 0i32;
        for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
            let name = match segment.iter().position(|byte| *byte == b';') {
                Some(at) if cut_parameters => &segment[..at],
                _ => segment,
            };
            match name.trim_ascii() {
                b".." => depth -= 1,
                b"." | b"" => {}
                _ => depth += 1,
            }
            if depth < 0 {
                return false;
            }
        }
        true
    }

    proptest! {
        #[test]
        fn no_reading_of_a_passed_path_climbs(client in tricky()) {
            prop_assume!(check(&client).is_ok());
            let mut reading = client;
            for _ in 0..4 {
                prop_assert!(depth_never_below_root(&reading, false), "{:?}", reading.escape_ascii());
                prop_assert!(depth_never_below_root(&reading, true), "{:?}", reading.escape_ascii());
                reading = decoded_once(&reading);
            }
        }

        #[test]
        fn a_passed_path_stays_under_its_target(client in tricky()) {
            prop_assume!(check(&client).is_ok());
            let joined = join("/v1/users", &client, b"");
            prop_assert!(joined.starts_with(b"/v1/users/"));
        }

        #[test]
        fn ordinary_paths_pass(path in "(/[a-z0-9_~-]{1,8}(\\.[a-z]{1,3})?){0,6}/?") {
            prop_assume!(path.starts_with('/'));
            prop_assert_eq!(check(path.as_bytes()), Ok(()));
        }
    }
}
