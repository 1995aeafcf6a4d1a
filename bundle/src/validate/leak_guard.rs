//! The leak guard of a route in an environment. A secret that is too short to
//! be looked for is injected only where the document says so itself.

use std::collections::BTreeSet;

use crate::model::{LeakGuardMode, LeakGuardSettings, RouteEnvironment};
use crate::problem::{At, Noun, Problems};
use crate::secret::SecretValue;
use crate::template::SecretRef;

use super::context::Names;
use super::settings_merge::Merged;

pub(super) fn leak_guard(merged: &Merged<'_>) -> LeakGuardSettings {
    let mode = merged.value(|settings| &settings.leak_guard);
    LeakGuardSettings {
        mode: mode.unwrap_or_default(),
        allow_range: merged.flag(|settings| &settings.leak_guard_allow_range),
    }
}

/// Tells the secrets that would be injected and not guarded.
pub(super) fn check_lengths(
    route: &str,
    here: &RouteEnvironment,
    merged: &Merged<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) {
    let is_guarded = match here.leak_guard.mode {
        LeakGuardMode::Strict | LeakGuardMode::Lenient => true,
        LeakGuardMode::Off => false,
    };
    if is_guarded && !merged.flag(|settings| &settings.leak_guard_skip_short) {
        for secret in short_secrets(here, names) {
            tell_short(route, secret, here, merged.at(), problems);
        }
    }
}

fn short_secrets<'n>(here: &RouteEnvironment, names: &'n Names<'_>) -> BTreeSet<&'n str> {
    let secrets = here.injected_secrets().into_iter();
    let secrets = secrets.filter_map(|reference| match reference {
        SecretRef::Name(name) => names.secret(name.as_str()),
        SecretRef::Id(id) => names.secret_by_id(id),
    });
    let is_short = |value: &SecretValue| {
        let length = value.expose().trim().len();
        length > 0 && length < LeakGuardSettings::SHORTEST_SECRET
    };
    secrets
        .filter(|secret| secret.values.get(&here.environment).is_some_and(is_short))
        .map(|secret| secret.name.as_str())
        .collect()
}

fn tell_short(
    route: &str,
    secret: &str,
    here: &RouteEnvironment,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let message = format!(
        "the route `{route}` may inject the secret `{secret}`, which has fewer than {} bytes in \
         `{}`: too few for the leak guard to look for",
        LeakGuardSettings::SHORTEST_SECRET,
        here.environment
    );
    let remedy = "use a longer secret, or set leak_guard_skip_short: true";
    problems.add_about(Noun::Secret, &at.key("leak_guard"), message, remedy);
}
