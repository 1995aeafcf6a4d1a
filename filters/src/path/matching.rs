//! The form in which paths and the prefixes of rules are compared. The rule:
//! two spellings that an upstream may take for one path are one here, or a
//! guarded prefix could be reached by way of another route's rule. So empty
//! segments count for nothing (RFC 3986 names no use of them), what follows a
//! `;` is a parameter and no part of a name (section 3.3), and what may stand
//! in a segment as it is counts as decoded (sections 2.2 and 6.2.2.2). The
//! case of letters counts.

use std::borrow::Cow;

use super::escape;

/// `/`, or segments with a slash before each and none at the end. Never longer
/// than what it is made of.
pub(crate) fn matched(path: &[u8]) -> Cow<'_, [u8]> {
    if is_matched(path) {
        return Cow::Borrowed(path);
    }
    let mut form = Vec::with_capacity(path.len().max(1));
    for segment in path.split(|byte| *byte == b'/') {
        form.push(b'/');
        let before = form.len();
        push_name(&mut form, segment);
        if form.len() == before {
            form.pop();
        }
    }
    if form.is_empty() {
        form.push(b'/');
    }
    Cow::Owned(form)
}

/// What is left of a raw path without its first `count` segments that have a
/// name.
pub(crate) fn after_named(path: &[u8], count: usize) -> &[u8] {
    if count == 0 {
        return path;
    }
    let mut named = 0;
    let mut at = 0;
    for segment in path.split(|byte| *byte == b'/') {
        at += segment.len();
        named += usize::from(has_name(segment));
        if named == count {
            return path.get(at..).unwrap_or_default();
        }
        at += 1;
    }
    &[]
}

fn is_matched(path: &[u8]) -> bool {
    path == b"/"
        || (path.starts_with(b"/")
            && !path.ends_with(b"/")
            && memchr::memchr2(b'%', b';', path).is_none()
            && memchr::memmem::find(path, b"//").is_none())
}

fn has_name(segment: &[u8]) -> bool {
    match segment {
        [] | [b';', ..] | [b'%', b'3', b'b' | b'B', ..] => false,
        [_, ..] => true,
    }
}

fn push_name(form: &mut Vec<u8>, segment: &[u8]) {
    let mut rest = segment;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after, escaped) = match escape(after) {
            Some((byte, after)) if *first == b'%' => (byte, after, true),
            Some(_) | None => (*first, after, false),
        };
        match byte {
            b';' => return,
            _ if !escaped || is_plain(byte) => form.push(byte),
            _ => push_escape(form, byte),
        }
        rest = after;
    }
}

/// Of `pchar` in RFC 3986, section 3.3.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

fn push_escape(form: &mut Vec<u8>, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    form.push(b'%');
    form.extend(
        [byte >> 4, byte & 15]
            .iter()
            .filter_map(|n| DIGITS.get(usize::from(*n))),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_path_have_one_form() {
        for (path, form) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/%61%2d%5F", "/a-_"),
            ("/%c3%a9%3f", "/%C3%A9%3F"),
            ("/%2541", "/%2541"),
            ("/a%", "/a%"),
            ("//admin//x/", "/admin/x"),
            ("/admin;v=1/x;y", "/admin/x"),
            ("/admin%3bx/%3By", "/admin"),
            ("/;x/admin", "/admin"),
            ("/a%40b%3a%2C%28", "/a@b:,("),
            ("/a%20b", "/a%20b"),
            ("/Admin", "/Admin"),
        ] {
            assert_eq!(matched(path.as_bytes()), form.as_bytes(), "{path}");
        }
    }

    #[test]
    fn cuts_named_segments_off_a_raw_path() {
        for (path, count, rest) in [
            ("/a/b", 0, "/a/b"),
            ("/a/b", 1, "/b"),
            ("/a/b", 2, ""),
            ("//%61;x//b/", 1, "//b/"),
            ("/;y/a/b", 1, "/b"),
            ("/%3by/a/", 1, "/"),
            ("/a", 2, ""),
        ] {
            assert_eq!(
                after_named(path.as_bytes(), count),
                rest.as_bytes(),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(path in "(/[a;@.~_-]{0,4}(%[0-9a-f]{2})?){0,5}") {
            let once = matched(path.as_bytes()).into_owned();
            prop_assert_eq!(matched(&once).into_owned(), once.clone());
            prop_assert!(once.len() <= path.len().max(1));
        }

        #[test]
        fn a_form_and_what_is_cut_make_the_form_of_the_whole(
            path in "(/(a|b;x|;y|%61|%3bz)?){0,6}",
            count in 0_usize..7,
        ) {
            let whole = matched(path.as_bytes()).into_owned();
            let rest = matched(after_named(path.as_bytes(), count)).into_owned();
            let names = |form: &[u8]| -> Vec<Vec<u8>> {
                form.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
            };
            let expected: Vec<_> = names(&whole).into_iter().skip(count).collect();
            prop_assert_eq!(names(&rest), expected);
        }
    }
}
