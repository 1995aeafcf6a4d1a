//! Whole bodies, decoded: gzip (RFC 1952), br (RFC 7932), zstd (RFC 8878). The
//! rule: not a byte more than the limit is made, and what follows the end of a
//! coded body, or is missing at it, is a mistake.

use std::io::Read;

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::bufread::MultiGzDecoder;

use super::TransformError;
use super::coding::Coding;

/// The window that a decoder of web content has to offer (RFC 9659): 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Of a frame, and of one that holds no content (RFC 8878, section 3.1).
const ZSTD_MAGIC: u32 = 0xFD2F_B528;
const ZSTD_SKIPPABLE: u32 = 0x184D_2A50;

const BROTLI_CHUNK: usize = 16 * 1024;

pub(super) fn decode(coding: Coding, body: &[u8], limit: usize) -> Result<Vec<u8>, TransformError> {
    let mut decoded = Decoded {
        content: Vec::with_capacity(body.len().saturating_mul(3).min(limit)),
        limit,
    };
    match coding {
        Coding::Gzip => decoded.take_all(MultiGzDecoder::new(body))?,
        Coding::Brotli => brotli(body, &mut decoded)?,
        Coding::Zstd => zstd(body, &mut decoded)?,
    }
    Ok(decoded.content)
}

struct Decoded {
    content: Vec<u8>,
    limit: usize,
}

impl Decoded {
    /// Reads to the end, which is where a decoder checks what it has read.
    fn take_all(&mut self, reader: impl Read) -> Result<(), TransformError> {
        let room = self.limit - self.content.len().min(self.limit);
        let mut reader = reader.take(room as u64 + 1);
        reader
            .read_to_end(&mut self.content)
            .map_err(|_| TransformError::Undecodable)?;
        self.check()
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), TransformError> {
        self.content.extend_from_slice(piece);
        self.check()
    }

    fn check(&self) -> Result<(), TransformError> {
        match self.content.len() > self.limit {
            true => Err(TransformError::TooLarge),
            false => Ok(()),
        }
    }
}

/// Frame by frame: the library would also read the formats of its own past.
fn zstd(mut body: &[u8], decoded: &mut Decoded) -> Result<(), TransformError> {
    while !body.is_empty() {
        let magic = body.first_chunk().map(|magic| u32::from_le_bytes(*magic));
        let is_frame = |magic| magic == ZSTD_MAGIC || magic & !0xF == ZSTD_SKIPPABLE;
        if !magic.is_some_and(is_frame) {
            return Err(TransformError::Undecodable);
        }
        let frame = zstd::stream::read::Decoder::with_buffer(body);
        let mut frame = frame
            .map_err(|_| TransformError::Undecodable)?
            .single_frame();
        frame
            .window_log_max(ZSTD_WINDOW_LOG)
            .map_err(|_| TransformError::Undecodable)?;
        decoded.take_all(&mut frame)?;
        body = frame.finish();
    }
    Ok(())
}

