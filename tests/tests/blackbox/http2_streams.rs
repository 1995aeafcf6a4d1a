//! How many streams of HTTP/2 may be open at once on a client's connection
//! (RFC 9113, section 5.1.2): it is said beforehand, and held to.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

use knoxcall_tests::http2_frames::{
    Conversation, END_STREAM, HEADERS, MAX_CONCURRENT_STREAMS, REFUSED_STREAM, RESET, SETTINGS,
    headers,
};
use knoxcall_tests::{Config, Gateway, Upstream, keys};

const MOST: u32 = 2;

fn get(stream: u32) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "gw.test"),
        (":path", "/"),
        ("x-knoxcall-key", keys::LIVE),
        ("x-knoxcall-route", "echo"),
    ];
    headers(&fields, END_STREAM).on(stream)
}

/// Answers when the sender is dropped.
fn holding() -> (Upstream, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            let _ = released.lock().unwrap().recv();
            session.answer("ok")?;
        }
        Ok(())
    });
    (upstream, release)
}

/// The statuses of so many answers that came whole, by their streams.
fn answers(conversation: &mut Conversation, count: usize) -> BTreeMap<u32, u16> {
    let (mut statuses, mut whole) = (BTreeMap::new(), 0);
    while whole < count {
        let (frame, stream) = conversation.read().expect("an answer");
        assert_ne!(frame.kind, RESET, "stream {stream}");
        if frame.kind == HEADERS {
            statuses.insert(stream, frame.status());
        }
        whole += usize::from(frame.ends_stream());
    }
    statuses
}

#[test]
fn a_stream_more_than_was_announced_is_refused_and_the_others_are_served() {
    let (upstream, release) = holding();
    let config = Config::new(upstream.address()).limit("http2_max_streams", MOST);
    let gateway = Gateway::start(&config);
    let mut conversation = Conversation::begin(gateway.address(), &[1, 3, 5].map(get).concat());

    let mut announced = None;
    let (refusal, stream) = loop {
        let (frame, stream) = conversation.read().expect("a refusal");
        match frame.kind {
            SETTINGS => announced = announced.or(frame.setting(MAX_CONCURRENT_STREAMS)),
            RESET => break (frame, stream),
            HEADERS => panic!("an answer on stream {stream}"),
            _ => {}
        }
    };
    assert_eq!(announced, Some(MOST));
    assert_eq!((refusal.error_code(), stream), (REFUSED_STREAM, 5));

    upstream.wait_for_requests(2);
    drop(release);
    assert_eq!(answers(&mut conversation, 2), [(1, 200), (3, 200)].into());
    // There is room again.
    conversation.send(&get(7));
    assert_eq!(answers(&mut conversation, 1), [(7, 200)].into());
    assert_eq!(upstream.requests().len(), 3);
}
