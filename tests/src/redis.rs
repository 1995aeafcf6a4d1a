//! A Redis server of the test's own, in memory, on a private port.

use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;
use crate::wait::eventually;
use crate::wire::Wire;

pub struct Redis {
    port: u16,
    directory: TempDir,
    process: Option<Process>,
}

impl Redis {
    pub fn start() -> Self {
        let mut redis = Self {
            port: free_port(),
            directory: TempDir::new().unwrap(),
            process: None,
        };
        redis.resume();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// As if the machine had gone: no farewell.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Again on the same port, empty.
    pub fn resume(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .current_dir(self.directory.path());
        self.process = Some(Process::spawn(command));
        eventually("Redis to answer", || self.ping());
    }

    fn ping(&self) -> Option<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut wire = Wire::new(stream, crate::DEADLINE);
        wire.send(b"PING\r\n").ok()?;
        (wire.read_exact(5).ok()? == b"+PONG").then_some(())
    }
}
