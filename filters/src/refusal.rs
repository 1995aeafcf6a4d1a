//! Every way in which the gateway says no: one variant, one stable code, one
//! HTTP status, one message. `docs/refusals.md` is generated from here.
//!
//! A message tells a caller what to change; what it must not learn (which
//! routes exist, what a secret is called) is in no message.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Serialize;

/// Why a request is not (or no longer) served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    // === before anything is decided ===
    Malformed(Malformation),
    /// No complete head within the deadline.
    HeadTimeout,
    HeadTooLarge,
    /// TRACE and CONNECT.
    MethodNotSupported,
    /// Not a host of ours, or a rolled one.
    UnknownHost,
    InvalidPath,
    /// Too many unauthorized requests from one address.
    TooManyUnauthorized {
        retry_after: Duration,
    },

    // === the caller ===
    /// Opaque: says nothing of routes, environments or keys.
    Unauthorized,
    RouteNotFound,
    EnvironmentNotConfigured,
    EnvironmentDisabled,
    ScopeDenied,
    ClientNotAllowed,
    MethodNotAllowed {
        allowed: Vec<Method>,
    },
    IpNotAllowed,
    RateLimited {
        limit: LimitScope,
        retry_after: Duration,
    },

    // === the signature ===
    SignatureMissing,
    SignatureInvalid,
    SignatureExpired,
    NonceReplayed,

    // === the body ===
    BodyTooLarge,
    BodyNotJson,
    BodyTimeout,
    SecretNotAllowed,

    // === ours to deliver, and we cannot ===
    SecretUnavailable,
    DependencyUnavailable,
    Overloaded,
    Internal,

    // === the upstream ===
    UpstreamUnresolved,
    UpstreamForbidden,
    /// Every endpoint has as many requests as it may, and as many wait.
    UpstreamOverloaded,
    UpstreamUnreachable,
    UpstreamTls,
    UpstreamFailed,
    UpstreamTimeout,
    /// The answer cannot be changed as the route says.
    TransformFailed,
    /// The answer may hold a secret, and cannot be looked into.
    ResponseUninspectable,
}

/// What of the message's form is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    MissingHost,
    InvalidHost,
    HostMismatch,
    AmbiguousLength,
    UnsupportedTransferEncoding,
    InvalidTarget,
    InvalidHead,
    InvalidBody,
    DuplicateHeader,
}

/// Which limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitScope {
    Tenant,
    Route,
    Client,
    Key,
    Method,
}

