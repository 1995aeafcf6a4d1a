//! Signed requests. No headers of a stranger's verify; what was signed does,
//! in either case of its digits; the same message with one part changed does
//! not; and one message is one claim, however it is written.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use knoxcall_bundle::{RouteEnvironment, SignatureVersion};
use knoxcall_filters::sample::{self, NOW, Request, SIGNING_SECRET};
use knoxcall_filters::signature::{Message, Scope, verify};
use knoxcall_filters::{Admitted, Head, Refusal, RouteTable};
use knoxcall_fuzz::{Sent, admitted, gateway, request};
use libfuzzer_sys::fuzz_target;

static V1: LazyLock<RouteTable> = LazyLock::new(|| table(SignatureVersion::V1));
static V2: LazyLock<RouteTable> = LazyLock::new(|| table(SignatureVersion::V2));
static ADMITTED: LazyLock<Request> = LazyLock::new(|| request(&Method::POST));

const TIMESTAMP: &str = "1800000000";
const NONCE: &[u8] = b"fuzz-nonce-00001";

fn table(version: SignatureVersion) -> RouteTable {
    gateway(RouteEnvironment {
        signature: Some(sample::signature(version)),
        ..sample::environment("production")
    })
}

fuzz_target!(|data: &[u8]| {
    let Some(sent) = Sent::read(data) else { return };
    for (version, table) in [(SignatureVersion::V1, &V1), (SignatureVersion::V2, &V2)] {
        let admitted = admitted(table, &ADMITTED);
        check_stranger(&admitted, &sent);
        check_client(&admitted, &sent, version);
    }
});

/// The headers as they came. They cannot be right: nobody knows the secret.
fn check_stranger(admitted: &Admitted<'_, '_>, sent: &Sent<'_>) {
    let refusal = verify(admitted, &sent.head(), sent.body, NOW).expect_err("a forgery");
    assert!(matches!(
        refusal,
        Refusal::SignatureMissing
            | Refusal::SignatureInvalid
            | Refusal::SignatureExpired
            | Refusal::Malformed(_)
    ));
}

fn check_client(admitted: &Admitted<'_, '_>, sent: &Sent<'_>, version: SignatureVersion) {
    let headers = signed(admitted, sent, version);
    let head = Head {
        headers: &headers,
        ..sent.head()
    };
    let claim = verify(admitted, &head, sent.body, NOW)
        .expect("as signed")
        .expect("a claim");
    assert_eq!(claim.signed_at, NOW);

    let upper = in_upper_case(&headers);
    let head = Head {
        headers: &upper,
        ..head
    };
    assert_eq!(verify(admitted, &head, sent.body, NOW), Ok(Some(claim)));

    let refused = Err(Refusal::SignatureInvalid);
    let longer = [sent.body, b"\n"].concat();
    assert_eq!(verify(admitted, &head, &longer, NOW), refused);
    let elsewhere = [sent.target, b"\n"].concat();
    assert_eq!(
        verify(
            admitted,
            &Head {
                target: &elsewhere,
                ..head
            },
            sent.body,
            NOW
        ),
        refused
    );
    let other = if sent.method == Method::PUT {
        Method::POST
    } else {
        Method::PUT
    };
    assert_eq!(
        verify(
            admitted,
            &Head {
                method: &other,
                ..head
            },
            sent.body,
            NOW
        ),
        refused
    );
    if version == SignatureVersion::V2 {
        let host = [sent.host, b"."].concat();
        let foreign = Head {
            host: &host,
            ..head
        };
        assert_eq!(verify(admitted, &foreign, sent.body, NOW), refused);
        check_moved_line(admitted, &head, sent.body);
    }
}

/// Bytes of the body do not pass for bytes of the target. In `v1` nothing but
/// the grammar of targets keeps them apart.
fn check_moved_line(admitted: &Admitted<'_, '_>, head: &Head<'_>, body: &[u8]) {
    let Some(at) = memchr::memchr(b'\n', body) else {
        return;
    };
    let target = [head.target, b"\n", &body[..at]].concat();
    let moved = Head {
        target: &target,
        ..*head
    };
    let verified = verify(admitted, &moved, &body[at + 1..], NOW);
    assert_eq!(verified, Err(Refusal::SignatureInvalid));
}

fn signed(admitted: &Admitted<'_, '_>, sent: &Sent<'_>, version: SignatureVersion) -> HeaderMap {
    let message = Message {
        timestamp: TIMESTAMP.as_bytes(),
        method: sent.method.as_str(),
        target: sent.target,
        body: sent.body,
        scope: (version == SignatureVersion::V2).then_some(Scope {
            host: sent.host,
            route: admitted.route.id,
            environment: &admitted.service.environment,
            nonce: NONCE,
        }),
    };
    let mut headers = sent.headers.clone();
    for (name, value) in message.sign(&sample::signature(version), SIGNING_SECRET.as_bytes()) {
        headers.insert(name, value);
    }
    headers
}

fn in_upper_case(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some(code) = headers.get_mut("x-signature") {
        *code = HeaderValue::from_bytes(&code.as_bytes().to_ascii_uppercase()).expect("digits");
    }
    headers
}
