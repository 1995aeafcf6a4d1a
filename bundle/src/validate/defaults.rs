//! A route's defaults, written out: for the effective configuration.

use crate::document::{
    BalanceName, NotJsonName, ResponseDecodingName, RouteDocument, RouteSettings,
    SignatureVersionName,
};

use super::limit::DEFAULT_WINDOW_SEC;
use super::{pool, signature, upstream};

pub(crate) fn fill_route_defaults(route: &mut RouteDocument) {
    route.name = route.name.take().or_else(|| route.slug.clone());
    for rule in &mut route.match_rules {
        rule.path_prefix.get_or_insert_with(|| "/".to_owned());
    }
    let settings = &mut route.settings;
    settings.enabled.get_or_insert(true);
    settings.open.get_or_insert(false);
    settings.requires_clients.get_or_insert(false);
    settings.allow_reserved_target.get_or_insert(false);
    settings
        .connect_timeout_ms
        .get_or_insert(upstream::DEFAULT_CONNECT_TIMEOUT_MS);
    settings
        .read_timeout_ms
        .get_or_insert(upstream::DEFAULT_READ_TIMEOUT_MS);
    settings
        .write_timeout_ms
        .get_or_insert(upstream::DEFAULT_WRITE_TIMEOUT_MS);
    settings
        .idle_timeout_ms
        .get_or_insert(upstream::DEFAULT_IDLE_TIMEOUT_MS);
    fill_upstream_defaults(settings);
    settings.leak_guard.get_or_insert_default();
    settings.leak_guard_allow_range.get_or_insert(false);
    settings.leak_guard_skip_short.get_or_insert(false);
    settings
        .response_decoding
        .get_or_insert(ResponseDecodingName::Identity);
    if settings.response_body.is_some() {
        settings
            .response_not_json
            .get_or_insert(NotJsonName::Refuse);
    }
    if settings.rate_limit_requests.is_some() {
        settings.rate_limit_enabled.get_or_insert(true);
        settings
            .rate_limit_window_sec
            .get_or_insert(DEFAULT_WINDOW_SEC);
        settings.rate_limit_burst.get_or_insert(0);
    }
    if !*settings.require_signature.get_or_insert(false) {
        return;
    }
    let text = |text: &str| text.to_owned();
    settings
        .signature_version
        .get_or_insert(SignatureVersionName::V1);
    settings
        .signature_tolerance_sec
        .get_or_insert(signature::DEFAULT_TOLERANCE_SEC);
    settings
        .signature_header
        .get_or_insert_with(|| text(signature::DEFAULT_SIGNATURE_HEADER));
    settings
        .timestamp_header
        .get_or_insert_with(|| text(signature::DEFAULT_TIMESTAMP_HEADER));
    settings
        .nonce_header
        .get_or_insert_with(|| text(signature::DEFAULT_NONCE_HEADER));
}

fn fill_upstream_defaults(settings: &mut RouteSettings) {
    settings.protocol.get_or_insert(upstream::DEFAULT_PROTOCOL);
    settings.balance.get_or_insert(BalanceName::RoundRobin);
    settings.first_byte_timeout_ms = settings.first_byte_timeout_ms.or(settings.read_timeout_ms);
    settings
        .retry_budget_percent
        .get_or_insert(pool::DEFAULT_RETRY_BUDGET_PERCENT);
    settings.max_pending_per_target = settings
        .max_pending_per_target
        .or(settings.max_connections_per_target);
    for target in settings.targets.iter_mut().flatten() {
        target.weight.get_or_insert(1);
    }
    if let Some(check) = &mut settings.health_check {
        pool::fill_check_defaults(check);
    }
    if let Some(ejection) = &mut settings.ejection {
        pool::fill_ejection_defaults(ejection);
    }
}
