//! A real redis-server on a private port, killed when dropped.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

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
        // Another process may take a port before ours does.
        while !server.starts().await {
            server.port = free_port();
        }
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
        assert!(self.starts().await, "port {} is taken", self.port);
    }

    async fn starts(&mut self) -> bool {
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
        self.is_ours().await
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

    /// Once it answers: another test's may have the port, and answer as well.
    async fn is_ours(&mut self) -> bool {
        for _ in 0..1_000 {
            let process = self.process.as_mut().unwrap();
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            let id = format!("process_id:{}\r", process.id());
            if let Ok(redis::Value::BulkString(info)) = self.run(&["INFO", "server"]).await {
                return String::from_utf8_lossy(&info).contains(&id);
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

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
