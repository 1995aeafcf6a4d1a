//! A route's defaults, written out: for the effective configuration.

use crate::document::{RouteDocument, SignatureVersionName};

use super::limit::DEFAULT_WINDOW_SEC;
use super::{route, signature};

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
        .get_or_insert(route::DEFAULT_CONNECT_TIMEOUT_MS);
    settings
        .read_timeout_ms
        .get_or_insert(route::DEFAULT_READ_TIMEOUT_MS);
    settings
        .write_timeout_ms
        .get_or_insert(route::DEFAULT_WRITE_TIMEOUT_MS);
    settings
        .idle_timeout_ms
        .get_or_insert(route::DEFAULT_IDLE_TIMEOUT_MS);
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
