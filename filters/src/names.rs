//! The names of the headers that the gateway reads, writes or withholds, in
//! one place.

use http::HeaderName;

/// Every header under this prefix is ours and goes no further.
pub const OWN_PREFIX: &str = "x-knoxcall-";

pub const ROUTE: HeaderName = HeaderName::from_static("x-knoxcall-route");
pub const KEY: HeaderName = HeaderName::from_static("x-knoxcall-key");
pub const ENVIRONMENT: HeaderName = HeaderName::from_static("x-knoxcall-environment");

pub const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Always ours: a client's own is recorded only.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Present exactly when the upstream answered.
pub const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-knox-upstream-status");

pub const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Headers by which some upstreams let a request change its own method.
pub const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];
