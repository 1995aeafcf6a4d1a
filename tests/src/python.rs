//! Programs of Python in `tests/`, for protocols whose clients and servers most
//! people have from there. `scripts/bootstrap` installs what they import.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::wait::DEADLINE;

/// Says its port first, and ends with its stdin.
pub struct PythonServer {
    child: Child,
    address: SocketAddr,
    /// What it says of its work, line by line.
    told: Receiver<String>,
}

impl PythonServer {
    /// `script` lies in `tests/`.
    pub fn start(script: &str) -> Self {
        let mut child = python(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python of scripts/bootstrap");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (says, told) = mpsc::channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| says.send(line))
        });
        let port = told.recv_timeout(DEADLINE).expect("the server's port");
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())),
            told,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says next.
    pub fn told(&self) -> String {
        self.told
            .recv_timeout(DEADLINE)
            .expect("a word of the server")
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script in `tests/`, yet to be started.
pub fn python(script: &str) -> Command {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(tests.join("../.tools/python/bin/python"));
    command.arg(tests.join(script));
    command
}
