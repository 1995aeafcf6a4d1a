//! The four `rate_limit_*` fields.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::model::RateLimit;
use crate::problem::{At, Problems};

/// Seconds, where no window is given.
pub(super) const DEFAULT_WINDOW_SEC: u32 = 60;

#[derive(Clone, Copy, Default)]
pub(super) struct LimitFields {
    pub(super) enabled: Option<bool>,
    pub(super) requests: Option<u32>,
    pub(super) window_sec: Option<u32>,
    pub(super) burst: Option<u32>,
}

/// Takes the fields out of any of the documents that have them.
macro_rules! limit_fields {
    ($document:expr) => {
        $crate::validate::limit::LimitFields {
            enabled: $document.rate_limit_enabled,
            requests: $document.rate_limit_requests,
            window_sec: $document.rate_limit_window_sec,
            burst: $document.rate_limit_burst,
        }
    };
}
pub(super) use limit_fields;

pub(super) fn rate_limit(
    fields: LimitFields,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<RateLimit> {
    let Some(requests) = fields.requests else {
        orphans(fields, at, problems);
        return None;
    };
    if fields.enabled == Some(false) {
        return None;
    }
    Some(RateLimit {
        requests: positive(requests, "rate_limit_requests", at, problems)?,
        window: Duration::from_secs(u64::from(
            positive(
                fields.window_sec.unwrap_or(DEFAULT_WINDOW_SEC),
                "rate_limit_window_sec",
                at,
                problems,
            )?
            .get(),
        )),
        burst: fields.burst.unwrap_or(0),
    })
}

/// A window without a limit limits nothing; whoever wrote it thinks it does.
fn orphans(fields: LimitFields, at: &At<'_>, problems: &mut Problems) {
    let enabled = fields.enabled.filter(|enabled| *enabled);
    for (given, name) in [
        (enabled.is_some(), "rate_limit_enabled"),
        (fields.window_sec.is_some(), "rate_limit_window_sec"),
        (fields.burst.is_some(), "rate_limit_burst"),
    ] {
        if given {
            problems.add(
                &at.key(name),
                "limits nothing without rate_limit_requests",
                "add rate_limit_requests, or leave it out",
            );
        }
    }
}

fn positive(value: u32, name: &str, at: &At<'_>, problems: &mut Problems) -> Option<NonZeroU32> {
    let positive = NonZeroU32::new(value);
    if positive.is_none() {
        let remedy = "at least 1; rate_limit_enabled: false lifts the limit";
        problems.add(&at.key(name), "is too small", remedy);
    }
    positive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_window_of_a_minute_and_no_burst_unless_told() {
        let fields = LimitFields {
            requests: Some(5),
            ..LimitFields::default()
        };
        let limit = rate_limit(fields, &At::ROOT, &mut Problems::default()).unwrap();
        assert_eq!(limit.window, Duration::from_secs(60));
        assert_eq!((limit.requests.get(), limit.burst), (5, 0));
    }

    #[test]
    fn a_limit_can_be_lifted() {
        let fields = LimitFields {
            enabled: Some(false),
            requests: Some(5),
            ..LimitFields::default()
        };
        assert_eq!(
            rate_limit(fields, &At::ROOT, &mut Problems::default()),
            None
        );
    }

    #[test]
    fn refuses_a_window_or_burst_without_a_limit() {
        let fields = LimitFields {
            window_sec: Some(60),
            burst: Some(5),
            ..LimitFields::default()
        };
        let mut problems = Problems::default();
        assert_eq!(rate_limit(fields, &At::ROOT, &mut problems), None);
        assert_eq!(problems.len(), 2);
    }
}
