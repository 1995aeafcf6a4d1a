//! Masks a route's secrets in what an upstream says over a WebSocket. A
//! message, in as many frames as it comes, is one text; at its end nothing is
//! held back.
//!
//! A message of one frame keeps its head, and a control frame too. Of a message
//! in fragments, what may be the beginning of a secret waits for the next one.
//! Such a message is therefore cut anew (RFC 6455, section 5.4, allows it where
//! no extension was agreed on): there is a border wherever something leaves, so
//! that control frames in between never wait.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use knoxcall_bundle::LeakGuardMode;
use thiserror::Error;

use super::frames::{Frames, Head, Step, push_head};
use crate::leak_guard::{Findings, LeakGuard, Masker};

const FINAL: u8 = 0x80;

pub struct MessageGuard {
    guard: Arc<LeakGuard>,
    mode: LeakGuardMode,
    frames: Frames,
    message: Masker,
    control: Masker,
    now: Now,
    /// Of a message in fragments: the opcode for the next frame of it that
    /// leaves. Only the first has one.
    fragments: Option<u8>,
    is_uninspected: bool,
}

/// Masked, as servers never may, or with an extension's bits.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the upstream sent a WebSocket frame that cannot be inspected")]
pub struct Uninspectable;

/// What the frame at hand is.
#[derive(Clone, Copy)]
enum Now {
    /// A message of its own.
    Message,
    Fragment {
        is_final: bool,
    },
    Control,
    /// Passes as it is.
    Opaque,
}

impl MessageGuard {
    pub fn new(guard: Arc<LeakGuard>, mode: LeakGuardMode) -> Self {
        Self {
            guard,
            mode,
            frames: Frames::default(),
            message: Masker::default(),
            control: Masker::default(),
            now: Now::Opaque,
            fragments: None,
            is_uninspected: false,
        }
    }

    /// Puts into `out` what may leave. After an error, nothing more may.
    pub fn feed(&mut self, part: &Bytes, out: &mut BytesMut) -> Result<(), Uninspectable> {
        let mut rest = part.as_ref();
        while let Some(step) = self.frames.step(&mut rest) {
            self.take(step, part, out)?;
        }
        Ok(())
    }

    /// As [`Self::feed`], to the first place where another frame may go out.
    pub fn finish_frame(&mut self, part: &Bytes, out: &mut BytesMut) -> Result<(), Uninspectable> {
        let mut rest = part.as_ref();
        while !self.is_between()
            && let Some(step) = self.frames.step(&mut rest)
        {
            self.take(step, part, out)?;
        }
        Ok(())
    }

    /// What is held back goes out: the upstream has ended.
    pub fn end(&mut self, out: &mut BytesMut) {
        let held = self.message.feed(&self.guard, Bytes::new(), true);
        if self.fragments.is_none() {
            out.extend_from_slice(&held);
        } else if !held.is_empty() {
            self.send_fragment(&held, false, out);
        }
        out.extend_from_slice(&self.control.feed(&self.guard, Bytes::new(), true));
    }

    /// Is what went out whole frames?
    pub fn is_between(&self) -> bool {
        // Heads leave whole, and fragments in frames of our own.
        let is_in_fragment = matches!(self.now, Now::Fragment { .. });
        self.frames.is_before_payload() || (is_in_fragment && !self.frames.is_lost())
    }

    pub fn has_closed(&self) -> bool {
        self.frames.has_closed()
    }

    pub fn findings(&self) -> Findings {
        Findings {
            body: self.message.hits() + self.control.hits(),
            is_uninspected: self.is_uninspected,
            ..Findings::default()
        }
    }

    fn take(
        &mut self,
        step: Step<'_>,
        part: &Bytes,
        out: &mut BytesMut,
    ) -> Result<(), Uninspectable> {
        match step {
            Step::Head(head) => self.begin(&head, out)?,
            Step::Payload { bytes, is_last } => {
                // None of `part` where there is none of it.
                let bytes = part.slice_ref(bytes);
                self.pass(bytes, is_last, out);
            }
            Step::Nonsense(bytes) => {
                self.leave_message(out);
                let bytes = Bytes::copy_from_slice(&bytes);
                out.extend_from_slice(&self.message.feed(&self.guard, bytes, false));
            }
            Step::Rest(bytes) => {
                let bytes = part.slice_ref(bytes);
                out.extend_from_slice(&self.message.feed(&self.guard, bytes, false));
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: &Head, out: &mut BytesMut) -> Result<(), Uninspectable> {
        if head.is_masked() || head.has_extension_bits() {
            return self.begin_opaque(head, out);
        }
        self.now = if head.is_control() {
            Now::Control
        } else if head.opcode() == 0 || !head.is_final() {
            if head.opcode() != 0 {
                self.leave_message(out);
            }
            self.fragments.get_or_insert(head.opcode());
            let is_final = head.is_final();
            Now::Fragment { is_final }
        } else {
            self.leave_message(out);
            Now::Message
        };
        if !matches!(self.now, Now::Fragment { .. }) {
            out.extend_from_slice(head.bytes());
        }
        Ok(())
    }

    fn begin_opaque(&mut self, head: &Head, out: &mut BytesMut) -> Result<(), Uninspectable> {
        self.is_uninspected = true;
        match self.mode {
            LeakGuardMode::Strict => return Err(Uninspectable),
            LeakGuardMode::Lenient | LeakGuardMode::Off => {}
        }
        if !head.is_control() {
            self.leave_message(out);
        }
        self.now = Now::Opaque;
        out.extend_from_slice(head.bytes());
        Ok(())
    }

    /// A message that goes no further as it should: what is held of it leaves.
    fn leave_message(&mut self, out: &mut BytesMut) {
        if self.fragments.is_some() {
            let held = self.message.feed(&self.guard, Bytes::new(), true);
            let is_begun = self.fragments == Some(0);
            if !held.is_empty() || !is_begun {
                self.send_fragment(&held, false, out);
            }
            self.fragments = None;
        }
    }

    fn pass(&mut self, bytes: Bytes, is_last: bool, out: &mut BytesMut) {
        match self.now {
            Now::Message => {
                out.extend_from_slice(&self.message.feed(&self.guard, bytes, is_last));
            }
            Now::Control => {
                out.extend_from_slice(&self.control.feed(&self.guard, bytes, is_last));
            }
            Now::Opaque => out.extend_from_slice(&bytes),
            Now::Fragment { is_final } => {
                let ends = is_final && is_last;
                let is_empty = bytes.is_empty();
                let leaving = self.message.feed(&self.guard, bytes, ends);
                // An empty fragment is one too.
                if ends || is_empty || !leaving.is_empty() {
                    self.send_fragment(&leaving, ends, out);
                }
                if ends {
                    self.fragments = None;
                }
            }
        }
    }

    fn send_fragment(&mut self, payload: &[u8], is_final: bool, out: &mut BytesMut) {
        let opcode = self.fragments.replace(0).unwrap_or_default();
        let first = if is_final { FINAL | opcode } else { opcode };
        push_head(first, payload.len(), out);
        out.extend_from_slice(payload);
    }
}
