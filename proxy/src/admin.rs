//! The admin listener: health and metrics, read-only.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::gateway::Gateway;
use crate::health::Probe;

pub struct Admin {
    gateway: Arc<Gateway>,
}

impl Admin {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    fn answer(&self, method: &Method, path: &[u8]) -> Response<Vec<u8>> {
        if *method != Method::GET && *method != Method::HEAD {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain",
                b"read-only\n".to_vec(),
            );
        }
        if let Some(probe) = Probe::of(method, path) {
            let answer = probe.answer(&self.gateway);
            let status =
                StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return plain(status, "application/json", answer.body.to_vec());
        }
        match path {
            b"/metrics" => {
                let text = self.gateway.metrics.render(&self.gateway.sample());
                plain(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                )
            }
            _ => plain(
                StatusCode::NOT_FOUND,
                "text/plain",
                b"/healthz, /livez and /metrics are here\n".to_vec(),
            ),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let target = head.raw_path();
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        self.answer(&head.method, path)
    }
}

fn plain(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = response.body().len().into();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
