//! `match`: host and path rules. A prefix is made of whole segments, with
//! everything decoded that may stand in one as it is (RFC 3986, 3.3), as paths
//! are for matching: rules that are the same there are the same here.

use std::collections::HashMap;

use crate::document::MatchDocument;
use crate::ids::HostName;
use crate::model::MatchRule;
use crate::problem::{At, Problems};

use super::context::place;
use super::target::is_path_byte;

/// Every rule so far, and the route that has it: two routes with one rule
/// would leave the choice to chance.
#[derive(Default)]
pub(super) struct Rules {
    taken: HashMap<(Option<HostName>, String), usize>,
}

impl Rules {
    pub(super) fn rule(
        &mut self,
        document: &MatchDocument,
        route: usize,
        hosts: &[HostName],
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<MatchRule> {
        let host = match &document.host {
            None => Some(None),
            Some(text) => host(text, hosts, &at.key("host"), problems).map(Some),
        };
        let text = document.path_prefix.as_deref().unwrap_or("/");
        let path_prefix = match prefix(text) {
            Ok(prefix) => Some(prefix),
            Err((message, remedy)) => {
                problems.add(&at.key("path_prefix"), message, remedy);
                None
            }
        };
        let (host, path_prefix) = (host?, path_prefix?);
        let rule = (host.clone(), path_prefix.clone());
        if let Some(other) = self.taken.insert(rule, route) {
            let message = "the same host and prefix are matched by";
            problems.add_clash(at, message, place("routes", other), "keep one of the rules");
        }
        Some(MatchRule {
            host,
            path_prefix,
            strip_prefix: document.strip_prefix,
        })
    }
}

fn host(text: &str, hosts: &[HostName], at: &At<'_>, problems: &mut Problems) -> Option<HostName> {
    let lower = text.to_ascii_lowercase();
    let known = hosts.iter().find(|host| host.as_str() == lower).cloned();
    if known.is_none() {
        let names: Vec<_> = hosts.iter().map(HostName::as_str).collect();
        let remedy = format!("one of {}", names.join(", "));
        problems.add(
            at,
            "is not a host of the tenant, so it never matches",
            remedy,
        );
    }
    known
}

type Refused = (&'static str, &'static str);

fn prefix(text: &str) -> Result<String, Refused> {
    if !text.starts_with('/') {
        return Err(("does not begin with /", "write /hooks"));
    }
    if !text.bytes().all(is_path_byte) {
        return Err((
            "is not a path",
            "no query, fragment or wildcard; percent-encode what is not a letter or digit",
        ));
    }
    let decoded = decode_plain(text).ok_or(("has a % that encodes nothing", "write %25"))?;
    if climbs(&decoded) || decoded.contains("//") {
        return Err((
            "has dot segments, empty segments or encoded slashes",
            "write it out",
        ));
    }
    if decoded.contains(';') || decoded.contains("%3B") {
        let remedy = "what follows it in a segment never counts: leave it out";
        return Err(("has a ; in it", remedy));
    }
    match decoded.trim_end_matches('/') {
        "" => Ok("/".to_owned()),
        "/healthz" | "/livez" => Err((
            "is answered by the gateway itself",
            "match another path, or name the route with x-knoxcall-route",
        )),
        prefix => Ok(prefix.to_owned()),
    }
}

/// Whether some reader of a path could find its way up in it.
pub(super) fn climbs(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let encoded = ["%2e", "%2f", "%5c", "%25", "%00"];
    encoded.iter().any(|code| lower.contains(code))
        || lower.contains('\\')
        || lower
            .split('/')
            .any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// `None`: a `%` without two hexadecimal digits.
fn decode_plain(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.get(..2)?;
        let byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'))?;
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&digits.to_ascii_uppercase());
        }
        rest = after.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_is_decoded_and_has_no_slash_at_its_end() {
        assert_eq!(prefix("/"), Ok("/".to_owned()));
        assert_eq!(prefix("/hooks/"), Ok("/hooks".to_owned()));
        assert_eq!(
            prefix("/%68ooks/a%20b%c3%a9"),
            Ok("/hooks/a%20b%C3%A9".to_owned())
        );
        assert_eq!(prefix("/a%40b%2Cc"), Ok("/a@b,c".to_owned()));
    }

    #[test]
    fn refuses_the_paths_of_the_gateways_own_probes() {
        for text in ["/healthz", "/livez/", "/%68ealthz"] {
            assert!(prefix(text).is_err(), "{text}");
        }
        for text in ["/healthz/deep", "/healthzz", "/a/livez"] {
            assert!(prefix(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_prefixes_that_climb_or_are_none() {
        for text in [
            "hooks",
            "",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/a",
            "/a%2fb",
            "/a%5cb",
            "/a//b",
            "/..;x/a",
            "/a;x",
            "/a%3bx",
            "/a?b",
            "/a#b",
            "/a*b\\",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%+1",
            "/a%252e",
            "/a b",
            "/é",
        ] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_decoded_prefix_decodes_to_itself(text in "/[a-z%0-9/.~;_-]{0,30}") {
            if let Ok(once) = prefix(&text) {
                prop_assert_eq!(prefix(&once), Ok(once.clone()));
            }
        }
    }
}
