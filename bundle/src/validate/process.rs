//! The process's own part of the document, as `Settings`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use regex::RegexBuilder;

use crate::document::{
    AdminDocument, CountersDocument, LimitsDocument, LoggingDocument, ObfuscateDocument,
    ProcessDocument, UpstreamDocument,
};
use crate::problem::{At, Problems};
use crate::secret::SecretValue;
use crate::settings::{
    Admin, Counters, Limits, Listener, Logging, Obfuscate, Pattern, RequestLog, RequestLogOutput,
    Settings, TrustedProxy, UpstreamSettings,
};

use super::{Origin, Sources, address, header};

const DEFAULT_LISTENER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Bytes that a compiled pattern may take.
const PATTERN_SIZE_LIMIT: usize = 1024 * 1024;

pub(crate) fn process(
    document: &ProcessDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<Settings> {
    let listeners = listeners(document, problems);
    let admin = admin(&document.admin, &listeners, problems);
    let trusted_proxies = trusted_proxies(document, problems);
    let upstream = upstream(&document.upstream, problems);
    let counters = counters(&document.counters, sources, problems);
    let logging = logging(&document.logging, sources, problems);
    Some(Settings {
        listeners,
        admin,
        workers: workers(document.workers),
        trusted_proxies,
        limits: limits(&document.limits)?,
        counters: counters?,
        upstream,
        logging,
    })
}

fn listeners(document: &ProcessDocument, problems: &mut Problems) -> Vec<Listener> {
    if document.listeners.is_empty() {
        return vec![Listener {
            address: DEFAULT_LISTENER,
        }];
    }
    let section = At::ROOT.key("listeners");
    let mut listeners: Vec<Listener> = Vec::with_capacity(document.listeners.len());
    for (index, listener) in document.listeners.iter().enumerate() {
        let at = section.index(index);
        let at = at.key("address");
        let Some(address) = address::socket(&listener.address, &at, problems) else {
            continue;
        };
        if listeners.iter().any(|other| other.address == address) {
            problems.add(&at, "is listened on twice", "keep one of them");
        }
        listeners.push(Listener { address });
    }
    listeners
}

fn admin(
    document: &AdminDocument,
    listeners: &[Listener],
    problems: &mut Problems,
) -> Option<Admin> {
    let section = At::ROOT.key("admin");
    let at = section.key("address");
    let address = address::socket(&document.address, &at, problems)?;
    if !document.enabled {
        return None;
    }
    if !address.ip().is_loopback() && !document.allow_remote {
        problems.add(
            &at,
            "is not a loopback address",
            "use 127.0.0.1, or set admin.allow_remote: true",
        );
    }
    if listeners.iter().any(|listener| listener.address == address) {
        problems.add(&at, "is a listener's address", "give it a port of its own");
    }
    Some(Admin { address })
}

fn workers(given: Option<u32>) -> NonZeroUsize {
    let given = given.and_then(|workers| NonZeroUsize::new(workers as usize));
    given
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

fn trusted_proxies(document: &ProcessDocument, problems: &mut Problems) -> Vec<TrustedProxy> {
    let section = At::ROOT.key("trusted_proxies");
    let mut trusted: Vec<TrustedProxy> = Vec::with_capacity(document.trusted_proxies.len());
    for (index, proxy) in document.trusted_proxies.iter().enumerate() {
        let at = section.index(index);
        let at = at.key("cidr");
        let Some(cidr) = address::range(&proxy.cidr, &at, problems) else {
            continue;
        };
        if trusted.iter().any(|other| other.cidr == cidr) {
            problems.add(&at, "is named twice", "keep one of them");
        }
        trusted.push(TrustedProxy {
            cidr,
            cf_connecting_ip: proxy.cf_connecting_ip,
        });
    }
    trusted
}

/// `None` only for a zero, which the schema has refused already.
fn limits(document: &LimitsDocument) -> Option<Limits> {
    Some(Limits {
        head_bytes: document.head_bytes as usize,
        head_fields: document.head_fields as usize,
        head_timeout: Duration::from_millis(document.head_timeout_ms),
        keepalive_timeout: Duration::from_millis(document.keepalive_timeout_ms),
        body_timeout: Duration::from_millis(document.body_timeout_ms),
        max_connections: document.max_connections as usize,
        max_connections_per_address: document.max_connections_per_address as usize,
        max_inspected_body: document.max_inspected_body_bytes as usize,
        unauthorized_per_minute: NonZeroU32::new(document.unauthorized_per_minute)?,
        shutdown_grace: Duration::from_millis(document.shutdown_grace_ms),
        drain_delay: Duration::from_millis(document.drain_delay_ms),
    })
}

fn counters(
    document: &CountersDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<Counters> {
    Some(Counters {
        redis_url: redis_url(document, sources, problems),
        redis_timeout: Duration::from_millis(document.redis_timeout_ms),
        instances: NonZeroU32::new(document.instances)?,
        nonce_capacity: document.nonce_capacity as usize,
    })
}

fn redis_url(
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
        let at = section.key("redis_url");
        if text.contains('@') {
            let remedy = "use redis_url_from_env or redis_url_from_file";
            problems.add(&at, "holds a user or password", remedy);
        }
        ("redis_url", Ok(SecretValue::new(text.to_owned())))
    } else if let Some(name) = env {
        (
            "redis_url_from_env",
            sources.secret(Origin::Environment(name)),
        )
    } else {
        ("redis_url_from_file", sources.secret(Origin::File(file?)))
    };
    let at = section.key(field);
    match url {
        Ok(url) if is_redis_url(url.expose()) => Some(url),
        Ok(_) => {
            problems.add(&at, "is not a Redis URL", "write redis://HOST:PORT/DB");
            None
        }
        Err(unavailable) => {
            problems.add(&at, unavailable.message, unavailable.remedy);
            None
        }
    }
}

fn is_redis_url(text: &str) -> bool {
    let rest = ["redis://", "redis+unix://", "unix://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

fn upstream(document: &UpstreamDocument, problems: &mut Problems) -> UpstreamSettings {
    if document.dns_min_ttl_sec > document.dns_max_ttl_sec {
        let section = At::ROOT.key("upstream");
        let remedy = "the smaller one first";
        problems.add(
            &section.key("dns_min_ttl_sec"),
            "is above dns_max_ttl_sec",
            remedy,
        );
    }
    UpstreamSettings {
        pool_size: document.pool_size as usize,
        dns_min_ttl: Duration::from_secs(document.dns_min_ttl_sec),
        dns_max_ttl: Duration::from_secs(document.dns_max_ttl_sec),
        dns_timeout: Duration::from_millis(document.dns_timeout_ms),
    }
}

fn logging(document: &LoggingDocument, sources: &dyn Sources, problems: &mut Problems) -> Logging {
    let section = At::ROOT.key("logging");
    let requests = &document.requests;
    let requests_at = section.key("requests");
    let output = match requests.path.as_str() {
        "stdout" => RequestLogOutput::Stdout,
        "none" => RequestLogOutput::None,
        path => {
            if path.is_empty() {
                let remedy = "a path, stdout or none";
                problems.add(&requests_at.key("path"), "is empty", remedy);
            }
            RequestLogOutput::File(sources.resolve(path))
        }
    };
    let headers_at = requests_at.key("capture_headers");
    Logging {
        level: document.level,
        format: document.format,
        requests: RequestLog {
            output,
            rotate_bytes: requests.rotate_bytes,
            keep_files: requests.keep_files as usize,
            queue: requests.queue as usize,
            flush_interval: Duration::from_millis(requests.flush_interval_ms),
            capture_headers: header::names(&requests.capture_headers, &headers_at, problems),
            capture_body: requests.capture_body,
        },
        obfuscate: obfuscate(&document.obfuscate, &section.key("obfuscate"), problems),
    }
}

fn obfuscate(document: &ObfuscateDocument, at: &At<'_>, problems: &mut Problems) -> Obfuscate {
    let paths_at = at.key("json_paths");
    for (index, path) in document.json_paths.iter().enumerate() {
        if !is_json_path(path) {
            let remedy = "write $.user.ssn or $.items[*].card";
            problems.add(&paths_at.index(index), "is not a JSON path", remedy);
        }
    }
    Obfuscate {
        headers: header::names(&document.headers, &at.key("headers"), problems),
        query: document.query.clone(),
        json_paths: document.json_paths.clone(),
        patterns: patterns(&document.patterns, &at.key("patterns"), problems),
    }
}

fn patterns(texts: &[String], at: &At<'_>, problems: &mut Problems) -> Vec<Pattern> {
    let texts = texts.iter().enumerate();
    texts
        .filter_map(|(index, text)| {
            let compiled = RegexBuilder::new(text)
                .size_limit(PATTERN_SIZE_LIMIT)
                .build();
            let at = at.index(index);
            match compiled {
                Ok(regex) if regex.is_match("") => {
                    problems.add(&at, "matches the empty text", "use + in the place of *");
                    None
                }
                Ok(regex) => Some(Pattern(regex)),
                Err(regex::Error::CompiledTooBig(_)) => {
                    problems.add(&at, "is too large once compiled", "use smaller repetitions");
                    None
                }
                Err(_) => {
                    let remedy = "the syntax is that of the Rust crate `regex`";
                    problems.add(&at, "is not a regular expression", remedy);
                    None
                }
            }
        })
        .collect()
}

/// `$` and then `.name`, `[0]` or `[*]`.
fn is_json_path(path: &str) -> bool {
    let Some(mut rest) = path.strip_prefix('$').filter(|rest| !rest.is_empty()) else {
        return false;
    };
    while let Some(first) = rest.chars().next() {
        let step = rest.get(1..).unwrap_or_default();
        let length = match first {
            '.' => step.find(['.', '[']).unwrap_or(step.len()),
            '[' => {
                let Some(end) = step.find(']') else {
                    return false;
                };
                let inside = step.get(..end).unwrap_or_default();
                let is_index =
                    !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
                if inside != "*" && !is_index {
                    return false;
                }
                end + 1
            }
            _ => return false,
        };
        if length == 0 {
            return false;
        }
        rest = step.get(length..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_json_paths() {
        for path in [
            "$.a",
            "$.user.ssn",
            "$.items[*].card",
            "$[0]",
            "$.a[0][*].b",
        ] {
            assert!(is_json_path(path), "{path}");
        }
        for path in [
            "", "$", "a.b", "$.", "$.a..b", "$.a[", "$.a[x]", "$.a[]", "$a",
        ] {
            assert!(!is_json_path(path), "{path}");
        }
    }

    #[test]
    fn knows_redis_urls() {
        assert!(is_redis_url("redis://:secret@127.0.0.1:6379/0"));
        for url in [
            "http://x",
            "redis://",
            "127.0.0.1:6379",
            "rediss://x",
            "redis://a b",
        ] {
            assert!(!is_redis_url(url), "{url}");
        }
    }
}
