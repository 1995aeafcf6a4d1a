use std::io::Cursor;

use super::*;

/// A peer that has said all it will say.
struct Peer {
    said: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Byte by byte: a head may come in any pieces.
        self.said.read(buffer.get_mut(..1).unwrap_or_default())
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn posted(said: &str) -> (Result<Response<Bytes>, ExchangeError>, String) {
    let mut peer = Peer {
        said: Cursor::new(said.as_bytes().to_vec()),
        heard: Vec::new(),
    };
    let name = HeaderName::from_static("x-token");
    let post = Post {
        host: "collector.test:4318",
        path: "/v1/traces",
        content_type: "application/x-protobuf",
        headers: &[(name, SecretValue::new("abc".to_owned()))],
        body: b"body",
    };
    let answer = post.send(&mut peer);
    (answer, String::from_utf8(peer.heard).unwrap())
}

#[test]
fn sends_one_whole_request() {
    let (_, heard) = posted("HTTP/1.1 200 OK\r\n\r\n");
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("POST /v1/traces HTTP/1.1"));
    for line in [
        "host: collector.test:4318",
        "content-length: 4",
        "connection: close",
        "x-token: abc",
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "{head}");
    }
    assert_eq!(body, "body");
}

#[test]
fn tells_the_status_and_how_long_to_wait() {
    let (answer, _) = posted("HTTP/1.1 503 Busy\r\nRETRY-AFTER: 7\r\nX: y\r\n\r\nrest");
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()[RETRY_AFTER], "7");
}

#[test]
fn refuses_an_answer_that_is_none() {
    for (said, reason) in [
        ("", "its answer ends before its head does"),
        (
            "HTTP/1.1 200 OK\r\nX: y\r\n",
            "its answer ends before its head does",
        ),
        ("SSH-2.0-x\r\n\r\n", "its answer is not HTTP/1.1"),
    ] {
        assert_eq!(posted(said).0.unwrap_err().to_string(), reason);
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LONGEST_HEAD));
    let refused = posted(&endless).0.unwrap_err();
    assert_eq!(refused.to_string(), "its answer has too long a head");
}
