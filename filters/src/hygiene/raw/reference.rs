//! The rules for a raw head once more: slow, line by line, each one written
//! as its RFC says it and without a part of the fast check. Both must give
//! the same answer, refusals included.

use proptest::prelude::*;

use super::{BodyLength, Framing, HeadBudget, check_raw};
use crate::refusal::{Malformation, Refusal};

use Malformation::*;

const BUDGET: HeadBudget = HeadBudget {
    bytes: 300,
    fields: 5,
};

struct Slow {
    target: String,
    is_http_10: bool,
    /// Names in lower case, values without blanks around them.
    fields: Vec<(String, String)>,
}

/// Latin-1, so that a character is a byte.
fn slow(head: &[u8]) -> Result<Framing, Refusal> {
    if head.len() > BUDGET.bytes {
        return Err(Refusal::HeadTooLarge);
    }
    let head = read(&head.iter().copied().map(char::from).collect::<String>())?;
    let host = head.host()?;
    if let (Some((authority, _)), Some(host)) = (absolute(&head.target), host)
        && authority != host
    {
        return Err(Refusal::Malformed(HostMismatch));
    }
    Ok(Framing {
        body: head.body()?,
        asks_websocket: head.asks_websocket(),
    })
}

fn read(head: &str) -> Result<Slow, Refusal> {
    let invalid = || Refusal::Malformed(InvalidHead);
    let (line, mut rest) = head.split_once('\n').ok_or_else(invalid)?;
    let line = line.strip_suffix('\r').ok_or_else(invalid)?;
    let (target, is_http_10) = request_line(line)?;
    let mut fields: Vec<(String, String)> = Vec::new();
    while rest != "\r\n" {
        let (line, after) = rest.split_once('\n').ok_or_else(invalid)?;
        let line = line.strip_suffix('\r').ok_or_else(invalid)?;
        let (name, value) = line.split_once(':').ok_or_else(invalid)?;
        let is_field = is_token(name) && !value.chars().any(is_forbidden_in_values);
        is_field.then_some(()).ok_or_else(invalid)?;
        if fields.len() == BUDGET.fields {
            return Err(Refusal::HeadTooLarge);
        }
        let name = name.to_ascii_lowercase();
        let value = value.trim_matches([' ', '\t']).to_owned();
        let is_second = fields.iter().any(|(earlier, _)| *earlier == name);
        check_field(&name, &value, is_second).map_err(Refusal::Malformed)?;
        fields.push((name, value));
        rest = after;
    }
    Ok(Slow {
        target,
        is_http_10,
        fields,
    })
}

fn request_line(line: &str) -> Result<(String, bool), Refusal> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(Refusal::Malformed(InvalidHead));
    };
    let is_method = is_token(method) && method.len() <= 20 && method == method.to_ascii_uppercase();
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version) || !is_method {
        return Err(Refusal::Malformed(InvalidHead));
    }
    if ["TRACE", "CONNECT"].contains(&method) {
        return Err(Refusal::MethodNotSupported);
    }
    if !is_target(target) {
        return Err(Refusal::Malformed(InvalidTarget));
    }
    Ok((target.to_owned(), version == "HTTP/1.0"))
}

fn check_field(name: &str, value: &str, is_second: bool) -> Result<(), Malformation> {
    match name {
        "content-length" => {
            let is_number = !value.is_empty() && value.chars().all(|sign| sign.is_ascii_digit());
            let is_sound = !is_second && is_number && value.len() <= 18;
            is_sound.then_some(()).ok_or(AmbiguousLength)
        }
        "transfer-encoding" => {
            let is_sound = !is_second && value.eq_ignore_ascii_case("chunked");
            is_sound.then_some(()).ok_or(UnsupportedTransferEncoding)
        }
        "host" | "cf-connecting-ip" => (!is_second).then_some(()).ok_or(DuplicateHeader),
        "x-knoxcall-route" | "x-knoxcall-key" | "x-knoxcall-environment" => {
            (!is_second).then_some(()).ok_or(DuplicateHeader)
        }
        _other => Ok(()),
    }
}

impl Slow {
    fn field(&self, wanted: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    fn host(&self) -> Result<Option<&str>, Refusal> {
        match self.field("host") {
            Some(host) if is_host(host) => Ok(Some(host)),
            Some(_) => Err(Refusal::Malformed(InvalidHost)),
            None if self.is_http_10 && absolute(&self.target).is_none() => Ok(None),
            None => Err(Refusal::Malformed(MissingHost)),
        }
    }

    fn asks_websocket(&self) -> bool {
        self.fields
            .iter()
            .any(|(name, value)| name == "upgrade" && value.eq_ignore_ascii_case("websocket"))
    }

    fn body(&self) -> Result<BodyLength, Refusal> {
        match (
            self.field("content-length"),
            self.field("transfer-encoding"),
        ) {
            (Some(_), Some(_)) => Err(Refusal::Malformed(AmbiguousLength)),
            (None, Some(_)) if self.is_http_10 => {
                Err(Refusal::Malformed(UnsupportedTransferEncoding))
            }
            (None, Some(_)) => Ok(BodyLength::Chunked),
            (Some(length), None) => Ok(BodyLength::Exactly(length.parse().expect("digits"))),
            (None, None) => Ok(BodyLength::Exactly(0)),
        }
    }
}

fn is_token(text: &str) -> bool {
    let is_tchar = |sign: char| sign.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(sign);
    !text.is_empty() && text.chars().all(is_tchar)
}

fn is_forbidden_in_values(sign: char) -> bool {
    sign.is_ascii_control() && sign != '\t'
}

/// Authority and rest of an absolute target.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (scheme == "http" || scheme == "https").then(|| rest.split_at(end))
}

