//! The process's own part of the document, as `Settings`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::document::{
    AdminDocument, CountersDocument, LimitsDocument, LoggingDocument, ProcessDocument,
    UpstreamDocument,
};
use crate::problem::{At, Problems};
use crate::settings::{
    Admin, Counters, Limits, Listener, Logging, OwnListener, RequestLog, RequestLogOutput,
    Settings, TrustedProxy, UpstreamSettings, overlapping,
};

use super::context::place;
use super::masking::obfuscate;
use super::redis_url::redis_url;
use super::tracing::tracing;
use super::{Sources, address, header, listener};

pub(crate) fn process(
    document: &ProcessDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<Settings> {
    let (listeners, places) = listener::listeners(document, sources, problems);
    let admin = admin(&document.admin, problems);
    tell_overlaps(&listeners, &places, admin.as_ref(), problems);
    let trusted_proxies = trusted_proxies(document, problems);
    let upstream = upstream(&document.upstream, problems);
    let counters = counters(&document.counters, sources, problems);
    let logging = logging(&document.logging, sources, problems);
    let tracing = tracing(&document.tracing, sources, problems);
    Some(Settings {
        listeners,
        admin,
        workers: workers(document.workers),
        trusted_proxies,
        limits: limits(&document.limits)?,
        counters: counters?,
        upstream,
        logging,
        tracing,
    })
}

fn tell_overlaps(
    listeners: &[Listener],
    places: &[usize],
    admin: Option<&Admin>,
    problems: &mut Problems,
) {
    let remedy = "give it a port of its own";
    for overlap in overlapping(listeners, admin) {
        let place_of = |index: usize| places.get(index).copied().unwrap_or(index);
        let other = place("listeners", place_of(overlap.earlier));
        let message = "cannot be open together with";
        match overlap.later {
            OwnListener::Listener(index) => {
                let section = At::ROOT.key("listeners");
                let at = section.index(place_of(index));
                problems.add_clash(&at.key("address"), message, other, remedy);
            }
            OwnListener::Admin => {
                let section = At::ROOT.key("admin");
                problems.add_clash(&section.key("address"), message, other, remedy);
            }
        }
    }
}

fn admin(document: &AdminDocument, problems: &mut Problems) -> Option<Admin> {
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
        if cidr.prefix_len() == 0 {
            let remedy = "everybody could then choose the address it comes from: \
                          name the proxies' own ranges";
            problems.add(&at, "trusts every address", remedy);
        }
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
        tls_handshake_timeout: Duration::from_millis(document.tls_handshake_timeout_ms),
        keepalive_timeout: Duration::from_millis(document.keepalive_timeout_ms),
        body_timeout: Duration::from_millis(document.body_timeout_ms),
        min_body_rate: NonZeroU32::new(document.min_body_rate),
        stream_idle_timeout: Duration::from_millis(document.stream_idle_timeout_ms),
        http2_max_streams: document.http2_max_streams,
        max_connections: document.max_connections as usize,
        max_connections_per_address: document.max_connections_per_address as usize,
        max_inspected_body: document.max_inspected_body_bytes as usize,
        max_buffered: usize::try_from(document.max_buffered_bytes).unwrap_or(usize::MAX),
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
