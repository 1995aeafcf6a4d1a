//! Messages of an upstream, cut into frames and parts in any way, against the
//! same messages masked whole.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use knoxcall_bundle::LeakGuardMode;
use proptest::prelude::*;

use super::frames::tests::{Frame, frames_of};
use super::*;
use crate::leak_guard::{Findings, LeakGuard};

const KEY: &str = "sk_live_4f9a8b7c6d5e";
const PING: u8 = 0x89;

static GUARD: LazyLock<Arc<LeakGuard>> =
    LazyLock::new(|| Arc::new(LeakGuard::new([KEY].into_iter()).unwrap()));

fn guard(mode: LeakGuardMode) -> MessageGuard {
    MessageGuard::new(GUARD.clone(), mode)
}

fn frame(first: u8, payload: &[u8]) -> Frame {
    Frame {
        first,
        key: None,
        payload: payload.to_vec(),
    }
}

fn feed(guard: &mut MessageGuard, part: &[u8], out: &mut BytesMut) {
    guard.feed(&Bytes::copy_from_slice(part), out).unwrap();
}

fn masked(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    GUARD.mask(&mut text);
    text
}

/// What a client makes of frames: messages with their opcodes, in the order of
/// their ends; a control frame is one too. What is left is a message begun.
fn messages(frames: &[(Head, Vec<u8>)]) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
    let (mut all, mut opcode, mut text) = (Vec::new(), 0, Vec::new());
    for (head, payload) in frames {
        if head.is_control() {
            all.push((head.opcode(), payload.clone()));
            continue;
        }
        assert_eq!(
            head.opcode() == 0,
            opcode != 0,
            "only a fragment goes on with what has begun"
        );
        opcode = opcode.max(head.opcode());
        text.extend(payload);
        if head.is_final() {
            all.push((std::mem::take(&mut opcode), std::mem::take(&mut text)));
        }
    }
    (all, text)
}

/// A message's text: the key, whole or cut short, among other things.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => (0..KEY.len(), 1..=KEY.len())
            .prop_map(|(from, to)| KEY.get(from..to).unwrap_or(KEY).as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9),
        1 => Just(vec![b'x'; 200]),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// A message in fragments, with control frames in between.
fn message() -> impl Strategy<Value = Vec<Frame>> {
    let fragments = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4);
    (1..=2_u8, text(), fragments).prop_map(|(opcode, text, mut cuts)| {
        cuts.sort_by_key(|(cut, _)| cut.index(text.len() + 1));
        let (mut frames, mut from, mut opcode) = (Vec::new(), 0, opcode);
        for (cut, has_control) in cuts {
            let to = cut.index(text.len() + 1);
            frames.push(frame(opcode, &text[from..to]));
            if has_control {
                frames.push(frame(PING, &KEY.as_bytes()[..4 + from % 17]));
            }
            (from, opcode) = (to, 0);
        }
        frames.push(frame(0x80 | opcode, &text[from..]));
        frames
    })
}

fn parts<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    let ends = cuts.into_iter().chain([bytes.len()]);
    ends.map(|to| &bytes[std::mem::replace(&mut from, to)..to])
        .collect()
}

