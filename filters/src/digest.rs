//! SHA-256 (FIPS 180-4), HMAC-SHA256 (RFC 2104) and comparison in constant
//! time, over BoringSSL. Nothing here allocates: a message is hashed from the
//! parts it lies in.

use boring::sha::Sha256;
use zeroize::Zeroizing;

/// Bytes that SHA-256 takes in at a time.
const BLOCK: usize = 64;

pub fn sha256(data: &[u8]) -> [u8; 32] {
    boring::sha::sha256(data)
}

/// The digest of all parts, one after another.
pub fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    finish(Sha256::new(), parts)
}

/// The code of all parts, one after another.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let block = key_block(key);
    let inner = finish(padded(&block, 0x36), parts);
    finish(padded(&block, 0x5c), &[&inner])
}

/// Takes as long for equal texts as for different ones of one length; a
/// difference in length shows.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && boring::memcmp::eq(a, b)
}

/// RFC 2104: a key longer than a block is hashed, a shorter one filled up.
fn key_block(key: &[u8]) -> Zeroizing<[u8; BLOCK]> {
    let mut block = Zeroizing::new([0; BLOCK]);
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = Zeroizing::new(sha256(key));
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}

fn padded(block: &[u8; BLOCK], pad: u8) -> Sha256 {
    let masked = Zeroizing::new(block.map(|byte| byte ^ pad));
    let mut state = Sha256::new();
    state.update(masked.as_slice());
    state
}

fn finish(mut state: Sha256, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        state.update(part);
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hashes_as_fips_180_4_says() {
        for (message, digest) in [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(hex(&sha256(message.as_bytes())), digest, "{message:?}");
        }
    }

    /// RFC 4231, sections 4.2 to 4.4, 4.7 and 4.8.
    #[test]
    fn authenticates_as_rfc_4231_says() {
        let long_key = [0xaa; 131];
        let cases: [(&[u8], &[u8], &str); 5] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &long_key,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &long_key,
                b"This is a test using a larger than block-size key and a larger \
                  than block-size data. The key needs to be hashed before being used \
                  by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, message, code) in cases {
            assert_eq!(hex(&hmac_sha256(key, &[message])), code);
        }
    }

    #[test]
    fn compares_all_of_both() {
        assert!(equal(b"same", b"same"));
        assert!(equal(b"", b""));
        assert!(!equal(b"same", b"sane"));
        assert!(!equal(b"same", b"sam"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_library_wherever_the_parts_are_cut(
            key: Vec<u8>, message: Vec<u8>, at in any::<prop::sample::Index>(),
        ) {
            let cut = at.index(message.len() + 1);
            let (one, two) = message.split_at(cut);
            let expected = boring::hash::hmac_sha256(&key, &message).unwrap();
            prop_assert_eq!(hmac_sha256(&key, &[one, two]), expected);
            prop_assert_eq!(sha256_of(&[one, two]), sha256(&message));
        }
    }
}