/// By hand: the library's reader does not say where a body has ended, and takes
/// windows of up to a gibibyte, which RFC 7932 does not know.
fn brotli(body: &[u8], decoded: &mut Decoded) -> Result<(), TransformError> {
    let mut state = BrotliState::new_strict(
        HeapAlloc::<u8>::new(0),
        HeapAlloc::<u32>::new(0),
        HeapAlloc::<HuffmanCode>::new(HuffmanCode::default()),
    );
    let mut chunk = vec![0; BROTLI_CHUNK.min(decoded.limit.saturating_add(1))];
    let (mut left, mut read, mut total) = (body.len(), 0, 0);
    loop {
        let (mut room, mut written) = (chunk.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            body,
            &mut room,
            &mut written,
            &mut chunk,
            &mut total,
            &mut state,
        );
        decoded.take(chunk.get(..written).unwrap_or_default())?;
        match result {
            BrotliResult::ResultSuccess if left == 0 => return Ok(()),
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess
            | BrotliResult::NeedsMoreInput
            | BrotliResult::ResultFailure => return Err(TransformError::Undecodable),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn encode(coding: Coding, content: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                gzip.write_all(content).unwrap();
                gzip.finish().unwrap()
            }
            Coding::Brotli => {
                let mut coded = Vec::new();
                let mut brotli = brotli::CompressorWriter::new(&mut coded, 4096, 5, 22);
                brotli.write_all(content).unwrap();
                drop(brotli);
                coded
            }
            Coding::Zstd => zstd::encode_all(content, 3).unwrap(),
        }
    }

    fn text() -> Vec<u8> {
        br#"{"a":"a text that can be made smaller","b":[1,2,3]}"#.repeat(100)
    }

    #[test]
    fn decodes_what_was_encoded() {
        for coding in CODINGS {
            for content in [Vec::new(), b"x".to_vec(), text()] {
                let coded = encode(coding, &content);
                assert_eq!(decode(coding, &coded, 1 << 20), Ok(content), "{coding:?}");
            }
        }
    }

    #[test]
    fn decodes_a_body_of_just_the_limit_and_none_of_one_byte_more() {
        for coding in CODINGS {
            let coded = encode(coding, &text());
            let length = text().len();
            assert_eq!(decode(coding, &coded, length), Ok(text()), "{coding:?}");
            assert_eq!(
                decode(coding, &coded, length - 1),
                Err(TransformError::TooLarge),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn stops_at_the_limit_of_a_bomb() {
        let zeros = vec![0; 16 << 20];
        for coding in CODINGS {
            let bomb = encode(coding, &zeros);
            assert!(bomb.len() < 64 * 1024, "{coding:?}: {}", bomb.len());
            assert_eq!(
                decode(coding, &bomb, 4096),
                Err(TransformError::TooLarge),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn refuses_a_body_that_is_cut_at_any_byte() {
        for coding in CODINGS {
            let coded = encode(coding, &text());
            for end in 1..coded.len() {
                assert_eq!(
                    decode(coding, &coded[..end], 1 << 20),
                    Err(TransformError::Undecodable),
                    "{coding:?} {end}"
                );
            }
        }
    }

    #[test]
    fn refuses_what_follows_the_end() {
        for coding in CODINGS {
            for garbage in [&b"\0"[..], b"\x03", b"garbage that is longer than a head"] {
                let coded = [&encode(coding, &text()), garbage].concat();
                assert_eq!(
                    decode(coding, &coded, 1 << 20),
                    Err(TransformError::Undecodable),
                    "{coding:?} {garbage:?}"
                );
            }
        }
    }

    #[test]
    fn refuses_what_is_not_encoded_at_all() {
        for coding in CODINGS {
            assert_eq!(
                decode(coding, &text(), 1 << 20),
                Err(TransformError::Undecodable),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn reads_several_members_and_frames_as_one_body() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let coded = [encode(coding, b"{\"a\":"), encode(coding, b"1}")].concat();
            assert_eq!(decode(coding, &coded, 100), Ok(b"{\"a\":1}".to_vec()));
            assert_eq!(decode(coding, &coded, 6), Err(TransformError::TooLarge));
        }
        let skippable = b"\x50\x2a\x4d\x18\x02\0\0\0ab";
        let coded = [&skippable[..], &encode(Coding::Zstd, b"1")].concat();
        assert_eq!(decode(Coding::Zstd, &coded, 100), Ok(b"1".to_vec()));
    }

    #[test]
    fn refuses_a_gzip_member_with_a_wrong_sum() {
        let mut coded = encode(Coding::Gzip, &text());
        let sum = coded.len() - 8;
        coded[sum] ^= 1;
        assert_eq!(
            decode(Coding::Gzip, &coded, 1 << 20),
            Err(TransformError::Undecodable)
        );
    }

    #[test]
    fn refuses_windows_that_are_larger_than_the_web_uses() {
        let mut large = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        large.window_log(27).unwrap();
        large.write_all(&text()).unwrap();
        let coded = large.finish().unwrap();
        assert_eq!(
            decode(Coding::Zstd, &coded, 1 << 20),
            Err(TransformError::Undecodable)
        );
        // The sign of a large window, and 30 bits of it.
        let large = [0x11, 0x1e, 0x03];
        assert_eq!(
            decode(Coding::Brotli, &large, 1 << 20),
            Err(TransformError::Undecodable)
        );
    }

    proptest! {
        #[test]
        fn a_damaged_body_neither_panics_nor_outgrows_the_limit(
            coding in prop::sample::select(CODINGS.to_vec()),
            damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            limit in 0_usize..8192,
        ) {
            let mut coded = encode(coding, &text());
            for (place, byte) in damages {
                *place.get_mut(&mut coded) = byte;
            }
            if let Ok(content) = decode(coding, &coded, limit) {
                prop_assert!(content.len() <= limit);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(
            coding in prop::sample::select(CODINGS.to_vec()),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(coding, &bytes, 1 << 16);
        }
    }
}
