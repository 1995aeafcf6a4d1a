//! An HTTP/1 head as it came from the socket. Whatever passes the check reads
//! the same to the parser behind it and to a reader of lines, names its host
//! and its length at most once, and passes the check of parsed heads as well.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use knoxcall_filters::Head;
use knoxcall_filters::hygiene::{BodyLength, HeadBudget, check_parsed, check_raw, origin_form};
use libfuzzer_sys::fuzz_target;

const BUDGET: HeadBudget = HeadBudget {
    bytes: 2_048,
    fields: 32,
};

/// No second copy of these, whoever reads.
const SINGLE: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-knoxcall-route",
    "x-knoxcall-key",
    "x-knoxcall-environment",
    "cf-connecting-ip",
];

fuzz_target!(|data: &[u8]| {
    if let Ok(framing) = check_raw(data, &BUDGET) {
        assert!(data.len() <= BUDGET.bytes);
        let lines = lines(data);
        let headers = parsed(data, &lines);
        for name in SINGLE {
            assert!(headers.get_all(name).iter().count() <= 1, "{name} twice");
        }
        let mut upgrades = headers.get_all("upgrade").iter();
        let asks = upgrades.any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        assert_eq!(framing.asks_websocket, asks);
        check_framing(&headers, framing.body);
    }
});

/// By a length or in chunks, never both.
fn check_framing(headers: &HeaderMap, body: BodyLength) {
    let length = headers.get("content-length");
    let length = length.map(|length| length.to_str().expect("digits").parse().expect("a length"));
    match headers.get("transfer-encoding") {
        Some(coding) => {
            assert!(coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
            assert_eq!((length, body), (None, BodyLength::Chunked));
        }
        None => assert_eq!(body, BodyLength::Exactly(length.unwrap_or(0))),
    }
}

/// Each line ends with CRLF, neither stands alone, the last one is empty.
fn lines(data: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = data
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            line.strip_suffix(b"\r\n")
                .expect("CRLF at the end of each line")
        })
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| !line.iter().any(|byte| matches!(byte, b'\r' | 0)))
    );
    assert_eq!(lines.pop(), Some(b"".as_slice()));
    assert!(lines.iter().all(|line| !line.is_empty()));
    lines
}

/// The proxy's parser sees what the lines say.
fn parsed(data: &[u8], lines: &[&[u8]]) -> HeaderMap {
    let mut fields = [httparse::EMPTY_HEADER; BUDGET.fields];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(
        request.parse(data),
        Ok(httparse::Status::Complete(data.len()))
    );
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        panic!("a complete request lacks its line");
    };
    assert_eq!(
        lines[0],
        format!("{method} {target} HTTP/1.{minor}").as_bytes()
    );
    assert_eq!(request.headers.len(), lines.len() - 1);
    let mut headers = HeaderMap::new();
    for (field, line) in request.headers.iter().zip(&lines[1..]) {
        assert!(line.starts_with(field.name.as_bytes()) && line[field.name.len()] == b':');
        assert_eq!(line[field.name.len() + 1..].trim_ascii(), field.value);
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_bytes(field.value).expect("a value"));
    }
    check_again(method, target, minor, &headers);
    headers
}

fn check_again(method: &str, target: &str, minor: u8, headers: &HeaderMap) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let head = Head {
        method: &method,
        target: origin_form(target.as_bytes()),
        host: headers.get("host").map_or(b"", HeaderValue::as_bytes),
        version: if minor == 0 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        },
        headers,
    };
    assert!(head.target.starts_with(b"/"));
    // The host counts twice there.
    let budget = HeadBudget {
        bytes: 2 * BUDGET.bytes,
        ..BUDGET
    };
    assert_eq!(check_parsed(&head, &budget), Ok(()));
}
