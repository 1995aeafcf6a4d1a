//! What goes to the upstream in place of what the client sent. It names the
//! upstream's host, our request id and our word on the client once each, holds
//! the injected credential and none of ours, nothing of this hop, and nothing
//! that a CGI-like server could take for one of these.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use knoxcall_bundle::RouteEnvironment;
use knoxcall_filters::RouteTable;
use knoxcall_filters::hygiene::{HeadBudget, check_parsed};
use knoxcall_filters::plan::{BodyState, Plan, plan};
use knoxcall_filters::sample::{self, Request};
use knoxcall_fuzz::{FACTS, REQUEST_ID, Sent, admitted, contains, gateway, request};
use libfuzzer_sys::fuzz_target;

/// Injects `Authorization`, signs, and restricts methods.
static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    gateway(RouteEnvironment {
        allowed_methods: Some(vec![Method::GET, Method::POST]),
        ..sample::whole_chain()
    })
});

static ADMITTED: LazyLock<Request> = LazyLock::new(|| request(&Method::POST));

/// Ours to say, once.
const OURS: [(&str, &str); 5] = [
    ("authorization", "Bearer sample-upstream-token"),
    ("host", "upstream.test"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "http"),
    ("x-request-id", REQUEST_ID),
];

/// Nobody's business upstream, in either spelling.
const GONE: [&str; 14] = [
    "cf-connecting-ip",
    "connection",
    "forwarded",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "x-http-method-override",
    "x-real-ip",
    "x-signature",
    "x-timestamp",
    "x-forwarded-port",
];

fuzz_target!(|data: &[u8]| {
    let Some(sent) = Sent::read(data) else { return };
    let head = sent.head();
    if check_parsed(&head, &HeadBudget::default()).is_err() {
        return;
    }
    let admitted = admitted(&TABLE, &ADMITTED);
    let length = u64::try_from(sent.body.len()).expect("a length");
    for body in [
        BodyState::Streamed,
        BodyState::Whole {
            length,
            changed: false,
        },
    ] {
        let plan = plan(&admitted, &head, body, &FACTS).expect("nothing that could fail");
        check_names(&plan);
        check_nominated(&plan, &sent);
        check_framing(body, &plan.headers);
        assert!(plan.path_and_query.starts_with(b"/v1"));
        assert!(plan.path_and_query.iter().all(u8::is_ascii_graphic));
    }
});

fn check_names(plan: &Plan) {
    let headers = &plan.headers;
    for (name, value) in OURS {
        let found: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(found, [value], "{name}");
    }
    for name in headers.keys() {
        let plain = name.as_str().replace('_', "-");
        let is_disguised = plain != name.as_str();
        assert!(
            !(is_disguised && OURS.iter().any(|(ours, _)| *ours == plain)),
            "{name}"
        );
        assert!(!plain.starts_with("x-knox"), "{name}");
        let of_websocket = plan.websocket && matches!(name.as_str(), "connection" | "upgrade");
        assert!(of_websocket || !GONE.contains(&plain.as_str()), "{name}");
    }
    for name in ["authorization", "proxy-authorization", "x-api-key"] {
        let mut values = headers.get_all(name).iter();
        assert!(!values.any(|value| contains(value.as_bytes(), sample::LIVE_KEY)));
    }
}

/// Headers that `Connection` names were for us alone.
fn check_nominated(plan: &Plan, sent: &Sent<'_>) {
    let lists = sent.headers.get_all("connection");
    let names = lists
        .iter()
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    for name in names.filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok()) {
        let name = name.to_ascii_lowercase();
        let is_ours = OURS.iter().any(|(ours, _)| *ours == name)
            || name == "x-forwarded-host"
            // Of no trace of the client's: one that begins here.
            || (name == "traceparent" && plan.headers.get(&*name).is_some_and(is_begun_here))
            // An answer that is looked through is asked for as it is.
            || (name == "accept-encoding" && plan.headers.get(&*name).is_some_and(|asked| asked == "identity"))
            || (plan.websocket && name == "upgrade");
        let stays =
            ["close", "host", "content-length", "transfer-encoding"].contains(&name.as_str());
        assert!(
            is_ours || stays || !plan.headers.contains_key(&*name),
            "{name}"
        );
    }
}

fn is_begun_here(traceparent: &HeaderValue) -> bool {
    traceparent.as_bytes().get(3..35) == Some(REQUEST_ID.replace('-', "").as_bytes())
}

fn check_framing(body: BodyState, headers: &HeaderMap) {
    let length = headers.get("content-length");
    assert!(length.is_none() || !headers.contains_key("transfer-encoding"));
    if let (BodyState::Whole { length: known, .. }, Some(length)) = (body, length) {
        assert_eq!(length, known.to_string().as_str());
    }
}
