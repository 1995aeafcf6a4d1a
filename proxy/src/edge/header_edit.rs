//! Heads changed as a whole, at the price of their letter case.
//!
//! Pingora keeps the case of each name in a second map, and every change of
//! one header parses its name anew. Ten changes cost more than a whole
//! decision. So the maps are taken out, changed as what they are, and put back:
//! without the second map, which is also what makes copying a head cheap.
//! Names go out in the case that Pingora gives the common ones, else in lower
//! case; they mean the same (RFC 9110, section 5.1).

use http::HeaderMap;
use http::response::Parts as ResponseParts;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// Only the method and the version stay.
pub fn replace_request(
    request: &mut RequestHeader,
    headers: HeaderMap,
    path_and_query: &[u8],
) -> Result<()> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.version = request.version;
    parts.headers = headers;
    let mut new = RequestHeader::from(parts);
    new.set_raw_path(path_and_query)?;
    *request = new;
    Ok(())
}

/// A reason phrase of the upstream's own is forgotten.
pub fn edit_response(response: &mut ResponseHeader, edit: impl FnOnce(&mut HeaderMap)) {
    let (nothing, ()) = http::Response::new(()).into_parts();
    let taken = std::mem::replace(response, ResponseHeader::from(nothing));
    let mut parts = ResponseParts::from(taken);
    edit(&mut parts.headers);
    *response = ResponseHeader::from(parts);
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Version};

    use super::*;

    #[test]
    fn a_request_keeps_its_method_and_version_only() {
        let mut request = RequestHeader::build("PUT", b"/a?b=c", Some(2)).unwrap();
        request.set_version(Version::HTTP_11);
        request.append_header("X-Old", "1").unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-two", HeaderValue::from_static("1"));
        headers.append("x-two", HeaderValue::from_static("2"));
        headers.append("content-type", HeaderValue::from_static("text/plain"));
        replace_request(&mut request, headers, b"/v1/a%2f?b=c").unwrap();
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
    fn a_response_keeps_its_status_and_headers() {
        let mut response = ResponseHeader::build(418, Some(1)).unwrap();
        response
            .append_header("Content-Type", "text/plain")
            .unwrap();
        edit_response(&mut response, |headers| {
            headers.remove("content-type");
            headers.insert("content-length", HeaderValue::from(0));
        });
        assert_eq!(response.status, 418);
        let mut wire = Vec::new();
        response.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"Content-Length: 0\r\n");
    }
}
