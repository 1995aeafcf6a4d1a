//! A real nginx as upstream, in clear or over TLS, on a private port.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;
use crate::wait::eventually;

pub struct Nginx {
    port: u16,
    _directory: TempDir,
    process: Process,
}

impl Nginx {
    pub fn plain() -> Self {
        Self::start("", "")
    }

    /// On a port that the test has chosen, and may use again.
    pub fn plain_on(port: u16) -> Self {
        Self::start_on(port, "", "")
    }

    pub fn tls(certificate: &Path, key: &Path) -> Self {
        let lines = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificate.display(),
            key.display()
        );
        Self::start(" ssl", &lines)
    }

    /// Asks every client for a certificate of this authority.
    pub fn mutual_tls(certificate: &Path, key: &Path, clients: &Path) -> Self {
        let lines = format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_verify_client on; ssl_client_certificate {};",
            certificate.display(),
            key.display(),
            clients.display()
        );
        Self::start(" ssl", &lines)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The kernel still accepts for it; nobody answers.
    pub fn stall(&self) {
        self.process.signal("STOP");
    }

    /// It answers again, also what it was asked meanwhile.
    pub fn go_on(&self) {
        self.process.signal("CONT");
    }

    fn start(listen: &str, lines: &str) -> Self {
        Self::start_on(free_port(), listen, lines)
    }

    fn start_on(port: u16, listen: &str, lines: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        // What it saw of the request is its answer.
        let configuration = format!(
            r#"daemon off; master_process off; worker_processes 1;
error_log stderr error; pid {path}/pid;
events {{ worker_connections 128; }}
http {{
  access_log off; keepalive_timeout 30s; keepalive_requests 100000;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
  fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  server {{
    listen 127.0.0.1:{port}{listen};
    {lines}
    location / {{
      default_type text/plain;
      return 200 "$request_method $request_uri host=$host port=$server_port sni=$ssl_server_name client=$ssl_client_s_dn auth=$http_authorization connection=$connection";
    }}
  }}
}}
"#
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program());
        command
            .arg("-p")
            .arg(directory.path())
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(&file);
        let process = Process::spawn(command);
        eventually("nginx to listen", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            port,
            _directory: directory,
            process,
        }
    }
}

/// Debian keeps servers where a user's path does not look.
fn program() -> &'static str {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("nginx")
}
