//! Parts of answers (RFC 9110, section 14) on routes that need all of them.

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;

fn asking_for_a_part() -> Request {
    Request::get("/")
        .header("range", "bytes=0-3")
        .header("if-range", "\"1\"")
}

#[test]
fn a_route_that_decodes_asks_for_the_whole() {
    let upstream = Upstream::start();
    let fields = json!({"response_decoding": "decode"});
    let config = Config::new(upstream.address()).edit_route("echo", fields);
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.send(&asking_for_a_part()).status, 200);
    let asked = upstream.only_request();
    assert_eq!(asked.header("accept-encoding"), Some("gzip, br, zstd"));
    assert_eq!(asked.header("range"), None);
    assert_eq!(asked.header("if-range"), None);
}

#[test]
fn a_coded_part_that_comes_all_the_same_is_refused() {
    let upstream = Upstream::answering(
        "HTTP/1.1 206 Partial Content\r\nContent-Encoding: gzip\r\n\
         Content-Range: bytes 0-3/900\r\nContent-Length: 4\r\n\r\npart",
    );
    let fields = json!({"response_decoding": "decode"});
    let config = Config::new(upstream.address()).edit_route("echo", fields);
    let gateway = Gateway::start(&config);
    let response = gateway.send(&asking_for_a_part());
    assert_eq!(response.status, 502);
    let record = gateway.record_of(&response);
    let told = "the answer is a part of a body";
    assert_eq!(record.text("error_detail"), Some(told));
}
