//! Request signatures as a client in another language would make them from
//! `docs/signing.md`: not by the product's own code.

use std::time::{SystemTime, UNIX_EPOCH};

use boring::hash::hmac_sha256;

use crate::config::hex;

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Of a request to a gateway that may have started within this second: what
/// was signed before its first second is over, it cannot know to be new.
pub fn timestamp() -> u64 {
    now() + 1
}

/// `v1` over what is sent.
pub fn v1(secret: &str, timestamp: u64, method: &str, target: &str, body: &[u8]) -> String {
    let mut message = format!("{timestamp}\n{method}\n{target}\n").into_bytes();
    message.extend(body);
    mac(secret, &message)
}

/// What `v2` covers beside a `v1`'s parts.
#[derive(Clone, Copy, Debug)]
pub struct V2<'a> {
    pub host: &'a str,
    pub route_id: &'a str,
    pub environment: &'a str,
    pub nonce: &'a str,
}

pub fn v2(
    secret: &str,
    timestamp: u64,
    method: &str,
    target: &str,
    body: &[u8],
    more: V2<'_>,
) -> String {
    let V2 {
        host,
        route_id,
        environment,
        nonce,
    } = more;
    let mut message = format!(
        "v2\n{timestamp}\n{method}\n{host}\n{target}\n{route_id}\n{environment}\n{nonce}\n"
    )
    .into_bytes();
    message.extend(body);
    mac(secret, &message)
}

fn mac(secret: &str, message: &[u8]) -> String {
    hex(&hmac_sha256(secret.as_bytes(), message).unwrap())
}
