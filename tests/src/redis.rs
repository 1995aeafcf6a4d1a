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
    password: Option<String>,
    directory: TempDir,
    process: Option<Process>,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Serves only who knows the password.
    pub fn start_with_password(password: &str) -> Self {
        Self::start_with(Some(password.to_owned()))
    }

    fn start_with(password: Option<String>) -> Self {
        let mut redis = Self {
            port: free_port(),
            password,
            directory: TempDir::new().unwrap(),
            process: None,
        };
        redis.resume();
        redis
    }

    pub fn url(&self) -> String {
        let user = match &self.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        format!("redis://{user}127.0.0.1:{}/0", self.port)
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
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.process = Some(Process::spawn(command));
        eventually("Redis to answer", || self.ping());
    }

    /// It still listens, and says nothing more.
    pub fn stall(&self) {
        self.signal("STOP");
    }

    /// It answers again, also what it was asked meanwhile.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("a Redis that runs");
        process.signal(signal);
    }

    /// Ends every connection that is there; new ones are welcome.
    pub fn cut(&self) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut wire = Wire::new(stream, crate::DEADLINE);
        wire.send(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            .unwrap();
        assert_eq!(wire.read_exact(1).unwrap(), b":", "how many they were");
    }

    fn ping(&self) -> Option<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut wire = Wire::new(stream, crate::DEADLINE);
        wire.send(b"PING\r\n").ok()?;
        let awaited = match self.password {
            Some(_) => b"-NOAU",
            None => b"+PONG",
        };
        (wire.read_exact(5).ok()? == awaited).then_some(())
    }
}
