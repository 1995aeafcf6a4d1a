//! Keeps the secrets that a route may inject out of its answers: wherever one
//! of their forms stands, as many asterisks are written. Pure code: bytes in,
//! bytes out. `docs/leak-guard.md` says what is covered and what is not.
//!
//! The rule: every byte that belongs to any occurrence of any form is masked,
//! however the bytes come in parts, and no byte is kept back but one that may
//! belong to an occurrence that is not whole yet.

mod answer;
mod automaton;
mod charset;
mod coding;
mod forms;
mod grams;
mod masker;
mod messages;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

pub use answer::{AnswerGuard, Findings, HELD_BODY};
pub use coding::{Coding, drop_digests, drop_validators};
pub use forms::SHORTEST;
pub use masker::Masker;

use automaton::{Automaton, ROOT, StateId};
use grams::{Grams, Sample};

const MASK: u8 = b'*';

/// The secrets of a route, to be looked for. Wiped when it is dropped.
pub struct LeakGuard {
    automaton: Automaton,
    grams: Grams,
}

/// What was found in the bytes at hand.
#[derive(Default)]
struct Found {
    hits: usize,
    /// What is to be masked, by end and length: it may have begun before these
    /// bytes. In order; none touches the next.
    spans: SmallVec<[(usize, usize); 4]>,
}

impl LeakGuard {
    /// `None` where no value is long enough to be looked for.
    pub fn new<'v>(values: impl Iterator<Item = &'v str>) -> Option<Self> {
        let patterns = forms::all(values);
        let shortest = patterns.iter().map(|pattern| pattern.len()).min()?;
        Some(Self {
            automaton: Automaton::new(&patterns),
            grams: Grams::new(&patterns, shortest),
        })
    }

    /// Masks a whole text, and tells how many occurrences it had.
    pub fn mask(&self, text: &mut [u8]) -> usize {
        let mut found = Found::default();
        self.scan(ROOT, text, true, &mut found);
        found.mask(text, 0);
        found.hits
    }

    /// Masks the values of an answer's headers or trailers.
    pub fn mask_headers(&self, headers: &mut HeaderMap) -> usize {
        let masked = headers.values_mut().map(|value| self.mask_value(value));
        masked.sum()
    }

    fn mask_value(&self, value: &mut HeaderValue) -> usize {
        let mut found = Found::default();
        self.scan(ROOT, value.as_bytes(), true, &mut found);
        if found.hits > 0 {
            let mut bytes = value.as_bytes().to_vec();
            found.mask(&mut bytes, 0);
            // Asterisks are as good as what they replace.
            *value = HeaderValue::from_maybe_shared(Bytes::from(bytes))
                .unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
        found.hits
    }

    /// Continues in `state`. What is returned holds of the end of `text`, but
    /// where that is the last of it.
    fn scan(&self, mut state: StateId, text: &[u8], is_last: bool, found: &mut Found) -> StateId {
        let mut at = 0;
        // Up to there every byte is looked at.
        let mut until = 0;
        loop {
            (state, at) = self.step(state, text, at..until, found);
            if at >= text.len() {
                return state;
            }
            // No occurrence has begun before `at`.
            let sample = match self.grams.find(text, at) {
                Sample::Found(sample) => {
                    until = sample + 1;
                    sample
                }
                Sample::End(_) if is_last => return ROOT,
                Sample::End(sample) => {
                    until = text.len();
                    sample
                }
            };
            at = at.max(sample.saturating_sub(self.grams.reach()));
        }
    }

    /// Byte by byte to the range's end, and on as long as something has begun.
    fn step(
        &self,
        mut state: StateId,
        text: &[u8],
        range: Range<usize>,
        found: &mut Found,
    ) -> (StateId, usize) {
        let mut at = range.start;
        while (at < range.end || state != ROOT)
            && let Some(byte) = text.get(at)
        {
            state = self.automaton.next(state, *byte);
            at += 1;
            if let Some(length) = self.automaton.matched(state) {
                found.add(at, length);
            }
        }
        (state, at)
    }
}

/// Nothing of what is looked for.
impl fmt::Debug for LeakGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeakGuard([redacted])")
    }
}

impl Found {
    fn add(&mut self, end: usize, length: usize) {
        self.hits += 1;
        match self.spans.last_mut() {
            Some((last, its_length)) if end <= *last + length => {
                *its_length = length.max(*its_length + (end - *last));
                *last = end;
            }
            Some(_) | None => self.spans.push((end, length)),
        }
    }

    /// `text` has so many bytes in front of those in which it was found.
    fn mask(&self, text: &mut [u8], before: usize) {
        for (end, length) in &self.spans {
            let end = before + end;
            let span = end.saturating_sub(*length)..end;
            text.get_mut(span).unwrap_or_default().fill(MASK);
        }
    }
}

#[cfg(test)]
mod tests;
