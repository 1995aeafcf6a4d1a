//! The record of a request whose head was refused as raw bytes: what can be
//! told of it, without trusting any of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use knoxcall_filters::Refusal;
use knoxcall_ledger::{RequestRecord, Text};

use super::context::RequestId;
use crate::gateway::Gateway;

/// Of a refused request line, this much is recorded.
const LONGEST_LINE: usize = 1024;

pub fn record_malformed(
    gateway: &Arc<Gateway>,
    id: RequestId,
    head: &[u8],
    peer: IpAddr,
    refusal: &Refusal,
) {
    let snapshot = gateway.snapshot.load();
    let mut record = RequestRecord::new(id.uuid(), SystemTime::now(), snapshot.obfuscator.clone());
    let (method, target) = request_line(head);
    record.method = Text::from(method);
    record.path = Text::from(target);
    record.peer_ip = Some(peer);
    record.status = Some(refusal.status().as_u16());
    record.error = Some(refusal.code());
    record.error_detail = Some(Text::from(refusal.message().as_ref()));
    gateway.metrics.count_request(record.status);
    gateway.metrics.count_refusal(refusal.code());
    gateway.ledger.submit(record);
}

/// The first two words of the first line, whatever they are.
fn request_line(head: &[u8]) -> (&[u8], &[u8]) {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..line.len().min(LONGEST_LINE)).unwrap_or_default();
    let mut words = line.trim_ascii_end().splitn(3, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    (method, words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_method_and_target_as_they_come() {
        assert_eq!(
            request_line(b"GET /a?b HTTP/1.1\r\nHost: x\r\n"),
            (&b"GET"[..], &b"/a?b"[..])
        );
        assert_eq!(
            request_line(b"\x16\x03\x01"),
            (&b"\x16\x03\x01"[..], &b""[..])
        );
        assert_eq!(request_line(b""), (&b""[..], &b""[..]));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let endless = [b'a'; 10_000];
        assert_eq!(request_line(&endless).0.len(), LONGEST_LINE);
    }
}
