//! An answer on its way to the client: what its route's rules make of it, and
//! what its leak guard masks. A route with neither sends each part as it comes.
//!
//! A head leaves with the first part that may leave: rules for bodies need all
//! of the body first, and a head that vouches for its body waits for it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use knoxcall_filters::Refusal;
use knoxcall_filters::leak_guard::{AnswerGuard, HELD_BODY};
use knoxcall_filters::response_rules::{Answer, BodyAction, Collect, TransformError};
use knoxcall_filters::table::Service;
use knoxcall_ledger::Text;
use pingora::http::{RequestHeader, ResponseHeader};

use super::answer_head::{AnswerHead, Ending};
use super::context::Context;

pub struct Outgoing {
    guard: Option<AnswerGuard>,
    /// Until it has left.
    head: Option<AnswerHead>,
    waits_for: WaitsFor,
    held: BytesMut,
    /// The body is not the upstream's own.
    is_collected: bool,
}

/// What must be here before anything leaves.
enum WaitsFor {
    Nothing,
    /// All of the body, or so much of it that its head cannot vouch for it.
    Body,
    /// All of the body, to be changed.
    Whole(Collect),
}

/// What may leave now.
#[derive(Default)]
pub struct Leaving {
    pub head: Option<(Box<ResponseHeader>, Ending)>,
    pub part: Bytes,
}

impl Outgoing {
    /// Decides by the upstream's head. Nothing leaves yet.
    pub fn begin(
        service: &Service,
        mut head: AnswerHead,
        request: &RequestHeader,
        context: &mut Context,
    ) -> Result<Self, Refusal> {
        let limit = context.snapshot.settings.limits.max_inspected_body;
        let answer = Answer {
            method: &request.method,
            status: head.status,
        };
        let action = match &service.response_rules {
            Some(rules) => rules
                .head(answer, &mut head.headers, limit)
                .map_err(|error| failed(error, context))?,
            None => BodyAction::Stream,
        };
        let (guard, waits_for) = match action {
            BodyAction::Collect(collect) => (None, WaitsFor::Whole(collect)),
            BodyAction::Stream => {
                let guard = guard(service, request, &mut head)?;
                let holds = guard.as_ref().is_some_and(AnswerGuard::holds_head);
                let waits_for = if holds {
                    WaitsFor::Body
                } else {
                    WaitsFor::Nothing
                };
                (guard, waits_for)
            }
        };
        Ok(Self {
            guard,
            head: Some(head),
            is_collected: matches!(waits_for, WaitsFor::Whole(_)),
            waits_for,
            held: BytesMut::new(),
        })
    }

    /// The next part of the body, which may be empty.
    pub fn feed(
        &mut self,
        service: &Service,
        part: Bytes,
        is_last: bool,
        request: &RequestHeader,
        context: &mut Context,
    ) -> Result<Leaving, Refusal> {
        let part = match &self.waits_for {
            WaitsFor::Nothing => self.masked(part, is_last),
            WaitsFor::Body => {
                let masked = self.masked(part, is_last);
                self.hold(&masked, context)?;
                if !is_last && self.held.len() < HELD_BODY {
                    return Ok(Leaving::default());
                }
                self.release_head(is_last);
                self.held.split().freeze()
            }
            WaitsFor::Whole(collect) => {
                let collect = *collect;
                self.collect(&part, context)?;
                if !is_last {
                    return Ok(Leaving::default());
                }
                self.change(service, collect, request, context)?
            }
        };
        self.waits_for = WaitsFor::Nothing;
        let head = self.head.take();
        Ok(Leaving {
            head: head.map(|head| head.finish(request, context)),
            part,
        })
    }

    /// What the upstream says behind its answer. `None`: of a body that has been
    /// changed, it would speak of another one.
    pub fn trailers(&mut self, mut trailers: HeaderMap) -> Option<HeaderMap> {
        if let Some(guard) = &mut self.guard {
            guard.trailers(&mut trailers);
        }
        (!self.is_collected).then_some(trailers)
    }

    /// Counts what was masked.
    pub fn note_findings(&self, context: &mut Context) {
        let Some(findings) = self.guard.as_ref().map(AnswerGuard::findings) else {
            return;
        };
        context.note_leaks(findings);
    }

    fn masked(&mut self, part: Bytes, is_last: bool) -> Bytes {
        match &mut self.guard {
            Some(guard) => guard.feed(part, is_last),
            None => part,
        }
    }

    fn release_head(&mut self, is_whole: bool) {
        if let (Some(guard), Some(head)) = (&mut self.guard, &mut self.head) {
            guard.release_head(&mut head.headers, is_whole);
        }
    }

    fn collect(&mut self, part: &[u8], context: &mut Context) -> Result<(), Refusal> {
        let limit = context.snapshot.settings.limits.max_inspected_body;
        if self.held.len() + part.len() > limit {
            return Err(failed(TransformError::TooLarge, context));
        }
        self.hold(part, context)
    }

    fn hold(&mut self, part: &[u8], context: &mut Context) -> Result<(), Refusal> {
        account(self.held.len() + part.len(), context)?;
        self.held.extend_from_slice(part);
        Ok(())
    }

    /// The whole body as the rules want it, then masked.
    fn change(
        &mut self,
        service: &Service,
        collect: Collect,
        request: &RequestHeader,
        context: &mut Context,
    ) -> Result<Bytes, Refusal> {
        let limit = context.snapshot.settings.limits.max_inspected_body;
        let body = self.held.split().freeze();
        let (Some(rules), Some(head)) = (&service.response_rules, &mut self.head) else {
            return Ok(body);
        };
        let body = rules
            .body(collect, &body, limit, &mut head.headers)
            .map_err(|error| failed(error, context))?;
        // Decoded, it may be larger than what came, and the client slow.
        account(body.len(), context)?;
        self.guard = guard(service, request, head)?;
        let body = self.masked(body, true);
        self.release_head(true);
        Ok(body)
    }
}

/// So much of the answer is held, beside the request's body.
fn account(held: usize, context: &mut Context) -> Result<(), Refusal> {
    let request = context.body.as_ref().map_or(0, Bytes::len);
    context.buffered.grow_to(request + held)
}

fn guard(
    service: &Service,
    request: &RequestHeader,
    head: &mut AnswerHead,
) -> Result<Option<AnswerGuard>, Refusal> {
    let (status, coding) = (head.status, head.coding);
    AnswerGuard::begin(service, &request.method, status, coding, &mut head.headers)
}

/// The reason is for the operator; the client hears only that there is one.
fn failed(error: TransformError, context: &mut Context) -> Refusal {
    context.note(|record| record.error_detail = Some(Text::from(error.to_string().as_str())));
    error.refusal()
}
