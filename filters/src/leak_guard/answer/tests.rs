//! Answers of a route that injects the sample's token.

use http::HeaderValue;
use knoxcall_bundle::RouteEnvironment;

use super::*;
use crate::sample::{self, TOKEN};
use crate::testing::{admitted, injecting, request, tenant_with};

fn guarded(mode: LeakGuardMode) -> RouteEnvironment {
    let mut here = injecting(&[("x-token", "{{secret:token}}")]);
    here.leak_guard.mode = mode;
    here
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn begin_with(
    here: RouteEnvironment,
    method: &Method,
    status: u16,
    headers: &mut HeaderMap,
) -> Result<Option<AnswerGuard>, Refusal> {
    let status = StatusCode::from_u16(status).unwrap();
    admitted(tenant_with(here), &request("/"), |admitted, _| {
        let coding = Coding::of(status, headers);
        AnswerGuard::begin(admitted.service, method, status, coding, headers)
    })
}

fn begin(status: u16, headers: &mut HeaderMap) -> AnswerGuard {
    let here = guarded(LeakGuardMode::Strict);
    let guard = begin_with(here, &Method::GET, status, headers);
    guard.unwrap().unwrap()
}

fn stars() -> String {
    "*".repeat(TOKEN.len())
}

fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

#[test]
fn head_body_and_trailers_are_masked_and_counted() {
    let mut head = headers(&[("x-echo", TOKEN), ("x-other", "1")]);
    let mut guard = begin(200, &mut head);
    assert_eq!(head["x-echo"], stars());
    let (one, other) = TOKEN.split_at(7);
    assert_eq!(guard.feed(bytes(format!("a {one}")), false), "a ");
    assert_eq!(
        guard.feed(bytes(format!("{other} b")), false),
        format!("{} b", stars())
    );
    assert_eq!(guard.feed(Bytes::new(), true), "");
    let mut trailers = headers(&[("x-echo", TOKEN), ("content-digest", "sha-256=:x:")]);
    guard.trailers(&mut trailers);
    assert_eq!(trailers, headers(&[("x-echo", &stars())]));
    let findings = Findings {
        headers: 1,
        body: 1,
        trailers: 1,
        is_uninspected: false,
    };
    assert_eq!(guard.findings(), findings);
}

#[test]
fn a_body_that_ends_with_the_beginning_of_a_secret_is_whole_before_its_trailers() {
    let mut guard = begin(200, &mut HeaderMap::new());
    assert_eq!(guard.feed(bytes("so far sample-up"), false), "so far ");
    assert_eq!(guard.feed(Bytes::new(), true), "sample-up");
    let mut trailers = headers(&[("content-digest", "sha-256=:x:")]);
    guard.trailers(&mut trailers);
    assert_eq!(trailers.len(), 1);
}

#[test]
fn a_route_without_a_guard_has_none() {
    for here in [
        guarded(LeakGuardMode::Off),
        sample::environment("production"),
    ] {
        let mut head = headers(&[("x-echo", TOKEN), ("content-encoding", "gzip")]);
        let guard = begin_with(here, &Method::GET, 200, &mut head);
        assert!(guard.unwrap().is_none());
        assert_eq!(head["x-echo"], TOKEN);
    }
}

#[test]
fn strict_refuses_what_it_cannot_look_into() {
    for (status, line) in [
        (200, ("content-encoding", "gzip")),
        (500, ("content-encoding", "br")),
        (200, ("content-type", "text/plain; charset=utf-16")),
        (101, ("sec-websocket-extensions", "permessage-deflate")),
    ] {
        let here = guarded(LeakGuardMode::Strict);
        let refused = begin_with(here, &Method::GET, status, &mut headers(&[line]));
        assert_eq!(
            refused.err(),
            Some(Refusal::ResponseUninspectable),
            "{line:?}"
        );
    }
}

#[test]
fn what_rules_make_of_the_head_does_not_change_how_the_body_is_written() {
    let strict = || tenant_with(guarded(LeakGuardMode::Strict));
    let begin = |of_upstream: &HeaderMap, changed: &mut HeaderMap| {
        admitted(strict(), &request("/"), |admitted, _| {
            let coding = Coding::of(StatusCode::OK, of_upstream);
            AnswerGuard::begin(
                admitted.service,
                &Method::GET,
                StatusCode::OK,
                coding,
                changed,
            )
        })
    };
    let grpc = ("content-type", "application/grpc");
    for of_upstream in [
        &[("content-type", "text/plain; charset=utf-16")][..],
        &[grpc, ("grpc-encoding", "gzip")],
    ] {
        let of_upstream = headers(of_upstream);
        for mut changed in [HeaderMap::new(), headers(&[("content-type", "text/plain")])] {
            let refused = begin(&of_upstream, &mut changed).err();
            assert_eq!(refused, Some(Refusal::ResponseUninspectable));
        }
    }
    let compressed = headers(&[("content-encoding", "gzip")]);
    let refused = begin(&compressed, &mut compressed.clone()).err();
    assert_eq!(refused, Some(Refusal::ResponseUninspectable));
    let decoded = begin(&compressed, &mut HeaderMap::new());
    assert!(decoded.is_ok_and(|guard| guard.is_some()));
}

#[test]
fn lenient_masks_what_it_can_of_foreign_characters_and_says_so() {
    let mut head = headers(&[("content-type", "text/plain; charset=unheard-of")]);
    let here = guarded(LeakGuardMode::Lenient);
    let guard = begin_with(here, &Method::GET, 200, &mut head);
    let mut guard = guard.unwrap().unwrap();
    assert_eq!(guard.feed(bytes(TOKEN), true), stars());
    assert!(guard.findings().is_uninspected);
}

#[test]
fn lenient_passes_it_and_says_so_and_masks_the_head() {
    let mut head = headers(&[
        ("content-encoding", "gzip"),
        ("etag", "\"1\""),
        ("x", TOKEN),
    ]);
    let here = guarded(LeakGuardMode::Lenient);
    let guard = begin_with(here, &Method::GET, 200, &mut head);
    let mut guard = guard.unwrap().unwrap();
    assert!(!guard.holds_head());
    assert_eq!(head["x"], stars());
    assert!(head.contains_key("etag"));
    assert_eq!(guard.feed(bytes(TOKEN), true), TOKEN);
    assert!(guard.findings().is_uninspected);
}

#[test]
fn lenient_masks_what_it_can_look_into() {
    let here = guarded(LeakGuardMode::Lenient);
    let guard = begin_with(here, &Method::GET, 200, &mut HeaderMap::new());
    let mut guard = guard.unwrap().unwrap();
    assert_eq!(guard.feed(bytes(TOKEN), true), stars());
    assert!(!guard.findings().is_uninspected);
}

#[test]
fn an_empty_body_has_nothing_to_look_into() {
    let mut head = headers(&[("content-encoding", "gzip"), ("content-length", "0")]);
    assert!(!begin(302, &mut head).findings().is_uninspected);
}

#[test]
fn a_length_of_none_hides_neither_chunks_nor_a_websocket() {
    let none = ("content-length", "0");
    let mut chunked = headers(&[none, ("transfer-encoding", "chunked")]);
    assert_eq!(begin(200, &mut chunked).feed(bytes(TOKEN), true), stars());
    let mut switched = headers(&[none, ("upgrade", "websocket")]);
    assert_eq!(begin(101, &mut switched).feed(bytes(TOKEN), true), stars());
}

#[test]
fn an_answer_without_a_body_passes_however_its_head_is_coded() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204)] {
        let lines = [("content-encoding", "gzip"), ("etag", "\"1\"")];
        let mut head = headers(&lines);
        let here = guarded(LeakGuardMode::Strict);
        let guard = begin_with(here, &method, status, &mut head)
            .unwrap()
            .unwrap();
        assert!(!guard.holds_head());
        assert_eq!(head, headers(&lines));
        assert!(!guard.findings().is_uninspected);
    }
}

