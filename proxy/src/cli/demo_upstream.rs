use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use async_trait::async_trait;
use clap::Args;
use http::Response;
use http::header::CONTENT_TYPE;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;

/// Of a body, this much is shown.
const LONGEST_BODY: usize = 4096;

/// Run an upstream that shows on the terminal what arrives, injected
/// credentials included: for trying the gateway out, never for real secrets
#[derive(Args)]
pub struct DemoUpstream {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

struct Show;

impl DemoUpstream {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        TcpListener::bind(self.listen)
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let conf = ServerConf {
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(1),
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = Service::new("demo upstream".to_owned(), Show);
        service.add_tcp(&self.listen.to_string());
        server.add_service(service);
        server.run_forever()
    }
}

#[async_trait]
impl ServeHttp for Show {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut shown = head_lines(session);
        let body = read_body(session).await;
        if !body.is_empty() {
            let _ = write!(shown, "  │\n  │ {}\n", body.escape_ascii());
        }
        println!("{shown}");
        let answer = serde_json::json!({
            "upstream": "demo",
            "method": session.req_header().method.as_str(),
            "path": String::from_utf8_lossy(session.req_header().raw_path()),
            "body_bytes": body.len(),
            "note": "the upstream's terminal shows what arrived",
        });
        let mut response = Response::new(format!("{answer}\n").into_bytes());
        let length = response.body().len().into();
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, length);
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

fn head_lines(session: &ServerSession) -> String {
    let head = session.req_header();
    let target = String::from_utf8_lossy(head.raw_path());
    let mut lines = format!("  ┌ arrived upstream: {} {target}\n", head.method);
    for (name, value) in &head.headers {
        let _ = writeln!(lines, "  │ {name}: {}", value.as_bytes().escape_ascii());
    }
    lines
}

async fn read_body(session: &mut ServerSession) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = session.read_request_body().await {
        if body.len() < LONGEST_BODY {
            body.extend_from_slice(&chunk);
        }
    }
    body.truncate(LONGEST_BODY);
    body
}
