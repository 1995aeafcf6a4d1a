//! A chunked body has one end, however its bytes are cut into reads; and what
//! is taken for one is read the same by a reader that knows only the grammar.

#![no_main]

use knoxcall_filters::hygiene::{Chunks, Malchunked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, body)) = data.split_first() else {
        return;
    };
    let whole = end_of(&[body]);
    let (first, second) = body.split_at(usize::from(*cut).min(body.len()));
    assert_eq!(whole, end_of(&[first, second]));
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(whole, end_of(&single));
    if let Ok(Some(end)) = whole {
        assert_eq!(by_the_grammar(&body[..end]), Some(end));
    }
});

/// Where the body ends, `None` where it has not.
fn end_of(reads: &[&[u8]]) -> Result<Option<usize>, Malchunked> {
    let mut chunks = Chunks::default();
    let mut taken = 0;
    for read in reads {
        taken += chunks.follow(read)?;
    }
    Ok(chunks.is_over().then_some(taken))
}

/// RFC 9112, section 7.1, by whole lines.
fn by_the_grammar(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(body, &mut at)?;
        let digits = line.split(|byte| *byte == b';').next()?;
        assert!(
            digits.iter().all(u8::is_ascii_hexdigit),
            "a size has digits"
        );
        match usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
            0 => break,
            size => {
                at += size;
                assert_eq!(body.get(at..at + 2), Some(&b"\r\n"[..]));
                at += 2;
            }
        }
    }
    while !line(body, &mut at)?.is_empty() {}
    Some(at)
}

fn line<'b>(body: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let rest = body.get(*at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    *at += end + 2;
    rest.get(..end)
}
