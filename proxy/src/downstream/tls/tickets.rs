//! Session tickets (RFC 5077) under keys that instances share: the first one
//! encrypts, all decrypt. A ticket of an older key is taken and replaced.
//!
//! The only unsafe code of the workspace: BoringSSL cannot know whether the
//! callback encrypts and authenticates tickets as it must.
#![allow(
    unsafe_code,
    reason = "boring offers ticket keys by an unsafe callback alone"
)]

use boring::hash::MessageDigest;
use boring::hmac::HmacCtxRef;
use boring::rand::rand_bytes;
use boring::ssl::{SslContextBuilder, TicketKeyCallbackResult};
use boring::symm::{Cipher, CipherCtxRef};
use knoxcall_bundle::settings::TicketKey;
use zeroize::Zeroizing;

const NAME: usize = 16;

pub(super) struct TicketKeys {
    first: Key,
    others: Vec<Key>,
}

struct Key {
    name: [u8; NAME],
    /// HMAC-SHA256 first, then AES: of the same length.
    secrets: Zeroizing<Vec<u8>>,
    cipher: Cipher,
}

impl TicketKeys {
    /// `None` where none is shared.
    pub(super) fn new(keys: &[TicketKey]) -> Option<Self> {
        let mut keys = keys.iter().filter_map(Key::new);
        Some(Self {
            first: keys.next()?,
            others: keys.collect(),
        })
    }

    fn encrypt(
        &self,
        name: &mut [u8; NAME],
        iv: &mut [u8; NAME],
        cipher: &mut CipherCtxRef,
        hmac: &mut HmacCtxRef,
    ) -> TicketKeyCallbackResult {
        let key = &self.first;
        *name = key.name;
        let ready = rand_bytes(iv)
            .and_then(|()| cipher.init_encrypt(&key.cipher, key.aes(), iv))
            .and_then(|()| hmac.init(key.hmac(), &MessageDigest::sha256()));
        match ready {
            Ok(()) => TicketKeyCallbackResult::Success,
            Err(_) => TicketKeyCallbackResult::Error,
        }
    }

    fn decrypt(
        &self,
        name: &[u8; NAME],
        iv: &[u8; NAME],
        cipher: &mut CipherCtxRef,
        hmac: &mut HmacCtxRef,
    ) -> TicketKeyCallbackResult {
        let found = match self.first.name == *name {
            true => Some((&self.first, TicketKeyCallbackResult::Success)),
            false => self
                .others
                .iter()
                .find(|key| key.name == *name)
                .map(|key| (key, TicketKeyCallbackResult::DecryptSuccessRenew)),
        };
        let Some((key, result)) = found else {
            return TicketKeyCallbackResult::Noop;
        };
        let ready = cipher
            .init_decrypt(&key.cipher, key.aes(), iv)
            .and_then(|()| hmac.init(key.hmac(), &MessageDigest::sha256()));
        match ready {
            Ok(()) => result,
            Err(_) => TicketKeyCallbackResult::Error,
        }
    }
}

impl Key {
    fn new(key: &TicketKey) -> Option<Self> {
        let (name, secrets) = key.material().split_first_chunk::<NAME>()?;
        Some(Self {
            name: *name,
            secrets: Zeroizing::new(secrets.to_vec()),
            cipher: match secrets.len() {
                32 => Cipher::aes_128_cbc(),
                _ => Cipher::aes_256_cbc(),
            },
        })
    }

    fn hmac(&self) -> &[u8] {
        self.secrets.split_at(self.secrets.len() / 2).0
    }

    fn aes(&self) -> &[u8] {
        self.secrets.split_at(self.secrets.len() / 2).1
    }
}

pub(super) fn share(builder: &mut SslContextBuilder, keys: TicketKeys) {
    // SAFETY: the contract is that a successful callback has set name, IV,
    // cipher and HMAC. `encrypt` sets all four, the IV at random for each
    // ticket; `decrypt` sets cipher and HMAC by the name that it is given; both
    // report what fails. Neither keeps anything that it is given.
    unsafe {
        builder.set_ticket_key_callback(
            move |_, name, iv, cipher, hmac, encrypts| match encrypts {
                true => keys.encrypt(name, iv, cipher, hmac),
                false => keys.decrypt(name, iv, cipher, hmac),
            },
        );
    }
}