fn is_target(target: &str) -> bool {
    let path_and_query = match absolute(target) {
        Some((_, "")) => "/",
        Some((_, rest)) => rest,
        None => target,
    };
    let mut at_query = false;
    let mut signs = path_and_query.chars();
    while let Some(sign) = signs.next() {
        at_query |= sign == '?';
        let is_sound = match sign {
            '%' => {
                let digits = [signs.next(), signs.next()].map(Option::unwrap_or_default);
                digits.iter().all(char::is_ascii_hexdigit) && digits != ['0', '0']
            }
            '?' => true,
            '[' | ']' => at_query,
            _ => sign.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(sign),
        };
        if !is_sound {
            return false;
        }
    }
    path_and_query.starts_with('/')
}

fn is_host(host: &str) -> bool {
    let (host, port) = match host.rsplit_once(':') {
        Some((before, port)) if !host.ends_with(']') => (before, port),
        Some(_) | None => (host, "0"),
    };
    let is_port = port.chars().all(|sign| sign.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_of = |text: &str, others: &str| {
        let mut signs = text.chars();
        !text.is_empty() && signs.all(|sign| sign.is_ascii_alphanumeric() || others.contains(sign))
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_name = host.len() <= 255 && is_of(host, "-._");
    is_port && inner.map_or(is_name, |inner| is_of(inner, ":."))
}

fn request_lines() -> impl Strategy<Value = String> {
    let method =
        prop_oneof![4 => Just("POST"), 1 => Just("TRACE"), 1 => Just("G!T"), 1 => Just("gET")];
    let target = prop_oneof![
        4 => "/[a-z0-9/._~-]{0,20}",
        2 => "/[a-f%0]{0,8}[?][a-f%0?/=&\\[\\]]{0,8}",
        1 => "(http|HTTPS|ftp)://(h|acme[.]example:80|)[ ]?[/?]?[a-z]{0,5}",
        1 => "[!-~]{0,5}",
    ];
    let version = prop_oneof![4 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/2")];
    (method, target, version)
        .prop_map(|(method, target, version)| format!("{method} {target} {version}\r\n"))
}

fn fields() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => "[Xx]-[A-Za-z0-9_.]{1,20}",
        1 => prop::sample::select(&[
            "Content-Length", "transfer-encoding", "X-Knoxcall-Route", "x-knoxcall-key",
            "X-KNOXCALL-ENVIRONMENT", "CF-Connecting-IP", "Host", "hOST", "Content-Lengti",
            "Accept-Charset", "X-Knoxcall-Keys", "Upgrade", "Upgrades",
        ][..]).prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        2 => "[ \t]?[ -~\u{80}-\u{ff}\t]{0,60}",
        1 => "[0-9]{1,19}",
        1 => "( |\t)?[Cc]hunked ?",
        1 => "( |\t)?(web|Web)[Ss]ocket ?",
        1 => "(h|acme[.]example|\\[::1\\]|[a-z:\\[\\].]{0,6})(:[0-9]{0,6})?",
    ];
    (name, value).prop_map(|(name, value)| format!("{name}:{value}\r\n"))
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![4 => Just("Host: h\r\n"), 1 => Just("")];
    let fields = prop::collection::vec(fields(), 0..5);
    (request_lines(), host, fields).prop_map(|(line, host, fields)| {
        let head = format!("{line}{host}{}\r\n", fields.concat());
        head.chars().map(|sign| sign as u8).collect()
    })
}

#[derive(Clone, Debug)]
enum Mutation {
    Insert(prop::sample::Index, u8),
    Replace(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let byte = || {
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&b"\r\n\t :%?[]/\0\x7F"[..])
            ]
        };
        prop_oneof![
            3 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Self::Insert(at, byte)),
            3 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Self::Replace(at, byte)),
            3 => any::<prop::sample::Index>().prop_map(Self::Remove),
            1 => any::<prop::sample::Index>().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, head: &mut Vec<u8>) {
        if head.is_empty() {
            return;
        }
        match self {
            Self::Insert(at, byte) => head.insert(at.index(head.len() + 1), *byte),
            Self::Replace(at, byte) => {
                let at = at.index(head.len());
                head[at] = *byte;
            }
            Self::Remove(at) => {
                head.remove(at.index(head.len()));
            }
            Self::Truncate(at) => head.truncate(at.index(head.len())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_on_any_head(head in heads()) {
        prop_assert_eq!(check_raw(&head, &BUDGET), slow(&head));
    }

    #[test]
    fn agrees_on_mutated_heads(
        mut head in heads(),
        mutations in prop::collection::vec(Mutation::any(), 1..4),
    ) {
        mutations.iter().for_each(|mutation| mutation.apply(&mut head));
        prop_assert_eq!(check_raw(&head, &BUDGET), slow(&head));
    }

    #[test]
    fn agrees_on_any_bytes(head in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(check_raw(&head, &BUDGET), slow(&head));
    }
}
