//! What the decision leaves behind: enough to make the upstream's head from the
//! client's, as often as a try is made.

use std::net::IpAddr;
use std::sync::Arc;

use knoxcall_bundle::UnixSeconds;
use knoxcall_filters::plan::{BodyState, RequestFacts, plan};
use knoxcall_filters::table::{MethodRules, RouteEntry, Service, TenantTable};
use knoxcall_filters::{Admitted, Caller, ClientAddress, Head, Refusal};
use pingora::http::RequestHeader;

use super::context::Context;
use super::decision::head_of;
use super::findings;
use super::header_edit::upstream_request;

/// A request that may pass, and all that its upstream's head is made of: once
/// for each try, because making one costs no more than a copy.
pub struct Passage<'t> {
    pub standing: Standing<'t>,
    pub body: BodyState,
    pub secrets_in_body: Vec<Arc<str>>,
    pub now: UnixSeconds,
}

impl<'t> Passage<'t> {
    pub fn client(&self) -> Option<IpAddr> {
        self.standing.address.client
    }

    pub fn service(&self) -> &'t Service {
        self.standing.service
    }

    /// What the upstream gets in place of what the client sent.
    pub fn head(
        &self,
        client: &RequestHeader,
        context: &mut Context,
    ) -> Result<Box<RequestHeader>, Refusal> {
        let head = head_of(client);
        let admitted = self.standing.on(&head);
        let plan = plan(&admitted, &head, self.body, &facts(context, self.now))?;
        findings::note_secrets(context, &plan.secrets_used, &self.secrets_in_body);
        upstream_request(client, plan.headers, &plan.path_and_query)
            .map(Box::new)
            .map_err(|_| Refusal::Internal)
    }
}

pub fn facts(context: &Context, now: UnixSeconds) -> RequestFacts<'_> {
    RequestFacts {
        request_id: context.id.header_value(),
        now,
        proto: context.proto,
        span: context.trace_span(),
    }
}

/// What was admitted, without the head: that is borrowed from the session, and
/// the session is needed to read the body.
pub struct Standing<'t> {
    tenant: &'t TenantTable,
    route: &'t Arc<RouteEntry>,
    service: &'t Service,
    rules: &'t Arc<MethodRules>,
    caller: Caller<'t>,
    address: ClientAddress,
    /// The client's path is the end of the target's: only prefixes are taken off.
    path_length: usize,
}

impl<'t> Standing<'t> {
    pub fn of(admitted: &Admitted<'t, '_>) -> Self {
        Self {
            tenant: admitted.tenant,
            route: admitted.route,
            service: admitted.service,
            rules: admitted.rules,
            caller: admitted.caller,
            address: admitted.address,
            path_length: admitted.path.len(),
        }
    }

    pub fn on<'h>(&self, head: &Head<'h>) -> Admitted<'t, 'h> {
        let path = head.path();
        let from = path.len().saturating_sub(self.path_length);
        Admitted {
            tenant: self.tenant,
            route: self.route,
            service: self.service,
            rules: self.rules,
            caller: self.caller,
            address: self.address,
            path: path.get(from..).unwrap_or_default(),
        }
    }
}
