//! The leak guard over a text in parts. However it is cut, the same comes out
//! as of the whole: as long as it was, changed into asterisks alone, and with no
//! form of a secret left.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use knoxcall_filters::leak_guard::{LeakGuard, Masker};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "sk_live_4f9a8b7c6d5e";
const ODD: &str = "p/w d+é\"\\<&>'=~";
/// The first two overlap with themselves, the last one with the key.
const TANGLED: [&str; 3] = ["abababab", "bababababa", "xyz-sk_live_"];

static GUARD: LazyLock<LeakGuard> = LazyLock::new(|| {
    let values = [KEY, ODD].into_iter().chain(TANGLED);
    LeakGuard::new(values).unwrap()
});

/// As encoders write them; what base64 shares with its neighbours is left out.
const FORMS: [&[u8]; 16] = [
    KEY.as_bytes(),
    ODD.as_bytes(),
    TANGLED[0].as_bytes(),
    TANGLED[1].as_bytes(),
    TANGLED[2].as_bytes(),
    b"c2tfbGl2ZV80ZjlhOGI3YzZkNW",
    b"NrX2xpdmVfNGY5YThiN2M2ZDVl",
    b"za19saXZlXzRmOWE4YjdjNmQ1Z",
    b"736b5f6c6976655f346639613862376336643565",
    b"736B5F6C6976655F346639613862376336643565",
    b"p%2Fw+d%2B%C3%A9%22%5C%3C%26%3E%27%3D~",
    b"p%2fw%20d%2b%c3%a9%22%5c%3c%26%3e'%3d~",
    br#"p\/w d+\u00e9\"\\<&>'=~"#,
    br#"p/w d+\u00e9\"\\\u003c\u0026\u003e'=~"#,
    "p/w d+é\\\"\\\\<&>'=~".as_bytes(),
    "p/w d+é&quot;\\&lt;&amp;&gt;&#39;=~".as_bytes(),
];

fuzz_target!(|data: &[u8]| {
    let Some((cuts, text)) = data.split_first_chunk::<4>() else {
        return;
    };
    let text = expanded(text);
    let mut masked = text.clone();
    let hits = GUARD.mask(&mut masked);
    assert_eq!(masked.len(), text.len());
    assert!(
        text.iter()
            .zip(&masked)
            .all(|(was, is)| was == is || *is == b'*')
    );
    for form in FORMS {
        assert!(memchr::memmem::find(&masked, form).is_none());
    }
    assert_eq!(streamed(&parts(&text, cuts)), (masked.clone(), hits));
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(streamed(&single), (masked, hits));
});

/// Bytes of the input's upper half stand for forms, whole or cut short, which
/// would otherwise take the fuzzer long to find.
fn expanded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text {
        match (byte.checked_sub(0x80), FORMS.get(usize::from(byte & 0x0f))) {
            (Some(cut), Some(form)) => {
                let cut = usize::from(cut >> 4) * form.len() / 16;
                out.extend_from_slice(&form[cut / 2..form.len() - cut / 2]);
            }
            (_, _) => out.push(*byte),
        }
    }
    out
}

fn parts<'t>(text: &'t [u8], cuts: &[u8; 4]) -> Vec<&'t [u8]> {
    let mut cuts: Vec<usize> = cuts
        .iter()
        .map(|cut| usize::from(*cut).min(text.len()))
        .collect();
    cuts.sort_unstable();
    let mut from = 0;
    let mut parts = Vec::new();
    for cut in cuts.into_iter().chain([text.len()]) {
        parts.push(&text[from..cut]);
        from = cut;
    }
    parts
}

fn streamed(parts: &[&[u8]]) -> (Vec<u8>, usize) {
    let (mut masker, mut out) = (Masker::default(), Vec::new());
    for part in parts {
        out.extend(masker.feed(&GUARD, Bytes::copy_from_slice(part), false));
    }
    out.extend(masker.feed(&GUARD, Bytes::new(), true));
    (out, masker.hits())
}
