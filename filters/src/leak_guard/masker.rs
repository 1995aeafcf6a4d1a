//! Masks a text that comes in parts. What goes out is as long as what came in,
//! and nothing waits but the beginning of what may become an occurrence.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::automaton::{ROOT, StateId};
use super::{Found, LeakGuard, MASK};

/// The state of one text between two of its parts. All of them are to be fed
/// with the same guard.
#[derive(Default)]
pub struct Masker {
    state: StateId,
    /// Masked as far as is known. Absent until something is: to wipe even
    /// nothing takes as long as to look through half a kilobyte.
    held: Option<Zeroizing<Vec<u8>>>,
    hits: usize,
}

/// What comes after a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    More,
    /// Another message: nothing of this one may wait for it.
    Message,
    Nothing,
}

impl Masker {
    /// What can go out now. A part that has nothing to be masked, with nothing
    /// held before it, is returned without a copy. With the last part, which
    /// may be empty, everything goes out.
    pub fn feed(&mut self, guard: &LeakGuard, part: Bytes, is_last: bool) -> Bytes {
        let next = if is_last { Next::Nothing } else { Next::More };
        self.feed_before(guard, part, next)
    }

    /// What is held back, for where nothing may be. The beginning of a secret
    /// in it goes out as it is; the rest is masked if it follows.
    pub fn release(&mut self) -> Bytes {
        let held = self.held.take();
        held.map_or_else(Bytes::new, |held| Bytes::copy_from_slice(&held))
    }

    /// How many occurrences were masked so far.
    pub fn hits(&self) -> usize {
        self.hits
    }

    pub(super) fn feed_before(&mut self, guard: &LeakGuard, part: Bytes, next: Next) -> Bytes {
        let mut found = Found::default();
        let is_last = next == Next::Nothing;
        self.state = guard.scan(self.state, &part, is_last, &mut found);
        self.hits += found.hits;
        let text = match (found.hits, self.held.take()) {
            (0, None) => part,
            (_, held) => {
                let held = held.as_deref().map_or(&[][..], Vec::as_slice);
                let mut text = joined(held, part);
                found.mask(&mut text, held.len());
                text.freeze()
            }
        };
        match next {
            Next::More => self.hold_back(text, guard.automaton.pending(self.state)),
            Next::Message => text,
            Next::Nothing => {
                self.state = ROOT;
                text
            }
        }
    }

    /// All but the asterisks at the front: they stay what they are, whatever
    /// comes.
    fn hold_back(&mut self, mut text: Bytes, pending: usize) -> Bytes {
        if pending == 0 {
            return text;
        }
        let start = text.len().saturating_sub(pending);
        let tail = text.get(start..).unwrap_or_default();
        let settled = tail.iter().take_while(|byte| **byte == MASK).count();
        let tail = text.split_off(start + settled);
        if !tail.is_empty() {
            self.held = Some(Zeroizing::new(tail.to_vec()));
        }
        text
    }
}

fn joined(held: &[u8], part: Bytes) -> BytesMut {
    if held.is_empty() {
        let copied = |shared: Bytes| BytesMut::from(shared.as_ref());
        return part.try_into_mut().unwrap_or_else(copied);
    }
    let mut text = BytesMut::with_capacity(held.len() + part.len());
    text.extend_from_slice(held);
    text.extend_from_slice(&part);
    text
}
