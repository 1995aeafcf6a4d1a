//! Which limits a request is subject to, and how an answer speaks of them.
//! The counting itself needs shared state and is done elsewhere.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use knoxcall_bundle::UnixSeconds;

use crate::admit::Admitted;
use crate::names::{RATE_LIMIT_LIMIT, RATE_LIMIT_REMAINING, RATE_LIMIT_RESET};
use crate::table::LimitIndex;

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests and burst together.
    pub limit: u64,
    pub remaining: u64,
    /// When all of it will be there again.
    pub reset: UnixSeconds,
}

/// The limits of a request in the order in which they are asked: tenant,
/// route, caller (its key's own and its client's, where either is limited),
/// method. A request without a caller has none of the third kind.
pub fn limits(admitted: &Admitted<'_, '_>) -> impl Iterator<Item = LimitIndex> + use<> {
    [
        admitted.tenant.limit,
        admitted.service.limit,
        admitted.caller.key().and_then(|key| key.limit),
        admitted.caller.client().and_then(|client| client.limit),
        admitted.rules.limit,
    ]
    .into_iter()
    .flatten()
}

impl Quota {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix seconds).
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 3] {
        [
            (RATE_LIMIT_LIMIT, HeaderValue::from(self.limit)),
            (RATE_LIMIT_REMAINING, HeaderValue::from(self.remaining)),
            (RATE_LIMIT_RESET, HeaderValue::from(self.reset.0)),
        ]
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), rounded up, so that
/// who comes back then is not refused again; never 0.
pub fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    let begun = u64::from(wait.subsec_nanos() > 0);
    let seconds = wait.as_secs().saturating_add(begun).max(1);
    (RETRY_AFTER, HeaderValue::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::LimitScope;
    use crate::sample::{self, NOW, client_address, rate_limit};
    use crate::testing::{request, tenant_with};
    use crate::{Trail, admit, locate};

    /// The limits of a request to a route where everything is limited.
    fn asked(open: bool, with_key: bool) -> Vec<LimitScope> {
        let mut environment = sample::environment("production");
        environment.open = open;
        environment.rate_limit = Some(rate_limit(10));
        environment.method_configs = vec![knoxcall_bundle::MethodConfig {
            method: http::Method::GET,
            target: None,
            headers: None,
            body: None,
            rate_limit: Some(rate_limit(5)),
        }];
        let mut tenant = tenant_with(environment);
        tenant.rate_limit = Some(rate_limit(100));
        tenant.api_keys[0].rate_limit = Some(rate_limit(20));
        tenant.clients[0].rate_limit = Some(rate_limit(30));
        let table = sample::table(tenant);
        let mut request = request("/");
        if !with_key {
            request.headers.remove("x-knoxcall-key");
        }
        let head = request.head();
        let site = locate(&table, &head, client_address(), NOW).unwrap();
        let admitted = admit(&site, &head, NOW, &mut Trail::default()).unwrap();
        limits(&admitted)
            .map(|index| table.limits[index.0].scope)
            .collect()
    }

    #[test]
    fn asks_from_the_widest_limit_to_the_narrowest() {
        use LimitScope::{Client, Key, Method, Route, Tenant};
        assert_eq!(asked(false, true), [Tenant, Route, Key, Client, Method]);
        assert_eq!(asked(false, false), [Tenant, Route, Client, Method]);
    }

    #[test]
    fn asks_no_callers_limit_where_nobody_is_asked_for() {
        use LimitScope::{Method, Route, Tenant};
        assert_eq!(asked(true, false), [Tenant, Route, Method]);
    }

    #[test]
    fn writes_plain_numbers() {
        let quota = Quota {
            limit: 10,
            remaining: 7,
            reset: UnixSeconds(1_700_000_000),
        };
        let headers = quota.headers();
        let texts = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(
            texts,
            [
                "x-ratelimit-limit: 10",
                "x-ratelimit-remaining: 7",
                "x-ratelimit-reset: 1700000000",
            ]
        );
    }

    #[test]
    fn rounds_the_wait_up_and_never_to_nothing() {
        for (wait, seconds) in [
            (0, "1"),
            (1, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (59_500, "60"),
        ] {
            assert_eq!(
                retry_after(Duration::from_millis(wait)).1,
                seconds,
                "{wait}"
            );
        }
    }
}
