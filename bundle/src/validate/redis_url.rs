//! `counters.redis_url` and its companions: `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`,
//! or `redis+unix:///PATH`. What the Redis client would refuse when the gateway
//! starts is refused here. In the file itself no password may stand: neither
//! before an `@` nor in a query, where Unix sockets have it.

use std::net::Ipv6Addr;

use crate::document::CountersDocument;
use crate::problem::{At, Problems};
use crate::secret::SecretValue;

use super::{Origin, Sources};

const FROM_ELSEWHERE: &str = "use redis_url_from_env or redis_url_from_file";
const EXAMPLE: &str = "write redis://HOST:PORT/DB or redis+unix:///PATH";

pub(super) fn redis_url(
    document: &CountersDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<SecretValue> {
    let section = At::ROOT.key("counters");
    let plain = document.redis_url.as_deref();
    let env = document.redis_url_from_env.as_deref();
    let file = document.redis_url_from_file.as_deref();
    if [plain, env, file].into_iter().flatten().count() > 1 {
        let message = "needs at most one of redis_url, redis_url_from_env and redis_url_from_file";
        problems.add(&section, message, "");
    }
    let (field, url) = if let Some(text) = plain {
        check_plain(text, &section.key("redis_url"), problems);
        ("redis_url", Ok(SecretValue::new(text.to_owned())))
    } else if let Some(name) = env {
        let url = sources.secret(Origin::Environment(name));
        ("redis_url_from_env", url)
    } else {
        ("redis_url_from_file", sources.secret(Origin::File(file?)))
    };
    let at = section.key(field);
    match url {
        Ok(url) => match check(url.expose()) {
            Ok(()) => Some(url),
            Err(message) => {
                problems.add(&at, message, EXAMPLE);
                None
            }
        },
        Err(unavailable) => {
            problems.add(&at, unavailable.message, unavailable.remedy);
            None
        }
    }
}

fn check_plain(text: &str, at: &At<'_>, problems: &mut Problems) {
    if text.contains('@') {
        problems.add(at, "holds a user or password", FROM_ELSEWHERE);
    }
    if text.contains('?') {
        let message = "holds a query, where a password could stand";
        problems.add(at, message, FROM_ELSEWHERE);
    }
}

type Checked = Result<(), &'static str>;

fn check(text: &str) -> Checked {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return Err("is not a Redis URL");
    }
    let (rest, query) = match text.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (text, ""),
    };
    let unix = ["redis+unix://", "unix://"];
    let path = unix.iter().find_map(|scheme| rest.strip_prefix(scheme));
    match (path, rest.strip_prefix("redis://")) {
        (Some(path), _) => unix_socket(path)?,
        (None, Some(rest)) => tcp(rest)?,
        (None, None) => return Err("is not a Redis URL"),
    }
    check_query(query, path.is_some())
}

fn unix_socket(path: &str) -> Checked {
    match path.strip_prefix('/') {
        Some(path) if !path.is_empty() => Ok(()),
        Some(_) | None => Err("has a socket's path that does not begin with /"),
    }
}

fn tcp(rest: &str) -> Checked {
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (user, address),
        None => ("", authority),
    };
    if !decodes_to_text(user) {
        return Err("has a user or password that is not percent-encoded UTF-8");
    }
    if !database.is_empty() {
        check_database(database)?;
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("has an address that is none")?;
            check_v6(host)?;
            (host, after)
        }
        None => {
            let (host, port) = address.split_at(address.find(':').unwrap_or(address.len()));
            check_host(host)?;
            (host, port)
        }
    };
    if ["0.0.0.0", "::"].contains(&host) {
        return Err("names every address, and not a host");
    }
    check_port(port)
}

fn check_v6(host: &str) -> Checked {
    let address: Result<Ipv6Addr, _> = host.parse();
    address
        .map(|_| ())
        .map_err(|_| "has an address that is none")
}

fn check_host(host: &str) -> Checked {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match !host.is_empty() && host.bytes().all(is_name) {
        true => Ok(()),
        false => Err("has no host, or one that is none"),
    }
}

/// Empty, or with its colon.
fn check_port(text: &str) -> Checked {
    let port = match text.strip_prefix(':') {
        Some(digits) if is_digits(digits) => digits.parse().unwrap_or(0),
        Some(_) => 0,
        None if text.is_empty() => return Ok(()),
        None => 0,
    };
    match port {
        0_u16 => Err("has a port that is not one of 1 to 65535"),
        1..=u16::MAX => Ok(()),
    }
}

fn check_database(text: &str) -> Checked {
    match is_digits(text) && text.parse::<u32>().is_ok() {
        true => Ok(()),
        false => Err("has a database that is not a number"),
    }
}

fn check_query(query: &str, unix: bool) -> Checked {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("protocol", "2" | "3" | "resp2" | "resp3")) => {}
            Some(("db", number)) if unix => check_database(number)?,
            Some(("user" | "pass", _)) if unix => {}
            Some(_) | None => return Err("has a query that Redis does not know"),
        }
    }
    Ok(())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn decodes_to_text(text: &str) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).map(|code| u8::from_str_radix(code, 16));
        match code {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            Some(Err(_)) | None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    std::str::from_utf8(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_hosts_addresses_databases_and_sockets() {
        for url in [
            "redis://127.0.0.1",
            "redis://127.0.0.1:6379/0",
            "redis://:s%C3%A9cret@redis_1:6379/15",
            "redis://user:pa@ss@h",
            "redis://[2001:db8::1]:6379/",
            "redis://h?protocol=resp3",
            "redis+unix:///run/redis.sock",
            "unix:///run/redis.sock?db=2&pass=x&user=y",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn refuses_what_the_client_would_refuse_at_the_start() {
        for url in [
            "",
            "http://x",
            "redis://",
            "redis:///0",
            "127.0.0.1:6379",
            "rediss://x",
            "redis://a b",
            "redis://h:99999/x",
            "redis://h:99999",
            "redis://h:0",
            "redis://h:",
            "redis://h:+80",
            "redis://h/x",
            "redis://h/-1",
            "redis://h/0/1",
            "redis://:pa/ss@h",
            "redis://:%ff@h",
            "redis://0.0.0.0",
            "redis://[::]",
            "redis://[::1",
            "redis://[::1]6379",
            "redis://h#x",
            "redis://h?pass=x",
            "redis+unix://x.sock",
            "redis+unix:///",
            "redis+unix:///x.sock?db=x",
            "redis+unix:///x.sock?password=x",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }
}
