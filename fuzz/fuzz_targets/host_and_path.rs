//! Which tenant and which route a request is for. The host is one of ours or
//! refused; a named route is that route or none; without a name the longest
//! matching prefix wins, as a search through all rules finds it; and no path
//! that is served climbs out of its target, however often an upstream decodes.

#![no_main]

use std::sync::LazyLock;

use knoxcall_bundle::ids::RouteId;
use knoxcall_filters::hygiene::{HeadBudget, check_parsed};
use knoxcall_filters::sample::{self, API_HOST, HOST, NOW, SANDBOX_HOST};
use knoxcall_filters::{Head, Refusal, RouteTable, Trail, admit, locate, path};
use knoxcall_fuzz::{Sent, cut};
use libfuzzer_sys::fuzz_target;

const EXTRA_HOST: &str = "api.acme.test";
const HOSTS: [&str; 4] = [API_HOST, EXTRA_HOST, HOST, SANDBOX_HOST];

/// Route 1 has the first, route 2 the second.
const RULES: [(Option<&str>, &str, bool); 7] = [
    (None, "/", false),
    (None, "/v1", true),
    (None, "/v1/orders", false),
    (Some(EXTRA_HOST), "/v1", true),
    (Some(SANDBOX_HOST), "/~u/a-b", true),
    (None, "/v1/orders/archive", true),
    (Some(EXTRA_HOST), "/%2C", false),
];

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let mut tenant = sample::tenant();
    tenant.clients[0].assignments.push(sample::assignment(None));
    for (number, (host, prefix, strip)) in (1..).zip(RULES) {
        tenant.routes.push(knoxcall_bundle::Route {
            match_rules: vec![sample::rule(host, prefix, strip)],
            ..sample::route(number)
        });
    }
    sample::table(tenant)
});

fuzz_target!(|data: &[u8]| {
    let Some(sent) = Sent::read(data) else { return };
    let head = sent.head();
    if check_parsed(&head, &HeadBudget::default()).is_err() {
        return;
    }
    let host = name_of(head.host);
    let site = match locate(&TABLE, &head, sample::client_address(), NOW) {
        Ok(site) => site,
        Err(refusal) => {
            assert_eq!(refusal, Refusal::UnknownHost);
            assert!(!HOSTS.contains(&host.as_str()), "{host} is ours");
            return;
        }
    };
    assert_eq!(site.host, host);
    assert!(HOSTS.contains(&site.host));

    let mut trail = Trail::default();
    let admitted = admit(&site, &head, NOW, &mut trail);
    if let Err(Refusal::InvalidPath | Refusal::Malformed(_)) = admitted {
        return;
    }
    let expected = match head.headers.get("x-knoxcall-route") {
        Some(name) => by_name(name.as_bytes()),
        None => by_rules(site.host, without_api(site.strips_api, head.path())),
    };
    assert_eq!(
        trail.route.map(|route| route.id),
        expected.map(sample::route_id)
    );
    if let Ok(admitted) = admitted {
        assert_eq!(Some(admitted.route.id), expected.map(sample::route_id));
        assert!(admitted.service.sandbox || !site.sandbox);
        check_path(&head, admitted.path, &admitted.rules.target.target.path);
    }
});

/// In lower case, without port.
fn name_of(host: &[u8]) -> String {
    let text = String::from_utf8_lossy(host).to_lowercase();
    match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        Some(_) | None => text,
    }
}

fn without_api(strips: bool, path: &[u8]) -> &[u8] {
    match path.strip_prefix(b"/api") {
        Some(rest) if strips && (rest.is_empty() || rest[0] == b'/') => rest,
        Some(_) | None => path,
    }
}

fn by_name(name: &[u8]) -> Option<usize> {
    let name = std::str::from_utf8(name).ok()?;
    (1..=RULES.len()).find(|number| {
        let id: RouteId = sample::route_id(*number);
        name == format!("route-{number}")
            || name == format!("Route {number}")
            || name.eq_ignore_ascii_case(&id.to_string())
    })
}

fn by_rules(host: &str, path: &[u8]) -> Option<usize> {
    let path = segments(path);
    (1..)
        .zip(RULES)
        .filter(|(_, (own, prefix, _))| {
            own.is_none_or(|own| own == host) && path.starts_with(&segments(prefix.as_bytes()))
        })
        .max_by_key(|(_, (own, prefix, _))| (segments(prefix.as_bytes()).len(), own.is_some()))
        .map(|(number, _)| number)
}

/// What has a name, without parameters: what a segment may hold as it is
/// decoded, other escapes in upper case.
fn segments(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .map(|segment| {
            let is_plain =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
            let name = decoded(segment, |byte, escape| match is_plain(byte) {
                true => vec![byte],
                false => escape.to_ascii_uppercase(),
            });
            cut(&name, b';').0.to_vec()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Each escape as `put` writes it.
fn decoded(text: &[u8], put: impl Fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' && after[0].is_ascii_hexdigit() => {
                out.extend(put(byte, &rest[..3]));
                rest = &rest[3..];
            }
            Some(_) | None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// As the client sent it, but for its beginning; and inside of the target's.
fn check_path(head: &Head<'_>, client: &[u8], target: &str) {
    assert!(head.path().ends_with(client));
    assert!(client.is_empty() || client[0] == b'/');
    let joined = path::join(target, client, b"");
    let below = joined
        .strip_prefix(target.as_bytes())
        .expect("the target's path comes first");
    let mut reading = below.to_vec();
    for _ in 0..4 {
        for backslash in [b'\\', b'/'] {
            let slashed: Vec<_> = reading
                .iter()
                .map(|byte| if *byte == b'\\' { backslash } else { *byte })
                .collect();
            assert!(!climbs(&slashed, false) && !climbs(&slashed, true));
        }
        reading = decoded(&reading, |byte, _| vec![byte]);
    }
}

fn climbs(path: &[u8], cuts_parameters: bool) -> bool {
    let mut depth = 0;
    path.split(|byte| *byte == b'/').any(|segment| {
        match if cuts_parameters {
            cut(segment, b';').0
        } else {
            segment
        } {
            b".." => depth -= 1,
            b"" | b"." => {}
            _ => depth += 1,
        }
        depth < 0
    })
}
