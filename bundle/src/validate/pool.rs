//! The pool of a route: its targets, how requests are spread over them, and
//! when one of them is left out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::document::{
    BalanceName, EjectionDocument, HealthCheckDocument, HealthCheckName, RouteSettings,
    TargetDocument,
};
use crate::model::{
    Balance, Ejection, HashKey, HealthCheck, HealthProbe, Pool, Target, WeightedTarget,
};
use crate::problem::{At, Problems};

use super::settings_merge::Merged;
use super::target;

pub(super) const DEFAULT_RETRY_BUDGET_PERCENT: u32 = 20;
const DEFAULT_CHECK_INTERVAL_MS: u64 = 10_000;
const DEFAULT_CHECK_TIMEOUT_MS: u64 = 2_000;
const DEFAULT_HEALTHY_AFTER: u32 = 2;
const DEFAULT_UNHEALTHY_AFTER: u32 = 3;
const DEFAULT_EJECTION_FAILURES: u32 = 5;
const DEFAULT_EJECTION_BASE_MS: u64 = 30_000;
const DEFAULT_EJECTION_PERCENT: u32 = 50;
const DEFAULT_EJECTION_STATUSES: [u16; 3] = [502, 503, 504];

pub(super) fn pool(merged: &Merged<'_>, problems: &mut Problems) -> Pool {
    let max_connections = merged
        .value(|settings| &settings.max_connections_per_target)
        .and_then(NonZeroU32::new);
    let max_pending = merged.pick(|settings| &settings.max_pending_per_target);
    if let (Some(given), None) = (&max_pending, max_connections) {
        let remedy = "add max_connections_per_target";
        let at = given.at.key("max_pending_per_target");
        problems.add(&at, "has no effect by itself", remedy);
    }
    let check = merged.pick(|settings| &settings.health_check);
    let ejection = merged.value_of(|settings| &settings.ejection);
    let budget = merged.value(|settings| &settings.retry_budget_percent);
    Pool {
        targets: Arc::default(),
        balance: balance(merged, problems),
        health_check: check
            .and_then(|given| health_check(given.value, &given.at.key("health_check"), problems)),
        ejection: ejection.map(self::ejection),
        max_pending: max_pending.map_or(max_connections.map_or(0, NonZeroU32::get), |given| {
            *given.value
        }),
        max_connections,
        retry_budget_percent: budget.unwrap_or(DEFAULT_RETRY_BUDGET_PERCENT),
    }
}

fn balance(merged: &Merged<'_>, problems: &mut Problems) -> Balance {
    let header = merged.pick(|settings| &settings.hash_header);
    let given = merged.value(|settings| &settings.balance);
    tell_idle_header(merged, problems);
    let key = header.and_then(|header| {
        let name = HeaderName::try_from(header.value.as_str()).ok();
        if name.is_none() {
            let at = header.at.key("hash_header");
            problems.add(&at, "is not a header name", "letters, digits and -");
        }
        name.map(HashKey::Header)
    });
    match given {
        None | Some(BalanceName::RoundRobin) => Balance::RoundRobin,
        Some(BalanceName::LeastConnections) => Balance::LeastConnections,
        Some(BalanceName::ConsistentHash) => {
            Balance::ConsistentHash(key.unwrap_or(HashKey::ClientAddress))
        }
    }
}

/// A `hash_header` that nothing is hashed by. An environment may balance in
/// another way than its route: it gives no header then.
fn tell_idle_header(merged: &Merged<'_>, problems: &mut Problems) {
    if merged.value(|settings| &settings.balance) == Some(BalanceName::ConsistentHash) {
        return;
    }
    let gives_header = |settings: &RouteSettings| {
        let header = settings.hash_header.as_deref();
        header.is_some_and(|header| !header.is_empty())
    };
    let nearest = merged.settings_where(|own| own.balance.is_some() || gives_header(own));
    if let Some(nearest) = nearest.filter(|nearest| gives_header(nearest.value)) {
        let at = nearest.at.key("hash_header");
        let message = "has no effect without balance: consistent_hash";
        problems.add(&at, message, "write that, or leave hash_header out");
    }
}

