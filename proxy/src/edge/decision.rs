//! The decision about a request, as the calls that make it. What is decided
//! from data is in `filters`; here the head is read from the session, counters
//! are asked, and the body is fetched where somebody must see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use knoxcall_bundle::UnixSeconds;
use knoxcall_counters::{Bucket, Claim, Now, Taken};
use knoxcall_filters::plan::{BodyNeed, BodyState, body_need, plan_body};
use knoxcall_filters::rate_limit::{Quota, limits};
use knoxcall_filters::refusal::LimitScope;
use knoxcall_filters::signature::{ReplayClaim, presented, verify};
use knoxcall_filters::{Admitted, Head, Refusal, Trail, admit_with, hygiene, locate};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use smallvec::SmallVec;

use super::body::{BodyError, BodyLimits, kept_for_retry, read_whole};
use super::context::Context;
use super::findings;
use super::passage::{Passage, Standing, facts};
use super::patience::Patience;
use crate::gateway::Gateway;
use crate::snapshot::Snapshot;

/// Tenant, route, key, client, method: at most five.
type Buckets<'s> = SmallVec<[&'s Bucket; 5]>;

/// In tests, a request with this header panics.
#[cfg(test)]
pub const PANIC_HEADER: &str = "x-test-panic";

/// Why a request is not sent on.
pub enum Stop {
    Refused(Refusal),
    /// The client went away while its body was read.
    Client(Box<pingora::Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Refused(refusal) => Self::Refused(refusal),
            BodyError::Client(error) => Self::Client(error),
        }
    }
}

/// Decides. The context says then to which upstream the request goes.
pub async fn decide<'t>(
    gateway: &Gateway,
    snapshot: &'t Snapshot,
    session: &mut ServerSession,
    context: &mut Context,
    peer: IpAddr,
) -> Result<Passage<'t>, Stop> {
    let now = gateway.clock.at(context.started);
    let unix = unix_seconds(context.arrived);

    let head = head_of(session.req_header());
    #[cfg(test)]
    assert!(!head.headers.contains_key(PANIC_HEADER), "asked for");
    let admitted = judge_head(gateway, snapshot, &head, peer, (now, unix), context)?;
    consult_limits(gateway, snapshot, &admitted, (now, unix), context).await?;
    if admitted.service.signature.is_some() {
        context.note(|record| record.signature_valid = Some(false));
        presented(&admitted, &head, unix)?;
    }
    let need = body_need(&admitted, head.method);
    context.target = Some(admitted.rules.target_index);
    let standing = Standing::of(&admitted);

    let body = fetch_body(session, snapshot, need, context).await?;
    let head = head_of(session.req_header());
    let admitted = standing.on(&head);
    let claim = match admitted.service.signature {
        Some(_) => check_signature(&admitted, &head, body.as_ref(), context)?,
        None => None,
    };
    let (body, secrets_in_body) = make_body(&admitted, &head, body, unix, context)?;
    // Last: what is refused before may be sent again as it is.
    if let Some((claim, now)) = claim {
        claim_once(gateway, &claim, now).await?;
    }
    Ok(Passage {
        standing,
        body,
        secrets_in_body,
        now: unix,
    })
}

/// The body as the upstream gets it, into the context, where it was read; and
/// the names of the secrets that went into it.
fn make_body(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    original: Option<Bytes>,
    now: UnixSeconds,
    context: &mut Context,
) -> Result<(BodyState, Vec<Arc<str>>), Refusal> {
    let Some(original) = original else {
        return Ok((BodyState::Streamed, Vec::new()));
    };
    let rewritten = plan_body(admitted, head, &original, &facts(context, now))?;
    let state = BodyState::of(&original, rewritten.as_ref());
    let (content, secrets) = match rewritten {
        Some(new) => (new.content, new.secrets),
        None => (original, Vec::new()),
    };
    context.buffered.grow_to(content.len())?;
    context.body = Some(content);
    Ok((state, secrets))
}

/// Everything that the head alone decides.
fn judge_head<'t, 'h>(
    gateway: &Gateway,
    snapshot: &'t Snapshot,
    head: &Head<'h>,
    peer: IpAddr,
    (now, unix): (Now, UnixSeconds),
    context: &mut Context,
) -> Result<Admitted<'t, 'h>, Refusal> {
    let site = locate(&snapshot.table, head, peer, unix)?;
    let budgeted = site.address.budget();
    if let Some(address) = budgeted
        && let Some(retry_after) = gateway.counters.unauthorized().exhausted(address, now)
    {
        findings::note_site(context, &site);
        return Err(Refusal::TooManyUnauthorized { retry_after });
    }
    let mut trail = Trail::default();
    let certificate = context.certificate.clone();
    let admitted = admit_with(&site, head, certificate.as_deref(), unix, &mut trail);
    findings::note_trail(context, &trail);
    context.note(|record| record.authorized = admitted.is_ok());
    if let (Err(Refusal::Unauthorized), Some(address)) = (&admitted, budgeted) {
        gateway.counters.unauthorized().spend(address, now);
    }
    admitted
}

