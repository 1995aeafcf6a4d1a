//! Gives every limit its place and the name under which its state outlives
//! the table.

use http::Method;
use knoxcall_bundle::RateLimit;
use knoxcall_bundle::ids::{ClientId, EnvironmentName, KeyId, RouteId, TenantId};

use crate::refusal::LimitScope;
use crate::table::{LimitIndex, LimitSpec};

#[derive(Debug, Default)]
pub(super) struct Limits(Vec<LimitSpec>);

impl Limits {
    pub(super) fn into_specs(self) -> Box<[LimitSpec]> {
        self.0.into()
    }

    pub(super) fn tenant(&mut self, rate: Option<RateLimit>, id: TenantId) -> Option<LimitIndex> {
        Some(self.add(LimitScope::Tenant, format!("tenant/{id}"), rate?))
    }

    pub(super) fn client(&mut self, rate: Option<RateLimit>, id: ClientId) -> Option<LimitIndex> {
        Some(self.add(LimitScope::Client, format!("client/{id}"), rate?))
    }

    /// Key ids are unique inside of a tenant only.
    pub(super) fn key(
        &mut self,
        rate: Option<RateLimit>,
        tenant: TenantId,
        id: &KeyId,
    ) -> Option<LimitIndex> {
        Some(self.add(LimitScope::Key, format!("key/{tenant}/{id}"), rate?))
    }

    pub(super) fn route(
        &mut self,
        rate: Option<RateLimit>,
        route: RouteId,
        environment: &EnvironmentName,
    ) -> Option<LimitIndex> {
        Some(self.add(
            LimitScope::Route,
            format!("route/{route}/{environment}"),
            rate?,
        ))
    }

    pub(super) fn method(
        &mut self,
        rate: Option<RateLimit>,
        route: RouteId,
        environment: &EnvironmentName,
        method: &Method,
    ) -> Option<LimitIndex> {
        let name = format!("method/{route}/{environment}/{method}");
        Some(self.add(LimitScope::Method, name, rate?))
    }

    fn add(&mut self, scope: LimitScope, name: String, rate: RateLimit) -> LimitIndex {
        self.0.push(LimitSpec { scope, name, rate });
        LimitIndex(self.0.len() - 1)
    }
}
