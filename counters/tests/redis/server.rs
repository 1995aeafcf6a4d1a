//! A real redis-server on a private port, killed when dropped.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Of 8,100.
const FIRST_PORT: u16 = 11_000;

pub(crate) struct RedisServer {
    port: u16,
    password: Option<&'static str>,
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    pub(crate) async fn start() -> RedisServer {
        RedisServer::with_password(None).await
    }

    pub(crate) async fn with_password(password: Option<&'static str>) -> RedisServer {
        let mut server = RedisServer {
            port: free_port(),
            password,
            folder: TempDir::new().unwrap(),
            process: None,
        };
        server.restart().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        self.url_with(self.password)
    }

    pub(crate) fn url_with(&self, password: Option<&str>) -> String {
        let login = password.map_or(String::new(), |password| format!(":{password}@"));
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// An empty server on the same port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null());
        if let Some(password) = self.password {
            command.args(["--requirepass", password]);
        }
        self.process = Some(command.spawn().expect("redis-server is installed"));
        self.ready().await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            ended(process.kill());
            ended(process.wait());
        }
    }

    /// Runs a command by itself.
    pub(crate) async fn run(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    async fn ready(&mut self) {
        for _ in 0..1_000 {
            let process = self.process.as_mut().unwrap();
            if let Some(status) = process.try_wait().unwrap() {
                panic!("redis-server has ended: {status}");
            }
            if self.run(&["PING"]).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server does not answer on port {}", self.port);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ended<T>(result: io::Result<T>) {
    if let Err(error) = result {
        eprintln!("redis-server: {error}");
    }
}

/// Never the same one twice in this process, and outside of the range that the
/// kernel gives to whoever asks for any port: two servers of one port would be
/// one server for two tests.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = FIRST_PORT + (std::process::id() % 80) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
