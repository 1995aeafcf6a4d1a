//! Tells at once that a stretch of text holds nothing of interest. Every
//! pattern has at least `stride + width - 1` bytes, so each of its occurrences
//! holds a whole sample of `width` bytes where one is taken every `stride`
//! bytes. A sample that none of the patterns has in its first bytes rules out
//! that one begins in the `stride` bytes that end with its first.

use super::forms::Form;

/// An odd number without pattern (the golden ratio in 64 bits).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Of the table, for each sample in it: more cost memory, fewer time, for
/// samples that are not in it and seem to be.
const BYTES_EACH: usize = 32;

/// In bytes.
const SMALLEST_TABLE: usize = 2048;
const LARGEST_TABLE: usize = 64 * 1024;

pub(super) struct Grams {
    /// By some bits of a sample's hash, a bit for each value of three others.
    /// A power of two of them.
    table: zeroize::Zeroizing<Vec<u8>>,
    /// The bits of eight bytes that belong to a sample.
    sampled: u64,
    /// In bytes, at most 8.
    width: usize,
    stride: usize,
}

/// Where a search has ended.
pub(super) enum Sample {
    /// A pattern may begin in the bytes before this place, or there.
    Found(usize),
    /// There is no room for the next sample, which is to be taken there.
    End(usize),
}

impl Grams {
    /// `shortest` is the length of the shortest pattern, at least 8.
    pub(super) fn new(patterns: &[Form], shortest: usize) -> Self {
        let (width, stride) = shape(shortest);
        let size = (patterns.len() * stride * BYTES_EACH).next_power_of_two();
        let size = size.clamp(SMALLEST_TABLE, LARGEST_TABLE);
        let mut grams = Self {
            table: zeroize::Zeroizing::new(vec![0; size]),
            sampled: u64::MAX >> (64 - 8 * width),
            width,
            stride,
        };
        for gram in patterns.iter().flat_map(|p| p.windows(width).take(stride)) {
            grams.add(padded(gram));
        }
        grams
    }

    /// No pattern begins earlier than so many bytes before the place where
    /// [`find`](Self::find) stops.
    pub(super) fn reach(&self) -> usize {
        self.stride - 1
    }

    pub(super) fn find(&self, text: &[u8], from: usize) -> Sample {
        let mut at = self.pass(text, from);
        while let Some(gram) = text.get(at..at + self.width) {
            if self.has(padded(gram)) {
                return Sample::Found(at);
            }
            at += self.stride;
        }
        Sample::End(at)
    }

    /// Where the first sample is taken that may be of interest, as long as it
    /// can be read with one load.
    fn pass(&self, text: &[u8], from: usize) -> usize {
        let mut at = from;
        loop {
            while let Some(four) = text.get(at..at + 3 * self.stride + 8)
                && self.has_none(four)
            {
                at += 4 * self.stride;
            }
            for _ in 0..4 {
                match loaded(text, at) {
                    Some(bytes) if !self.has(bytes & self.sampled) => at += self.stride,
                    Some(_) | None => return at,
                }
            }
        }
    }

    /// Of four samples, with one decision.
    fn has_none(&self, four: &[u8]) -> bool {
        let bits = |sample| {
            let bytes = loaded(four, sample * self.stride).unwrap_or_default();
            let (slot, _) = self.place(bytes & self.sampled);
            self.table.get(slot).copied().unwrap_or_default()
        };
        bits(0) | bits(1) | bits(2) | bits(3) == 0
    }

    fn add(&mut self, gram: u64) {
        let (slot, bit) = self.place(gram);
        if let Some(bits) = self.table.get_mut(slot) {
            *bits |= bit;
        }
    }

    fn has(&self, gram: u64) -> bool {
        let (slot, bit) = self.place(gram);
        let bits = self.table.get(slot).copied().unwrap_or_default();
        // Most are empty; the bit takes longer.
        bits != 0 && bits & bit != 0
    }

    fn place(&self, gram: u64) -> (usize, u8) {
        let hash = gram.wrapping_mul(SPREAD);
        let slot = usize::try_from(hash >> 40).unwrap_or_default() & (self.table.len() - 1);
        (slot, 1 << (hash >> 37 & 7))
    }
}

/// Width and stride: wide samples are rare in other text, long strides few.
fn shape(shortest: usize) -> (usize, usize) {
    const WIDEST: usize = 8;
    const LONGEST_STRIDE: usize = 16;
    let stride = (shortest / 2 + 1).min(WIDEST);
    let width = (shortest + 1 - stride).min(WIDEST);
    (width, (shortest + 1 - width).min(LONGEST_STRIDE))
}

fn loaded(text: &[u8], at: usize) -> Option<u64> {
    let bytes = text.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// As it is read from a text, without what follows it.
fn padded(gram: &[u8]) -> u64 {
    let bytes = gram.iter().rev();
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_occurrence_of_the_shortest_pattern_holds_a_sample() {
        for shortest in 8..100 {
            let (width, stride) = shape(shortest);
            assert!((4..=8).contains(&width) && stride <= 16, "{shortest}");
            assert!(stride + width - 1 <= shortest, "{shortest}");
        }
    }

    #[test]
    fn finds_a_pattern_wherever_it_begins() {
        for length in [8, 9, 11, 15, 24, 40] {
            let pattern: Vec<u8> = (0..length).map(|at| b'A' + at).collect();
            let grams = Grams::new(&[Form::new(pattern.clone())], pattern.len());
            for before in 0..40 {
                let mut text = vec![b'.'; before];
                text.extend(&pattern);
                let Sample::Found(at) = grams.find(&text, 0) else {
                    panic!("{length} bytes at {before} are not found");
                };
                assert!(at.saturating_sub(grams.reach()) <= before && before <= at);
            }
        }
    }

    #[test]
    fn finds_nothing_in_other_text() {
        let grams = Grams::new(&[Form::new(b"sk_live_0123456789".to_vec())], 18);
        let text = b"the quick brown fox jumps over the lazy dog".repeat(20);
        assert!(matches!(grams.find(&text, 0), Sample::End(at) if at + 8 > text.len()));
    }
}
