//! Follows the frames of one direction in any parts, and keeps nothing of them
//! but the head that has begun.

use smallvec::SmallVec;

const FINAL: u8 = 0x80;
const EXTENSION_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;
const CLOSE: u8 = 0x8;
/// Of a control frame's payload.
const MOST_CONTROL: u64 = 125;

/// A frame's head, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: SmallVec<[u8; 14]>,
    payload: u64,
}

/// What comes next of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'p> {
    Head(Head),
    /// Of the frame whose head came last. Every frame has a last one, which may
    /// be empty.
    Payload {
        bytes: &'p [u8],
        is_last: bool,
    },
    /// No frame begins so, and what follows has no borders that are known.
    Nonsense(SmallVec<[u8; 14]>),
    /// Behind nonsense.
    Rest(&'p [u8]),
}

#[derive(Debug)]
pub struct Frames {
    at: At,
    has_closed: bool,
}

#[derive(Debug)]
enum At {
    Head(SmallVec<[u8; 14]>),
    /// So much of it is still to come.
    Payload(u64),
    Lost,
}

/// What the beginning of a head says.
enum Judged {
    Incomplete,
    Complete(u64),
    Nonsense,
}

// === impl Head ===

impl Head {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn payload(&self) -> u64 {
        self.payload
    }

    pub fn is_final(&self) -> bool {
        self.first() & FINAL != 0
    }

    pub fn opcode(&self) -> u8 {
        self.first() & 0x0f
    }

    pub fn is_control(&self) -> bool {
        is_control(self.first())
    }

    pub fn has_extension_bits(&self) -> bool {
        self.first() & EXTENSION_BITS != 0
    }

    pub fn is_masked(&self) -> bool {
        self.bytes.get(1).is_some_and(|byte| byte & MASKED != 0)
    }

    fn first(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }
}

fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

// === impl Frames ===

impl Default for Frames {
    fn default() -> Self {
        Self {
            at: At::Head(SmallVec::new()),
            has_closed: false,
        }
    }
}

impl Frames {
    /// Takes the next step's bytes from `part`. `None`: it is used up.
    pub fn step<'p>(&mut self, part: &mut &'p [u8]) -> Option<Step<'p>> {
        match &mut self.at {
            At::Head(_) => self.head(part),
            At::Payload(left) => {
                if part.is_empty() && *left > 0 {
                    return None;
                }
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let (bytes, rest) = part.split_at(here.min(part.len()));
                *part = rest;
                *left -= bytes.len() as u64;
                let is_last = *left == 0;
                if is_last {
                    self.at = At::Head(SmallVec::new());
                }
                Some(Step::Payload { bytes, is_last })
            }
            At::Lost => Some(std::mem::take(part))
                .filter(|rest| !rest.is_empty())
                .map(Step::Rest),
        }
    }

    /// Follows all of `part`.
    pub fn follow(&mut self, mut part: &[u8]) {
        while self.step(&mut part).is_some() {}
    }

    /// Follows `part` to the end of the frame that has begun, and tells how much
    /// of it that is.
    pub fn finish_frame(&mut self, part: &[u8]) -> usize {
        let mut rest = part;
        while !self.is_between() && self.step(&mut rest).is_some() {}
        part.len() - rest.len()
    }

    /// Is what came so far whole frames?
    pub fn is_between(&self) -> bool {
        matches!(&self.at, At::Head(begun) if begun.is_empty())
    }

    /// Is it between frames, or in a head that is not whole yet?
    pub(super) fn is_before_payload(&self) -> bool {
        matches!(self.at, At::Head(_))
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.at, At::Lost)
    }

    /// Nothing may follow but the end of the connection (section 5.5.1).
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn head<'p>(&mut self, part: &mut &'p [u8]) -> Option<Step<'p>> {
        let At::Head(head) = &mut self.at else {
            return None;
        };
        while let Some((next, rest)) = part.split_first() {
            head.push(*next);
            *part = rest;
            match judge(head) {
                Judged::Incomplete => {}
                Judged::Complete(payload) => {
                    let bytes = std::mem::take(head);
                    self.at = At::Payload(payload);
                    let head = Head { bytes, payload };
                    self.has_closed |= head.opcode() == CLOSE;
                    return Some(Step::Head(head));
                }
                Judged::Nonsense => {
                    let bytes = std::mem::take(head);
                    self.at = At::Lost;
                    return Some(Step::Nonsense(bytes));
                }
            }
        }
        None
    }
}

fn judge(head: &[u8]) -> Judged {
    let [first, rest @ ..] = head else {
        return Judged::Incomplete;
    };
    let is_reserved = matches!(first & 0x0f, 0x3..=0x7 | 0xb..=0xf);
    let is_control = is_control(*first);
    if is_reserved || (is_control && first & FINAL == 0) {
        return Judged::Nonsense;
    }
    let [second, rest @ ..] = rest else {
        return Judged::Incomplete;
    };
    let Some((payload, rest)) = payload_length(second & 0x7f, rest) else {
        return Judged::Incomplete;
    };
    if payload > i64::MAX as u64 || (is_control && payload > MOST_CONTROL) {
        return Judged::Nonsense;
    }
    match second & MASKED != 0 && rest.len() < 4 {
        true => Judged::Incomplete,
        false => Judged::Complete(payload),
    }
}

fn payload_length(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    match short {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((u16::from_be_bytes(*length).into(), rest))
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((u64::from_be_bytes(*length), rest))
        }
        short => Some((short.into(), rest)),
    }
}

// === frames of our own ===

