//! Many headers changed at once, at the price of their letter case.
//!
//! Pingora keeps the case of each name in a second map, and every change of
//! one header parses its name anew. Ten changes cost more than a whole
//! decision. So the maps are taken out, changed as what they are, and put back:
//! without the second map, which is also what makes copying a head cheap.
//! Names go out in the case that Pingora gives the common ones, else in lower
//! case; they mean the same (RFC 9110, section 5.1).

use http::HeaderMap;
use http::request::Parts as RequestParts;
use http::response::Parts as ResponseParts;
use pingora::http::{RequestHeader, ResponseHeader};

/// The target as received is forgotten, what the URI keeps of it is not.
pub fn edit_request(request: &mut RequestHeader, edit: impl FnOnce(&mut HeaderMap)) {
    let (nothing, ()) = http::Request::new(()).into_parts();
    let taken = std::mem::replace(request, RequestHeader::from(nothing));
    let mut parts = RequestParts::from(taken);
    edit(&mut parts.headers);
    *request = RequestHeader::from(parts);
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
    fn a_request_keeps_all_but_the_case_of_its_names() {
        let mut request = RequestHeader::build("PUT", b"/a?b=c", Some(2)).unwrap();
        request.set_version(Version::HTTP_11);
        request.append_header("X-Two", "1").unwrap();
        request.append_header("x-TWO", "2").unwrap();
        edit_request(&mut request, |headers| {
            headers.insert("x-new", HeaderValue::from_static("3"));
        });
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.raw_path(), b"/a?b=c");
        assert_eq!(request.version, Version::HTTP_11);
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"x-two: 1\r\nx-two: 2\r\nx-new: 3\r\n");
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