proptest! {
    #[test]
    fn every_message_is_masked_as_a_whole(
        sent in prop::collection::vec(message(), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let frames: Vec<Frame> = sent.into_iter().flatten().collect();
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
        for part in parts(&bytes, &cuts) {
            feed(&mut guard, part, &mut out);
        }
        let (sent, _) = messages(&frames_of(&[&bytes]));
        let expected: Vec<_> = sent.iter().map(|(kind, text)| (*kind, masked(text))).collect();
        prop_assert_eq!(guard.findings().body > 0, expected != sent);
        prop_assert_eq!(messages(&frames_of(&[&out])).0, expected);
        prop_assert!(guard.is_between());
    }

    #[test]
    fn nothing_waits_that_has_come_to_its_end(sent in prop::collection::vec(message(), 0..4)) {
        let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
        let mut bytes = Vec::new();
        for frame in sent.iter().flatten() {
            bytes.extend(frame.bytes());
            feed(&mut guard, &frame.bytes(), &mut out);
            let (whole, begun) = messages(&frames_of(&[&bytes]));
            let (whole_out, begun_out) = messages(&frames_of(&[&out]));
            prop_assert_eq!(whole.len(), whole_out.len());
            let held = begun.len() - begun_out.len();
            prop_assert!(held < KEY.len() * 3, "{} bytes held", held);
        }
    }
}

#[test]
fn a_message_of_one_frame_keeps_its_head() {
    for size in [0, 100, 126, 70_000] {
        let text = [vec![b'x'; size], KEY.as_bytes().to_vec()].concat();
        let sent = frame(0x81, &text).bytes();
        for at in [1, 2, 3, size + 9, sent.len() - 1, sent.len()] {
            let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
            let (one, other) = sent.split_at(at.min(sent.len()));
            feed(&mut guard, one, &mut out);
            feed(&mut guard, other, &mut out);
            assert!(out == frame(0x81, &masked(&text)).bytes());
        }
    }
}

#[test]
fn fragments_with_nothing_to_mask_keep_their_borders() {
    let frames = [
        frame(0x01, b"one"),
        frame(PING, b"?"),
        frame(0x00, b""),
        frame(0x00, &[b'x'; 300]),
        frame(0x80, b"end"),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
    feed(&mut guard, &bytes, &mut out);
    assert_eq!(out, bytes);
    assert_eq!(guard.findings(), Findings::default());
}

#[test]
fn a_control_frame_goes_out_while_a_fragments_end_waits() {
    let (one, other) = KEY.as_bytes().split_at(7);
    let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
    feed(&mut guard, &frame(0x01, one).bytes(), &mut out);
    assert!(out.is_empty());
    let ping = frame(PING, b"there?").bytes();
    feed(&mut guard, &ping, &mut out);
    assert_eq!(out.split(), ping);
    feed(&mut guard, &frame(0x80, other).bytes(), &mut out);
    assert_eq!(out, frame(0x81, &[b'*'; KEY.len()]).bytes());
}

#[test]
fn what_cannot_be_inspected_is_refused_or_passes_by_the_mode() {
    let mut masked_frame = frame(0x81, KEY.as_bytes());
    masked_frame.key = Some([0; 4]);
    for sent in [frame(0xc1, KEY.as_bytes()), masked_frame] {
        let (mut strict, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
        let bytes = Bytes::from(sent.bytes());
        assert_eq!(strict.feed(&bytes, &mut out), Err(Uninspectable));
        assert!(out.is_empty());
        let mut lenient = guard(LeakGuardMode::Lenient);
        let own = frame(0x81, KEY.as_bytes());
        feed(
            &mut lenient,
            &[sent.bytes(), own.bytes()].concat(),
            &mut out,
        );
        let stars = frame(0x81, &[b'*'; KEY.len()]).bytes();
        assert_eq!(out, [sent.bytes(), stars].concat());
        assert!(lenient.findings().is_uninspected && lenient.findings().body == 1);
    }
}

#[test]
fn a_compressed_message_in_fragments_passes_where_that_is_allowed() {
    let (mut guard, mut out) = (guard(LeakGuardMode::Lenient), BytesMut::new());
    let frames = [
        frame(0x41, b"\x01\x02"),
        frame(0x00, b"\x03"),
        frame(0x80, b"\x04"),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    feed(&mut guard, &bytes, &mut out);
    assert_eq!(out, bytes);
}

#[test]
fn what_is_no_frame_is_masked_as_one_stream() {
    let (one, other) = KEY.as_bytes().split_at(7);
    let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
    feed(&mut guard, &[b"\x83..", one].concat(), &mut out);
    assert_eq!(out, &b"\x83.."[..]);
    feed(&mut guard, other, &mut out);
    feed(&mut guard, one, &mut out);
    guard.end(&mut out);
    assert_eq!(out, [b"\x83..", &[b'*'; KEY.len()][..], one].concat());
    assert!(!guard.is_between());
}

#[test]
fn a_stream_is_finished_at_the_end_of_what_has_gone_out() {
    let bytes = Bytes::from([frame(0x81, b"abc").bytes(), frame(0x81, b"d").bytes()].concat());
    let (mut guard, mut out) = (guard(LeakGuardMode::Strict), BytesMut::new());
    // A head that is not whole has not gone out.
    guard.feed(&bytes.slice(..1), &mut out).unwrap();
    assert!(guard.is_between() && out.is_empty());
    guard.feed(&bytes.slice(1..3), &mut out).unwrap();
    assert!(!guard.is_between());
    guard.finish_frame(&bytes.slice(3..), &mut out).unwrap();
    assert_eq!(out, frame(0x81, b"abc").bytes());
    assert!(guard.is_between());
}