/// How long to wait where we cannot know better, in seconds.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// For `Allow` where no route decides: what a route may serve at all.
const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::InvalidPath => StatusCode::BAD_REQUEST,
            Self::Unauthorized
            | Self::SignatureMissing
            | Self::SignatureInvalid
            | Self::SignatureExpired
            | Self::NonceReplayed => StatusCode::UNAUTHORIZED,
            Self::ScopeDenied
            | Self::ClientNotAllowed
            | Self::IpNotAllowed
            | Self::SecretNotAllowed => StatusCode::FORBIDDEN,
            Self::RouteNotFound | Self::EnvironmentNotConfigured | Self::EnvironmentDisabled => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotSupported | Self::MethodNotAllowed { .. } => {
                StatusCode::METHOD_NOT_ALLOWED
            }
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::BodyNotJson => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyUnauthorized { .. } | Self::RateLimited { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamUnresolved
            | Self::UpstreamForbidden
            | Self::UpstreamUnreachable
            | Self::UpstreamTls
            | Self::UpstreamFailed
            | Self::TransformFailed
            | Self::ResponseUninspectable => StatusCode::BAD_GATEWAY,
            Self::SecretUnavailable
            | Self::DependencyUnavailable
            | Self::Overloaded
            | Self::UpstreamOverloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable `type` of the envelope; also the metric's label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::HeadTimeout => "request_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::MethodNotSupported => "method_not_supported",
            Self::UnknownHost => "misdirected_request",
            Self::InvalidPath => "invalid_path",
            Self::TooManyUnauthorized { .. } => "too_many_unauthorized",
            Self::Unauthorized => "unauthorized",
            Self::RouteNotFound => "route_not_found",
            Self::EnvironmentNotConfigured => "environment_not_configured",
            Self::EnvironmentDisabled => "environment_disabled",
            Self::ScopeDenied => "scope_denied",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::RateLimited { .. } => "rate_limited",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureInvalid => "signature_invalid",
            Self::SignatureExpired => "signature_expired",
            Self::NonceReplayed => "nonce_replayed",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyNotJson => "body_not_json",
            Self::BodyTimeout => "body_timeout",
            Self::SecretNotAllowed => "secret_not_allowed",
            Self::SecretUnavailable => "secret_unavailable",
            Self::DependencyUnavailable => "dependency_unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal_error",
            Self::UpstreamUnresolved => "upstream_unresolved",
            Self::UpstreamForbidden => "upstream_forbidden",
            Self::UpstreamOverloaded => "upstream_overloaded",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::TransformFailed => "transform_failed",
            Self::ResponseUninspectable => "response_uninspectable",
        }
    }

    /// For the caller.
    pub fn message(&self) -> Cow<'static, str> {
        let text = match self {
            Self::RateLimited { limit, .. } => {
                return Cow::Owned(format!("the rate limit of {limit} is used up"));
            }
            Self::MethodNotAllowed { allowed } => {
                return Cow::Owned(format!("the route serves {} only", listed(allowed)));
            }
            Self::Malformed(what) => what.message(),
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::HeadTooLarge => "the request head is too large",
            Self::MethodNotSupported => "TRACE and CONNECT are not served",
            Self::UnknownHost => "this host is not served here",
            Self::InvalidPath => {
                "the path must not contain dot segments, encoded slashes or backslashes, nor begin with two slashes"
            }
            Self::TooManyUnauthorized { .. } => "too many unauthorized requests from this address",
            Self::Unauthorized => "unauthorized",
            Self::RouteNotFound => "no such route",
            Self::EnvironmentNotConfigured => "the route does not serve this environment",
            Self::EnvironmentDisabled => "the route is paused in this environment",
            Self::ScopeDenied => "the key is not valid for this route and environment",
            Self::ClientNotAllowed => "the route requires a client that is assigned to it",
            Self::IpNotAllowed => "the route does not serve this address",
            Self::SignatureMissing => "the route requires a signature and its timestamp",
            Self::SignatureInvalid => "the signature does not match the request",
            Self::SignatureExpired => "the signature's timestamp is out of tolerance",
            Self::NonceReplayed => "the signature or its nonce has been used before",
            Self::BodyTooLarge => "the request body is too large to be inspected",
            Self::BodyNotJson => "the request body must be a JSON object with distinct names",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::SecretNotAllowed => "the body names a secret that the route does not allow",
            Self::SecretUnavailable => "a secret that the route needs is not available",
            Self::DependencyUnavailable => "a dependency of the gateway is not available",
            Self::Overloaded => "the gateway has too much to do",
            Self::Internal => "the gateway has failed",
            Self::UpstreamUnresolved => "the upstream's name does not resolve",
            Self::UpstreamForbidden => "the upstream's address is reserved",
            Self::UpstreamOverloaded => "the upstream has too much to do",
            Self::UpstreamUnreachable => "the upstream does not accept connections",
            Self::UpstreamTls => "the upstream's TLS handshake or certificate failed",
            Self::UpstreamFailed => "the upstream broke off or sent no valid answer",
            Self::UpstreamTimeout => "the upstream did not answer in time",
            Self::TransformFailed => {
                "the upstream's answer cannot be changed as the route requires"
            }
            Self::ResponseUninspectable => {
                "the upstream's answer is encoded and cannot be searched for secrets"
            }
        };
        Cow::Borrowed(text)
    }

    /// The value of `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::TooManyUnauthorized { retry_after } | Self::RateLimited { retry_after, .. } =
            self
        {
            return Some(*retry_after);
        }
        matches!(
            self,
            Self::DependencyUnavailable | Self::Overloaded | Self::UpstreamOverloaded
        )
        .then_some(SHORT_WAIT)
    }

    /// The value of `Allow`, which a 405 must carry (RFC 9110 section 15.5.6).
    pub fn allow(&self) -> Option<Cow<'static, str>> {
        if let Self::MethodNotAllowed { allowed } = self {
            return Some(Cow::Owned(listed(allowed)));
        }
        matches!(self, Self::MethodNotSupported).then_some(Cow::Borrowed(COMMON_METHODS))
    }

    /// Where the request ends is not known any more, or what is still to come
    /// is not worth reading: no further request is read from the connection.
    pub fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::HeadTimeout
                | Self::HeadTooLarge
                | Self::MethodNotSupported
                | Self::BodyTooLarge
                | Self::BodyTimeout
        )
    }

    /// Appends `{"error":{"type":…,"message":…,"request_id":…}}`.
    pub fn envelope(&self, request_id: &str, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'a str,
            message: &'a str,
            request_id: &'a str,
        }
        let (r#type, message) = (self.code(), self.message());
        let error = Body {
            r#type,
            message: &message,
            request_id,
        };
        // Strings into memory: there is nothing that could fail.
        let _ = serde_json::to_writer(out, &Envelope { error });
    }

    /// One of each variant, in their order; of the malformations, each.
    pub fn all_examples() -> Vec<Self> {
        let retry_after = SHORT_WAIT;
        let limit = LimitScope::Route;
        let mut all: Vec<Self> = Malformation::ALL.map(Self::Malformed).into();
        all.extend([
            Self::HeadTimeout,
            Self::HeadTooLarge,
            Self::MethodNotSupported,
            Self::UnknownHost,
            Self::InvalidPath,
            Self::TooManyUnauthorized { retry_after },
            Self::Unauthorized,
            Self::RouteNotFound,
            Self::EnvironmentNotConfigured,
            Self::EnvironmentDisabled,
            Self::ScopeDenied,
            Self::ClientNotAllowed,
            Self::MethodNotAllowed {
                allowed: vec![Method::GET],
            },
            Self::IpNotAllowed,
            Self::RateLimited { limit, retry_after },
            Self::SignatureMissing,
            Self::SignatureInvalid,
            Self::SignatureExpired,
            Self::NonceReplayed,
            Self::BodyTooLarge,
            Self::BodyNotJson,
            Self::BodyTimeout,
            Self::SecretNotAllowed,
            Self::SecretUnavailable,
            Self::DependencyUnavailable,
            Self::Overloaded,
            Self::Internal,
            Self::UpstreamUnresolved,
            Self::UpstreamForbidden,
            Self::UpstreamOverloaded,
            Self::UpstreamUnreachable,
            Self::UpstreamTls,
            Self::UpstreamFailed,
            Self::UpstreamTimeout,
            Self::TransformFailed,
            Self::ResponseUninspectable,
        ]);
        all
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl std::error::Error for Refusal {}

impl Malformation {
    const ALL: [Self; 9] = [
        Self::MissingHost,
        Self::InvalidHost,
        Self::HostMismatch,
        Self::AmbiguousLength,
        Self::UnsupportedTransferEncoding,
        Self::InvalidTarget,
        Self::InvalidHead,
        Self::InvalidBody,
        Self::DuplicateHeader,
    ];

    fn message(self) -> &'static str {
        match self {
            Self::MissingHost => "the Host header is missing",
            Self::InvalidHost => "the Host header must be host or host:port",
            Self::HostMismatch => "the request target and the Host header name different hosts",
            Self::AmbiguousLength => "the length of the request body is ambiguous",
            Self::UnsupportedTransferEncoding => "the only transfer coding served is chunked, once",
            Self::InvalidTarget => "the request target is not a valid path and query",
            Self::InvalidHead => "the request head is not well-formed",
            Self::InvalidBody => "the request body is not well-formed in its chunks",
            Self::DuplicateHeader => "a header that must be single was sent twice",
        }
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "the tenant",
            Self::Route => "the route",
            Self::Client => "the client",
            Self::Key => "the key",
            Self::Method => "the method",
        })
    }
}

fn listed(methods: &[Method]) -> String {
    methods
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `docs/refusals.md`, whole.
pub fn markdown_table() -> String {
    let mut page = String::from(
        "# Refusals\n\n\
        Every answer that the gateway gives in its own name carries\n\
        `{\"error\":{\"type\":…,\"message\":…,\"request_id\":…}}`. The type is stable; the message is for people.\n\n\
        | Status | `type` | `message` | Other headers | Connection |\n\
        | ---: | --- | --- | --- | --- |\n",
    );
    for refusal in Refusal::all_examples() {
        let headers = match (refusal.retry_after(), refusal.allow()) {
            (Some(_), _) => "`Retry-After`",
            (None, Some(_)) => "`Allow`",
            (None, None) => "",
        };
        let connection = if refusal.closes_connection() {
            "closed"
        } else {
            "kept"
        };
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | {headers} | {connection} |",
            refusal.status().as_u16(),
            refusal.code(),
            refusal.message(),
        );
    }
    page.push_str("\nThis page is generated from `filters/src/refusal.rs`.\n");
    page
}

#[cfg(test)]
mod tests;