/// Of an unmasked frame.
pub(super) fn push_head(first: u8, payload: usize, out: &mut impl Extend<u8>) {
    out.extend([first]);
    if payload <= MOST_CONTROL as usize {
        out.extend([payload as u8]);
    } else if let Ok(short) = u16::try_from(payload) {
        out.extend([126]);
        out.extend(short.to_be_bytes());
    } else {
        out.extend([127]);
        out.extend((payload as u64).to_be_bytes());
    }
}

/// As a server sends it.
pub fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [FINAL | CLOSE, 2, high, low]
}

/// As a client sends it, with a key that nobody can foresee (section 5.3).
pub fn masked_close_frame(code: u16, key: [u8; 4]) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    let [a, b, c, d] = key;
    [FINAL | CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as its sender meant it.
    #[derive(Clone, Debug)]
    pub(crate) struct Frame {
        pub(crate) first: u8,
        pub(crate) key: Option<[u8; 4]>,
        pub(crate) payload: Vec<u8>,
    }

    impl Frame {
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            push_head(self.first, self.payload.len(), &mut bytes);
            if let Some(key) = self.key {
                bytes[1] |= MASKED;
                bytes.extend(key);
            }
            bytes.extend(&self.payload);
            bytes
        }
    }

    /// What a follower tells of bytes that come in these parts.
    pub(crate) fn frames_of(parts: &[&[u8]]) -> Vec<(Head, Vec<u8>)> {
        let mut frames = Frames::default();
        let mut told: Vec<(Head, Vec<u8>)> = Vec::new();
        for part in parts {
            let mut part = *part;
            while let Some(step) = frames.step(&mut part) {
                match step {
                    Step::Head(head) => told.push((head, Vec::new())),
                    Step::Payload { bytes, .. } => told.last_mut().unwrap().1.extend(bytes),
                    Step::Nonsense(_) | Step::Rest(_) => panic!("these are frames"),
                }
            }
        }
        assert!(frames.is_between());
        told
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let sizes = prop_oneof![0..3_usize, 120..130_usize, Just(65_535), Just(65_536)];
        let first = prop_oneof![
            Just(0x00_u8),
            Just(0x81),
            Just(0x82),
            Just(0xc1),
            Just(0x80)
        ];
        let data = (first, any::<Option<[u8; 4]>>(), sizes);
        let control = (0x88..=0x8a_u8, any::<Option<[u8; 4]>>(), 0..=125_usize);
        prop_oneof![data, control].prop_map(|(first, key, size)| Frame {
            first,
            key,
            payload: vec![0x81; size],
        })
    }

    proptest! {
        #[test]
        fn frames_are_told_however_they_come(
            sent in prop::collection::vec(frame(), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(Frame::bytes).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                parts.push(&bytes[from..cut]);
                from = cut;
            }
            let told = frames_of(&parts);
            prop_assert_eq!(told.len(), sent.len());
            for ((head, payload), frame) in told.iter().zip(&sent) {
                prop_assert_eq!(head.payload(), payload.len() as u64);
                prop_assert_eq!(payload, &frame.payload);
                prop_assert_eq!(head.is_masked(), frame.key.is_some());
                prop_assert_eq!(head.opcode(), frame.first & 0x0f);
                prop_assert_eq!(head.is_final(), frame.first & 0x80 != 0);
                prop_assert_eq!(head.has_extension_bits(), frame.first & 0x70 != 0);
                prop_assert!(frame.bytes().starts_with(head.bytes()));
            }
        }
    }

    #[test]
    fn a_frame_is_finished_and_no_more() {
        let two = [0x81, 3, b'a', b'b', b'c', 0x89, 0, 0x81];
        for begun in 0..=two.len() {
            let mut frames = Frames::default();
            frames.follow(&two[..begun]);
            let border = [0, 5, 7].into_iter().find(|border| *border >= begun);
            let finished = frames.finish_frame(&two[begun..]);
            match border {
                Some(border) => assert_eq!(begun + finished, border),
                None => assert!(!frames.is_between()),
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_one_stream_from_there_on() {
        let long = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        let starts: [&[u8]; 5] = [
            b"\x83",
            b"\x8f",
            // Control frames are whole and short (section 5.5).
            b"\x09",
            b"\x89\x7e\x00\x7e",
            &long,
        ];
        for start in starts {
            let bytes = [start, &[0x81, 0]].concat();
            let mut frames = Frames::default();
            let mut rest = bytes.as_slice();
            let step = frames.step(&mut rest);
            assert_eq!(step, Some(Step::Nonsense(SmallVec::from_slice(start))));
            assert_eq!(frames.step(&mut rest), Some(Step::Rest(&[0x81, 0])));
            assert_eq!(frames.step(&mut rest), None);
            assert!(!frames.is_between());
        }
    }

    #[test]
    fn a_close_is_seen() {
        let mut frames = Frames::default();
        frames.follow(&[0x89, 0]);
        assert!(!frames.has_closed());
        frames.follow(&close_frame(1001));
        assert!(frames.has_closed() && frames.is_between());
    }

    #[test]
    fn a_close_says_its_code() {
        assert_eq!(close_frame(1001), [0x88, 2, 0x03, 0xe9]);
        let [_, _, key @ .., high, low] = masked_close_frame(1001, [9, 8, 7, 6]);
        assert_eq!(key, [9, 8, 7, 6]);
        assert_eq!([high ^ 9, low ^ 8], [0x03, 0xe9]);
        frames_of(&[&masked_close_frame(1001, [9, 8, 7, 6])]);
    }
}
