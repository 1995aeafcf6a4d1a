//! Heads changed as a whole, at the price of their letter case.
//!
//! Pingora keeps the case of each name in a second map, and every change of
//! one header parses its name anew. Ten changes cost more than a whole
//! decision. So the maps are taken out, changed as what they are, and put back:
//! without the second map, which is also what makes copying a head cheap.
//! Names go out in the case that Pingora gives the common ones, else in lower
//! case; they mean the same (RFC 9110, section 5.1).

use http::{HeaderMap, Version};
use pingora::Result;
use pingora::http::RequestHeader;

/// What goes to an upstream: of what the client sent, only the method stays.
pub fn upstream_request(
    client: &RequestHeader,
    headers: HeaderMap,
    path_and_query: &[u8],
) -> Result<RequestHeader> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = client.method.clone();
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    let own = client.uri.path_and_query();
    let is_same = own.is_some_and(|own| own.as_str().as_bytes() == path_and_query);
    // An authority would be the client's word for us.
    if is_same && client.uri.authority().is_none() {
        // Parsed before.
        parts.uri = client.uri.clone();
        return Ok(RequestHeader::from(parts));
    }
    let mut request = RequestHeader::from(parts);
    request.set_raw_path(path_and_query)?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;

    #[test]
    fn a_request_keeps_its_method_only() {
        let mut client = RequestHeader::build("PUT", b"/a?b=c", Some(2)).unwrap();
        client.set_version(Version::HTTP_10);
        client.append_header("X-Old", "1").unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-two", HeaderValue::from_static("1"));
        headers.append("x-two", HeaderValue::from_static("2"));
        headers.append("content-type", HeaderValue::from_static("text/plain"));
        let request = upstream_request(&client, headers, b"/v1/a%2f?b=c").unwrap();
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.raw_path(), b"/v1/a%2f?b=c");
        assert_eq!(request.version, Version::HTTP_11);
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        assert_eq!(
            wire,
            b"x-two: 1\r\nx-two: 2\r\nContent-Type: text/plain\r\n"
        );
    }

    #[test]
    fn a_target_stays_byte_for_byte() {
        for (came, goes) in [
            ("/a?b=c", "/a?b=c"),
            ("http://acme.test/a", "/a"),
            ("http://acme.test", "/"),
            ("/a#b", "/a"),
            ("/a", "/a?"),
            ("*", "/*"),
        ] {
            let client = RequestHeader::build("GET", came.as_bytes(), None).unwrap();
            let request = upstream_request(&client, HeaderMap::new(), goes.as_bytes()).unwrap();
            assert_eq!(request.raw_path(), goes.as_bytes(), "{came}");
            assert_eq!(request.uri.authority(), None);
        }
    }
}