fn health_check(
    document: &HealthCheckDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<HealthCheck> {
    let ms = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
    let times = |given: Option<u32>, default| NonZeroU32::new(given.unwrap_or(default));
    Some(HealthCheck {
        probe: probe(document, at, problems)?,
        interval: ms(document.interval_ms, DEFAULT_CHECK_INTERVAL_MS),
        timeout: ms(document.timeout_ms, DEFAULT_CHECK_TIMEOUT_MS),
        healthy_after: times(document.healthy_after, DEFAULT_HEALTHY_AFTER)?,
        unhealthy_after: times(document.unhealthy_after, DEFAULT_UNHEALTHY_AFTER)?,
    })
}

fn probe(
    document: &HealthCheckDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<HealthProbe> {
    match document.kind {
        HealthCheckName::Tcp => {
            let of_http = [
                ("path", document.path.is_some()),
                ("expected_status", document.expected_status.is_some()),
            ];
            for (field, _) in of_http.iter().filter(|(_, given)| *given) {
                problems.add(&at.key(field), "has no effect", "only with type: http");
            }
            Some(HealthProbe::Tcp)
        }
        HealthCheckName::Http => {
            let path = document.path.as_deref().unwrap_or("/");
            let (before, query) = path.split_once('?').unwrap_or((path, ""));
            let is_query_byte = |byte| byte == b'?' || target::is_path_byte(byte);
            let is_sound = before.starts_with('/')
                && before.bytes().all(target::is_path_byte)
                && query.bytes().all(is_query_byte);
            if !is_sound {
                let remedy = "it begins with /; percent-encode what is not a letter or digit";
                problems.add(&at.key("path"), "is not a path", remedy);
                return None;
            }
            let expected = document.expected_status.as_deref().unwrap_or_default();
            Some(HealthProbe::Http {
                path: path.into(),
                expected: expected.into(),
            })
        }
    }
}

fn ejection(document: &EjectionDocument) -> Ejection {
    let failures = document.consecutive_failures;
    let base = document.base_time_ms.unwrap_or(DEFAULT_EJECTION_BASE_MS);
    let statuses = document.statuses.as_deref();
    Ejection {
        consecutive_failures: failures
            .or(Some(DEFAULT_EJECTION_FAILURES))
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
        base_time: Duration::from_millis(base),
        max_percent: document.max_percent.unwrap_or(DEFAULT_EJECTION_PERCENT),
        statuses: statuses.unwrap_or(&DEFAULT_EJECTION_STATUSES).into(),
    }
}

/// Every target of the route, the first of which is *the* target. One alone
/// where `target_base_url` names it.
pub(super) fn targets(
    merged: &Merged<'_>,
    reserved_allowed: bool,
    problems: &mut Problems,
) -> Option<Vec<WeightedTarget>> {
    let Some(given) = merged.settings_where(|settings| has_url(settings) || has_list(settings))
    else {
        let at = merged.at().key("target_base_url");
        problems.add(&at, "is missing", "write https://HOST/PATH");
        return None;
    };
    let (settings, at) = (given.value, given.at);
    let judge = Judge { reserved_allowed };
    match (&settings.target_base_url, &settings.targets) {
        (Some(url), _) if !has_list(settings) => {
            let target = judge.url(url, &at.key("target_base_url"), problems)?;
            Some(vec![WeightedTarget {
                target,
                weight: NonZeroU32::MIN,
            }])
        }
        (_, Some(list)) => {
            let at = at.key("targets");
            if has_url(settings) {
                let remedy = "keep one of the two";
                problems.add(&at, "stands beside target_base_url", remedy);
            }
            judge.list(list, &at, problems)
        }
        (_, None) => None,
    }
}

fn has_url(settings: &RouteSettings) -> bool {
    settings
        .target_base_url
        .as_ref()
        .is_some_and(|url| !url.is_empty())
}

fn has_list(settings: &RouteSettings) -> bool {
    settings
        .targets
        .as_ref()
        .is_some_and(|list| !list.is_empty())
}

struct Judge {
    reserved_allowed: bool,
}

impl Judge {
    fn url(&self, text: &str, at: &At<'_>, problems: &mut Problems) -> Option<Target> {
        let target = target::target(text, at, problems)?;
        target::check_reserved(&target, self.reserved_allowed, at, problems);
        Some(target)
    }

    fn list(
        &self,
        list: &[TargetDocument],
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<WeightedTarget>> {
        let mut targets: Vec<WeightedTarget> = Vec::with_capacity(list.len());
        for (index, document) in list.iter().enumerate() {
            let item = at.index(index);
            let at = item.key("url");
            let Some(target) = self.url(&document.url, &at, problems) else {
                continue;
            };
            if let Some(first) = targets.first() {
                check_alike(&first.target, &target, &at, problems);
            }
            if targets.iter().any(|other| other.target == target) {
                problems.add(&at, "is listed twice", "give the one a higher weight");
            }
            targets.push(WeightedTarget {
                target,
                weight: document
                    .weight
                    .and_then(NonZeroU32::new)
                    .unwrap_or(NonZeroU32::MIN),
            });
        }
        (targets.len() == list.len()).then_some(targets)
    }
}

/// What a request is made of must not depend on where it goes.
fn check_alike(first: &Target, other: &Target, at: &At<'_>, problems: &mut Problems) {
    let remedy = "all targets of a route have the same";
    if other.scheme != first.scheme {
        problems.add(at, "has another scheme than the first target", remedy);
    }
    if other.path != first.path {
        problems.add(at, "has another path than the first target", remedy);
    }
}

pub(super) fn fill_check_defaults(check: &mut HealthCheckDocument) {
    if check.kind == HealthCheckName::Http {
        check.path.get_or_insert_with(|| "/".to_owned());
    }
    check.interval_ms.get_or_insert(DEFAULT_CHECK_INTERVAL_MS);
    check.timeout_ms.get_or_insert(DEFAULT_CHECK_TIMEOUT_MS);
    check.healthy_after.get_or_insert(DEFAULT_HEALTHY_AFTER);
    check.unhealthy_after.get_or_insert(DEFAULT_UNHEALTHY_AFTER);
}

pub(super) fn fill_ejection_defaults(ejection: &mut EjectionDocument) {
    ejection
        .consecutive_failures
        .get_or_insert(DEFAULT_EJECTION_FAILURES);
    ejection
        .base_time_ms
        .get_or_insert(DEFAULT_EJECTION_BASE_MS);
    ejection.max_percent.get_or_insert(DEFAULT_EJECTION_PERCENT);
    ejection
        .statuses
        .get_or_insert_with(|| DEFAULT_EJECTION_STATUSES.to_vec());
}