async fn consult_limits(
    gateway: &Gateway,
    snapshot: &Snapshot,
    admitted: &Admitted<'_, '_>,
    (now, unix): (Now, UnixSeconds),
    context: &mut Context,
) -> Result<(), Refusal> {
    let buckets: Buckets = limits(admitted)
        .filter_map(|index| snapshot.bucket(index))
        .collect();
    if buckets.is_empty() {
        return Ok(());
    }
    match gateway.counters.take(&buckets, now).await {
        Taken::Granted(quota) => {
            context.quota = quota.map(|quota| on_the_clock(quota, unix));
            Ok(())
        }
        Taken::Refused {
            index,
            retry_after,
            quota,
        } => {
            context.quota = Some(on_the_clock(quota, unix));
            context.note(|record| record.rate_limited = true);
            let refused = limits(admitted).nth(index);
            let limit = refused
                .and_then(|limit| snapshot.table.limits.get(limit.0))
                .map_or(LimitScope::Route, |spec| spec.scope);
            Err(Refusal::RateLimited { limit, retry_after })
        }
    }
}

/// The body, if somebody must see all of it before a peer is chosen.
async fn fetch_body(
    session: &mut ServerSession,
    snapshot: &Snapshot,
    need: BodyNeed,
    context: &mut Context,
) -> Result<Option<Bytes>, Stop> {
    let limits = &snapshot.settings.limits;
    let request = session.req_header();
    let whole = match need {
        BodyNeed::Whole => true,
        // Only where there is room: it could go on without being kept.
        BodyNeed::Stream => {
            kept_for_retry(&request.method, &request.headers, limits.max_inspected_body)
                .is_some_and(|length| context.buffered.grow_to(length).is_ok())
        }
    };
    if !whole {
        session.set_read_timeout(Some(limits.body_timeout));
        return Ok(None);
    }
    let upstream = snapshot.upstream(context.target).ok_or(Refusal::Internal)?;
    let patience = Patience::of(session, &upstream.timeouts, context);
    let limits = BodyLimits {
        bytes: limits.max_inspected_body,
        timeout: limits.body_timeout,
        least_rate: limits.min_body_rate,
        share: &mut context.buffered,
    };
    let read = patience.in_all(read_whole(session, limits)).await;
    let body = read.ok_or(Refusal::BodyTimeout)??;
    findings::note_body(context, session, &body);
    Ok(Some(body))
}

/// What may count only once, and when. By the clock of this moment: the body may
/// have taken longer than the signature lasts, and a claim that has ended would
/// be forgotten, and could be made again.
fn check_signature(
    admitted: &Admitted<'_, '_>,
    head: &Head<'_>,
    body: Option<&Bytes>,
    context: &mut Context,
) -> Result<Option<(ReplayClaim, UnixSeconds)>, Refusal> {
    let now = unix_seconds(SystemTime::now());
    let body = body.map(Bytes::as_ref).unwrap_or_default();
    let claim = verify(admitted, head, body, now)?;
    context.note(|record| record.signature_valid = Some(true));
    Ok(claim.map(|claim| (claim, now)))
}

async fn claim_once(
    gateway: &Gateway,
    claim: &ReplayClaim,
    unix: UnixSeconds,
) -> Result<(), Refusal> {
    if !gateway.may_judge(claim.signed_at.0) {
        return Err(Refusal::SignatureExpired);
    }
    let outcome = gateway
        .counters
        .claim(&claim.key, unix.0, claim.expires.0, claim.signed_at.0)
        .await;
    match outcome {
        Claim::Fresh => Ok(()),
        Claim::Replayed => Err(Refusal::NonceReplayed),
        // Signed before this process could have remembered it.
        Claim::BeforeStart => Err(Refusal::SignatureExpired),
        Claim::Unavailable => Err(Refusal::DependencyUnavailable),
    }
}

pub fn head_of(request: &RequestHeader) -> Head<'_> {
    let host = request.headers.get(http::header::HOST);
    // Of HTTP/2, in its stead; both are equal where there are both.
    let authority = || request.uri.authority().map(|name| name.as_str().as_bytes());
    Head {
        method: &request.method,
        target: hygiene::origin_form(request.raw_path()),
        host: host
            .map(http::HeaderValue::as_bytes)
            .or_else(authority)
            .unwrap_or_default(),
        version: request.version,
        headers: &request.headers,
    }
}

/// Counters know durations, answers tell a time.
fn on_the_clock(quota: knoxcall_counters::Quota, unix: UnixSeconds) -> Quota {
    let wait = quota.reset_after.as_millis().div_ceil(1000) as u64;
    Quota {
        limit: quota.limit,
        remaining: quota.remaining,
        reset: UnixSeconds(unix.0.saturating_add(wait)),
    }
}

/// A clock before 1970 counts as 1970: then signatures and keys have expired.
fn unix_seconds(time: SystemTime) -> UnixSeconds {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    UnixSeconds(since.map(|elapsed| elapsed.as_secs()).unwrap_or_default())
}