const VALIDATED: [(&str, &str); 3] = [
    ("etag", "\"1\""),
    ("last-modified", "Mon, 02 Jan 2006 15:04:05 GMT"),
    ("repr-digest", "sha-256=:x:"),
];

#[test]
fn a_short_body_that_is_as_it_was_keeps_its_validators() {
    let mut head = headers(&VALIDATED);
    let mut guard = begin(200, &mut head);
    assert!(guard.holds_head());
    assert_eq!(guard.feed(bytes("fine"), true), "fine");
    guard.release_head(&mut head, true);
    assert_eq!(head, headers(&VALIDATED));
    assert!(!guard.holds_head());
}

#[test]
fn a_masked_body_loses_its_validators_and_keeps_its_length() {
    let mut head = headers(&VALIDATED);
    head.insert("content-length", HeaderValue::from(TOKEN.len()));
    let mut guard = begin(200, &mut head);
    let masked = guard.feed(bytes(TOKEN), true);
    assert_eq!(masked, stars());
    guard.release_head(&mut head, true);
    let length = masked.len().to_string();
    assert_eq!(head, headers(&[("content-length", &length)]));
}

#[test]
fn a_body_whose_end_is_not_known_loses_its_validators() {
    let mut head = headers(&VALIDATED);
    let mut guard = begin(200, &mut head);
    guard.feed(bytes("x".repeat(HELD_BODY)), false);
    guard.release_head(&mut head, false);
    assert!(head.is_empty());
}

