//! A route's base settings and what an environment puts in their place. What
//! is null or empty there is as in the base; what is not replaces it whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::document::RouteSettings;
use crate::problem::At;

use super::limit::LimitFields;

/// The settings that hold in one environment, each with its place.
#[derive(Clone, Copy)]
pub(super) struct Merged<'a> {
    base: &'a RouteSettings,
    base_at: &'a At<'a>,
    own: Option<(&'a RouteSettings, &'a At<'a>)>,
}

/// A setting and the place of the settings it stands in.
pub(super) struct Setting<'a, T> {
    pub(super) value: T,
    pub(super) at: &'a At<'a>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(
        (base, base_at): (&'a RouteSettings, &'a At<'a>),
        own: Option<(&'a RouteSettings, &'a At<'a>)>,
    ) -> Self {
        Self { base, base_at, own }
    }

    /// The environment's setting if it gives one, else the base's.
    pub(super) fn pick<T: Given + 'a>(
        &self,
        field: impl Fn(&'a RouteSettings) -> &'a Option<T>,
    ) -> Option<Setting<'a, &'a T>> {
        let given = |settings| field(settings).as_ref().filter(|value| value.is_given());
        let own = self.own.and_then(|(settings, at)| {
            Some(Setting {
                value: given(settings)?,
                at,
            })
        });
        own.or_else(|| {
            Some(Setting {
                value: given(self.base)?,
                at: self.base_at,
            })
        })
    }

    pub(super) fn value<T: Given + Copy + 'a>(
        &self,
        field: impl Fn(&'a RouteSettings) -> &'a Option<T>,
    ) -> Option<T> {
        self.pick(field).map(|setting| *setting.value)
    }

    pub(super) fn value_of<T: Given + 'a>(
        &self,
        field: impl Fn(&'a RouteSettings) -> &'a Option<T>,
    ) -> Option<&'a T> {
        self.pick(field).map(|setting| setting.value)
    }

    /// The environment's settings where they give any of several that stand
    /// for one another, else the base's where those do.
    pub(super) fn settings_where(
        &self,
        gives: impl Fn(&RouteSettings) -> bool,
    ) -> Option<Setting<'a, &'a RouteSettings>> {
        let base = Some((self.base, self.base_at));
        let mut all = [self.own, base].into_iter().flatten();
        all.find(|(settings, _)| gives(settings))
            .map(|(value, at)| Setting { value, at })
    }

    pub(super) fn flag(&self, field: impl Fn(&'a RouteSettings) -> &'a Option<bool>) -> bool {
        self.value(field).unwrap_or(false)
    }

    /// Where a mistake is told that comes of several settings together.
    pub(super) fn at(&self) -> &'a At<'a> {
        self.own.map_or(self.base_at, |(_, at)| at)
    }

    pub(super) fn limit(&self) -> Setting<'a, LimitFields> {
        let requests = self.pick(|settings| &settings.rate_limit_requests);
        Setting {
            at: requests.map_or(self.base_at, |setting| setting.at),
            value: LimitFields {
                enabled: self.value(|settings| &settings.rate_limit_enabled),
                requests: self.value(|settings| &settings.rate_limit_requests),
                window_sec: self.value(|settings| &settings.rate_limit_window_sec),
                burst: self.value(|settings| &settings.rate_limit_burst),
            },
        }
    }
}

/// Whether a value says something: an empty one does not.
pub(super) trait Given {
    fn is_given(&self) -> bool;
}

macro_rules! given {
    (always: $($always:ty),+; unless empty: $($filled:ty),+) => {
        $(impl Given for $always {
            fn is_given(&self) -> bool {
                true
            }
        })+
        $(impl Given for $filled {
            fn is_given(&self) -> bool {
                !self.is_empty()
            }
        })+
    };
}

given!(
    always: crate::document::LeakGuardMode, crate::document::NotJsonName, crate::document::ResponseDecodingName, bool, u32, u64, crate::document::SignatureVersionName, crate::document::BalanceName,
        crate::document::ProtocolName, crate::document::HealthCheckDocument,
        crate::document::EjectionDocument, crate::document::UpstreamCertificateDocument;
    unless empty: crate::document::ResponseHeadersDocument, Vec<crate::document::BodyRuleDocument>,
        String, Vec<String>, BTreeMap<String, String>, Map<String, Value>,
        Vec<crate::document::MethodConfigDocument>
);
