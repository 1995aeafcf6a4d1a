//! A target that is a listener of this gateway would send requests in a circle.

use std::net::SocketAddr;

use crate::document::{RouteSettings, TenantDocument};
use crate::model::{Target, TargetHost};
use crate::problem::{At, Problems};
use crate::settings::Settings;

use super::target;

pub(crate) fn own_listeners(tenant: &TenantDocument, settings: &Settings, problems: &mut Problems) {
    let listeners = settings.listeners.iter().map(|listener| listener.address);
    let admin = settings.admin.iter().map(|admin| admin.address);
    let ours: Vec<SocketAddr> = listeners.chain(admin).collect();
    let routes = At::ROOT.key("routes");
    for (index, route) in tenant.routes.iter().enumerate() {
        let at = routes.index(index);
        let allowed = route.settings.allow_reserved_target.unwrap_or(false);
        check(&route.settings, allowed, &ours, &at, problems);
        let environments = at.key("environments");
        for (name, own) in &route.environments {
            let Some(own) = own else { continue };
            let allowed = own.allow_reserved_target.unwrap_or(allowed);
            check(own, allowed, &ours, &environments.key(name), problems);
        }
    }
}

fn check(
    settings: &RouteSettings,
    allowed: bool,
    ours: &[SocketAddr],
    at: &At<'_>,
    problems: &mut Problems,
) {
    if allowed {
        return;
    }
    check_url(
        settings.target_base_url.as_deref(),
        ours,
        &at.key("target_base_url"),
        problems,
    );
    let targets_at = at.key("targets");
    for (index, target) in settings.targets.iter().flatten().enumerate() {
        let at = targets_at.index(index);
        check_url(Some(&target.url), ours, &at.key("url"), problems);
    }
    let configs_at = at.key("method_configs");
    for (index, config) in settings.method_configs.iter().flatten().enumerate() {
        let at = configs_at.index(index);
        let url = config.target_base_url.as_deref();
        check_url(url, ours, &at.key("target_base_url"), problems);
    }
}

fn check_url(url: Option<&str>, ours: &[SocketAddr], at: &At<'_>, problems: &mut Problems) {
    // A URL that is none has been told already.
    let Some(target) = url.and_then(|url| target::parse(url.trim()).ok()) else {
        return;
    };
    if ours.iter().any(|listener| reaches(&target, *listener)) {
        problems.add(
            at,
            "is a listener of this gateway",
            "name the upstream; allow_reserved_target: true permits it",
        );
    }
}

fn reaches(target: &Target, listener: SocketAddr) -> bool {
    let everywhere = listener.ip().is_unspecified();
    let same_host = match &target.host {
        TargetHost::Address(address) => {
            *address == listener.ip() || (everywhere && address.is_loopback())
        }
        TargetHost::Name(name) => {
            name.as_str() == "localhost" && (everywhere || listener.ip().is_loopback())
        }
    };
    same_host && target.port == listener.port()
}