#[test]
fn a_head_without_validators_does_not_wait() {
    assert!(!begin(200, &mut headers(&[("content-type", "text/html")])).holds_head());
}

#[test]
fn streams_of_messages_never_hold_their_head() {
    for content_type in ["text/event-stream", "application/grpc"] {
        let mut head = headers(&VALIDATED);
        head.insert("content-type", HeaderValue::from_static(content_type));
        assert!(!begin(200, &mut head).holds_head());
        assert_eq!(head, headers(&[("content-type", content_type)]));
    }
}

#[test]
fn a_grpc_message_is_not_stalled_by_what_it_ends_with() {
    let mut head = headers(&[("content-type", "application/grpc+proto")]);
    let mut guard = begin(200, &mut head);
    let message = |text: &str| {
        let mut message = vec![0, 0, 0, 0, u8::try_from(text.len()).unwrap()];
        message.extend_from_slice(text.as_bytes());
        Bytes::from(message)
    };
    assert_eq!(
        guard.feed(message("x sample-up"), false),
        message("x sample-up")
    );
    assert_eq!(guard.feed(message(TOKEN), false), message(&stars()));
    let mut half = message(TOKEN);
    let rest = half.split_off(15);
    assert_eq!(guard.feed(half, false).len(), 5);
    assert_eq!(guard.feed(rest, false), stars());
}

#[test]
fn an_event_is_not_stalled_and_a_secret_in_it_is_masked_across_parts() {
    let mut head = headers(&[("content-type", "text/event-stream")]);
    let mut guard = begin(200, &mut head);
    let (one, other) = TOKEN.split_at(7);
    assert_eq!(guard.feed(bytes(format!("data: {one}")), false), "data: ");
    let rest = guard.feed(bytes(format!("{other}\n\n")), false);
    assert_eq!(rest, format!("{}\n\n", stars()));
}

#[test]
fn a_websocket_frame_is_not_stalled_and_a_secret_in_it_is_masked() {
    let mut guard = begin(101, &mut headers(&[("upgrade", "websocket")]));
    let frame = |text: &str| {
        let mut frame = vec![0x81, u8::try_from(text.len()).unwrap()];
        frame.extend_from_slice(text.as_bytes());
        Bytes::from(frame)
    };
    assert_eq!(
        guard.feed(frame("x sample-up"), false),
        frame("x sample-up")
    );
    let mut half = frame(TOKEN);
    let rest = half.split_off(9);
    assert_eq!(guard.feed(half, false).len(), 2);
    assert_eq!(guard.feed(rest, false), stars());
}
