//! WebSocket frames in parts. However they are cut, the same frames are told
//! and the same goes out; nothing that is masked is left, and what is not
//! altered is as long as it was.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use knoxcall_bundle::LeakGuardMode;
use knoxcall_filters::leak_guard::LeakGuard;
use knoxcall_filters::websocket::{Frames, MessageGuard, Step};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "sk_live_4f9a8b7c6d5e";

static GUARD: LazyLock<Arc<LeakGuard>> =
    LazyLock::new(|| Arc::new(LeakGuard::new([KEY].into_iter()).unwrap()));

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = data.split_first_chunk::<4>() else {
        return;
    };
    let bytes = expanded(bytes);
    let parts = parts(&bytes, cuts);
    assert_eq!(told(&[&bytes]), told(&parts));
    let whole = masked(&[&bytes], LeakGuardMode::Lenient);
    let (out, hits) = masked(&parts, LeakGuardMode::Lenient);
    // Fragments may have other borders, and heads of their own with them.
    assert_eq!((payloads(&out), hits), (payloads(&whole.0), whole.1));
    let _ = masked(&parts, LeakGuardMode::Strict);
});

/// The upper half of bytes that are no likely head stands for the key, whole
/// or cut short.
fn expanded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            0xe0..=0xff => out.extend(&KEY.as_bytes()[..usize::from(byte & 0x1f).min(KEY.len())]),
            _ => out.push(*byte),
        }
    }
    out
}

fn parts<'b>(bytes: &'b [u8], cuts: &[u8; 4]) -> Vec<&'b [u8]> {
    let mut cuts = cuts.map(|cut| usize::from(cut).min(bytes.len()));
    cuts.sort_unstable();
    let mut from = 0;
    let ends = cuts.into_iter().chain([bytes.len()]);
    ends.map(|to| &bytes[std::mem::replace(&mut from, to)..to])
        .collect()
}

/// A head and its payload.
type Frame = (Vec<u8>, Vec<u8>);

/// Every frame, and what follows them.
fn told(parts: &[&[u8]]) -> (Vec<Frame>, Vec<u8>, bool) {
    let mut frames = Frames::default();
    let (mut all, mut rest): (Vec<Frame>, _) = (Vec::new(), Vec::new());
    for part in parts {
        let mut part = *part;
        while let Some(step) = frames.step(&mut part) {
            match step {
                Step::Head(head) => all.push((head.bytes().to_vec(), Vec::new())),
                Step::Payload { bytes, .. } => all.last_mut().unwrap().1.extend(bytes),
                Step::Nonsense(bytes) => rest.extend(bytes),
                Step::Rest(bytes) => rest.extend(bytes),
            }
        }
        assert!(part.is_empty());
    }
    (all, rest, frames.is_between())
}

fn masked(parts: &[&[u8]], mode: LeakGuardMode) -> (Vec<u8>, usize) {
    let mut guard = MessageGuard::new(GUARD.clone(), mode);
    let mut out = BytesMut::new();
    for part in parts {
        if guard.feed(&Bytes::copy_from_slice(part), &mut out).is_err() {
            break;
        }
    }
    guard.end(&mut out);
    (out.to_vec(), guard.findings().body)
}

/// Of data and of control frames, and what follows them.
fn payloads(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (frames, rest, _) = told(&[bytes]);
    let (mut data, mut control) = (Vec::new(), Vec::new());
    for (head, payload) in frames {
        let is_control = head.first().is_some_and(|first| first & 0x08 != 0);
        let of_kind = if is_control { &mut control } else { &mut data };
        of_kind.extend(payload);
    }
    (data, control, rest)
}
