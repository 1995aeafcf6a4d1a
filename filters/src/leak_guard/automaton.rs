//! An Aho–Corasick automaton (Aho and Corasick, 1975) in two lists: states in
//! the order of their depth, so that the children of each are neighbours. Our
//! own, because a stream needs what the crate of that name does not tell (how
//! much of a pattern a state has seen), and because it is wiped when dropped.

use std::ops::Range;

use super::forms::Form;

/// Of a state, in [`Automaton::states`].
pub(super) type StateId = usize;

/// Nothing of any pattern has been seen.
pub(super) const ROOT: StateId = 0;

pub(super) struct Automaton {
    states: Vec<State>,
    /// The byte that leads to each state; the root's means nothing.
    labels: zeroize::Zeroizing<Vec<u8>>,
    /// The bytes that lead on from the root, as a set of bits.
    first: [u64; 4],
}

struct State {
    children: Range<u32>,
    /// The state of the longest proper suffix that is a prefix of a pattern.
    fallback: u32,
    /// The longest pattern that ends here; 0: none does.
    matched: u32,
    /// The longest suffix of what has been seen that is a proper prefix of a
    /// pattern.
    pending: u32,
}

/// A state whose children are still to be made: the patterns that begin with
/// what it has seen.
struct Unfinished<'p> {
    patterns: &'p [Form],
    depth: usize,
}

impl Automaton {
    /// `patterns` are sorted and distinct, none is empty.
    pub(super) fn new(patterns: &[Form]) -> Self {
        let mut automaton = Self {
            states: vec![State {
                children: 0..0,
                fallback: 0,
                matched: 0,
                pending: 0,
            }],
            labels: zeroize::Zeroizing::new(Vec::with_capacity(
                1 + patterns.iter().map(|pattern| pattern.len()).sum::<usize>(),
            )),
            first: [0; 4],
        };
        automaton.labels.push(0);
        automaton.grow(patterns);
        automaton
    }

    pub(super) fn next(&self, mut state: StateId, byte: u8) -> StateId {
        loop {
            if let Some(child) = self.child(state, byte) {
                return child;
            }
            let Some(here) = self.states.get(state).filter(|_| state != ROOT) else {
                return ROOT;
            };
            state = wide(here.fallback);
        }
    }

    /// How long the longest pattern is that ends in this state.
    pub(super) fn matched(&self, state: StateId) -> Option<usize> {
        let length = self.states.get(state)?.matched;
        (length > 0).then(|| wide(length))
    }

    /// How many of the last bytes may be the beginning of a pattern.
    pub(super) fn pending(&self, state: StateId) -> usize {
        self.states.get(state).map_or(0, |here| wide(here.pending))
    }

    fn child(&self, state: StateId, byte: u8) -> Option<StateId> {
        if state == ROOT && !self.begins(byte) {
            return None;
        }
        let children = &self.states.get(state)?.children;
        let (start, end) = (wide(children.start), wide(children.end));
        let mut labels = self.labels.get(start..end)?.iter();
        labels.position(|label| *label == byte).map(|at| start + at)
    }

    fn begins(&self, byte: u8) -> bool {
        let word = self.first.get(usize::from(byte / 64));
        word.is_some_and(|word| word >> (byte % 64) & 1 == 1)
    }

    /// By depth: whatever a state falls back to is finished before it.
    fn grow(&mut self, patterns: &[Form]) {
        let mut unfinished = std::collections::VecDeque::from([Unfinished { patterns, depth: 0 }]);
        let mut parent = ROOT;
        while let Some(here) = unfinished.pop_front() {
            let start = self.states.len();
            let depth = here.depth + 1;
            for (label, patterns) in here.by_next_byte() {
                self.add(parent, label, &Unfinished { patterns, depth });
                unfinished.push_back(Unfinished { patterns, depth });
            }
            let children = narrow(start)..narrow(self.states.len());
            if let Some(state) = self.states.get_mut(parent) {
                state.children = children;
            }
            parent += 1;
        }
    }

    fn add(&mut self, parent: StateId, label: u8, new: &Unfinished<'_>) {
        let fallback = match self.states.get(parent) {
            Some(above) if parent != ROOT => self.next(wide(above.fallback), label),
            Some(_) | None => ROOT,
        };
        let below = self.states.get(fallback);
        let lengths = |pattern: Option<&Form>| pattern.map_or(0, |pattern| pattern.len());
        let matched = match lengths(new.patterns.first()) == new.depth {
            true => narrow(new.depth),
            false => below.map_or(0, |below| below.matched),
        };
        let pending = match lengths(new.patterns.last()) > new.depth {
            true => narrow(new.depth),
            false => below.map_or(0, |below| below.pending),
        };
        if parent == ROOT
            && let Some(word) = self.first.get_mut(usize::from(label / 64))
        {
            *word |= 1 << (label % 64);
        }
        self.labels.push(label);
        self.states.push(State {
            children: 0..0,
            fallback: narrow(fallback),
            matched,
            pending,
        });
    }
}

impl<'p> Unfinished<'p> {
    fn by_next_byte(&self) -> impl Iterator<Item = (u8, &'p [Form])> {
        let depth = self.depth;
        let next = move |pattern: &Form| pattern.get(depth).copied();
        let groups = self
            .patterns
            .chunk_by(move |one, other| next(one) == next(other));
        groups.filter_map(move |group| Some((next(group.first()?)?, group)))
    }
}

fn wide(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Patterns of 4 GiB together would not fit; secrets have 64 KiB.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automaton(patterns: &[&str]) -> Automaton {
        let mut patterns: Vec<Form> = patterns
            .iter()
            .map(|pattern| Form::new(pattern.as_bytes().to_vec()))
            .collect();
        patterns.sort_by(|one, other| one.as_slice().cmp(other));
        Automaton::new(&patterns)
    }

    /// The state after `text`, and what matched on the way: ends and lengths.
    fn walk(automaton: &Automaton, text: &str) -> (StateId, Vec<(usize, usize)>) {
        let mut state = ROOT;
        let mut found = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            state = automaton.next(state, byte);
            found.extend(automaton.matched(state).map(|length| (at + 1, length)));
        }
        (state, found)
    }

    #[test]
    fn tells_the_longest_pattern_at_each_end() {
        let (_, found) = walk(&automaton(&["he", "she", "his", "hers"]), "ushers");
        assert_eq!(found, [(4, 3), (6, 4)]);
    }

    #[test]
    fn finds_a_pattern_inside_of_one_that_does_not_come_true() {
        let (_, found) = walk(&automaton(&["abcdX", "bc"]), "abcdY");
        assert_eq!(found, [(3, 2)]);
    }

    #[test]
    fn tells_how_much_may_be_the_beginning_of_a_pattern() {
        let automaton = automaton(&["abcabd", "xyz"]);
        for (text, pending) in [
            ("abcab", 5),
            ("abcabc", 3),
            ("abcabd", 0),
            ("--xy", 2),
            ("xyz", 0),
            ("xyx", 1),
            ("q", 0),
        ] {
            assert_eq!(
                automaton.pending(walk(&automaton, text).0),
                pending,
                "{text}"
            );
        }
    }

    #[test]
    fn a_whole_pattern_may_begin_a_longer_one_or_the_next() {
        for (patterns, pending) in [(&["aba", "abacus"][..], 3), (&["aba"], 1)] {
            let automaton = automaton(patterns);
            assert_eq!(automaton.pending(walk(&automaton, "aba").0), pending);
        }
    }
}
