//! The lines that `make run` prints do what is announced above each: run as
//! they are written, against the configuration that is shipped, on ports of
//! the test's own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use knoxcall_tests::{Cli, Output, Process, RawClient, binary, eventually, free_port, pause};
use tempfile::TempDir;

const GATEWAY: &str = ":8080";
const UPSTREAM: &str = "127.0.0.1:8090";
const ADMIN: &str = "127.0.0.1:9901";
const CONFIG: &str = "conf/quickstart.yaml";

#[test]
fn every_printed_line_does_what_it_says() {
    let quickstart = Quickstart::start();
    let lines = printed_lines();
    assert!(lines.len() > 28, "only {} lines", lines.len());
    for line in &lines {
        let shown = quickstart.run(&line.command);
        line.announced.check(line, &shown);
    }
    let arrived = quickstart.upstream.stdout();
    assert!(arrived.contains("demo-token-of-production"), "{arrived}");
    assert!(arrived.contains("demo-token-of-staging"), "{arrived}");
    assert!(!arrived.contains("tk_live_demo"), "{arrived}");
}

#[test]
fn a_flag_that_it_does_not_know_is_refused() {
    let output = shell(&["scripts/quickstart", "--line"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("--lines"), "{}", output.stderr);
}

/// What is said of a line, and the line.
struct Line {
    announced: Announced,
    command: String,
}

#[derive(Debug)]
enum Announced {
    /// An answer of the upstream's.
    Served,
    /// A status and the type of an error.
    Refused(u16, String),
    /// The last of some requests; the others are served.
    RefusedAtLast(u16),
    Explained,
}

impl Announced {
    fn read(text: &str) -> Self {
        let subject = text.split(':').next().unwrap();
        if subject.starts_with("served") {
            return Self::Served;
        }
        if subject == "explained" {
            return Self::Explained;
        }
        let (status, kind) = subject.split_once(' ').expect("STATUS TYPE");
        let status = status.parse().expect("a status");
        match text.contains("the sixth") {
            true => Self::RefusedAtLast(status),
            false => Self::Refused(status, kind.to_owned()),
        }
    }

    fn check(&self, line: &Line, output: &Output) {
        let told = format!("{}\n{output:?}", line.command);
        assert_eq!(output.code, 0, "{told}");
        let shown = &output.stdout;
        match self {
            Self::Served => {
                assert_eq!(status(shown), 200, "{told}");
                assert!(shown.contains(r#""upstream":"demo""#), "{told}");
            }
            Self::Refused(code, kind) => {
                assert_eq!(status(shown), *code, "{told}");
                assert!(shown.contains(&format!(r#""type":"{kind}""#)), "{told}");
            }
            Self::RefusedAtLast(code) => {
                let mut statuses: Vec<u16> =
                    shown.lines().map(|line| line.parse().unwrap()).collect();
                assert_eq!(statuses.pop(), Some(*code), "{told}");
                assert_eq!(statuses, [200; 5], "{told}");
            }
            Self::Explained => assert!(shown.contains("would be sent"), "{told}"),
        }
    }
}

/// Of what `curl -i` shows.
fn status(shown: &str) -> u16 {
    let mut lines = shown.lines();
    let line = lines.rfind(|line| line.starts_with("HTTP/1.1 "));
    let word = line.and_then(|line| line.split(' ').nth(1));
    word.unwrap_or_else(|| panic!("no status in {shown:?}"))
        .parse()
        .unwrap()
}

fn printed_lines() -> Vec<Line> {
    let output = shell(&["scripts/quickstart", "--lines"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let mut lines = Vec::new();
    let mut announced = None;
    for line in output.stdout.lines() {
        match (line.strip_prefix("  # "), line.strip_prefix("  ")) {
            (Some(text), _) => announced = Some(Announced::read(text)),
            (None, Some(command)) => lines.push(Line {
                announced: announced.take().expect("what a line shows stands above it"),
                command: command.to_owned(),
            }),
            (None, None) => {}
        }
    }
    lines
}

/// What `make run` starts, on other ports.
struct Quickstart {
    _gateway: Process,
    upstream: Process,
    port: u16,
    folder: TempDir,
}

impl Quickstart {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, upstream) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let admin = format!("127.0.0.1:{}", free_port());
        let text = std::fs::read_to_string(root().join(CONFIG)).unwrap();
        for address in [UPSTREAM, ADMIN, GATEWAY] {
            assert!(text.contains(address), "{address} in {CONFIG}");
        }
        let text = text
            .replace(UPSTREAM, &upstream)
            .replace(ADMIN, &admin)
            .replace(GATEWAY, &format!(":{port}"));
        let file = folder.path().join("quickstart.yaml");
        std::fs::write(&file, text).unwrap();
        let quickstart = Self {
            upstream: Cli::new(["demo-upstream", "--listen", &upstream]).spawn(),
            _gateway: Cli::new(["serve", "--config", file.to_str().unwrap()])
                .env("DEMO_TOKEN", "demo-token-of-production")
                .env("DEMO_TOKEN_STAGING", "demo-token-of-staging")
                .env("DEMO_SIGNING_SECRET", "demo-signing-secret")
                .spawn(),
            port,
            folder,
        };
        eventually("the demo upstream", || TcpStream::connect(&upstream).ok());
        eventually("the gateway", || quickstart.is_ready().then_some(()));
        // What is signed within the second of its start it cannot know to be
        // new; a person is slower than that.
        pause(Duration::from_millis(1100));
        quickstart
    }

    fn is_ready(&self) -> bool {
        let Ok(address) = format!("127.0.0.1:{}", self.port).parse() else {
            return false;
        };
        if TcpStream::connect(address).is_err() {
            return false;
        }
        let mut client = RawClient::connect(address);
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.read().status == 200
    }

    fn run(&self, command: &str) -> Output {
        let file = self.folder.path().join("quickstart.yaml");
        let binary = binary();
        let command = command
            .replace(GATEWAY, &format!(":{}", self.port))
            .replace(CONFIG, file.to_str().unwrap())
            .replace("target/debug/knoxcall", binary.to_str().unwrap());
        assert!(!command.contains(GATEWAY));
        shell(&["-c", &format!("set -o pipefail; {command}")])
    }
}

/// In the folder in which people type the lines.
fn shell(arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command
        .args(arguments)
        .current_dir(root())
        .env_remove("CARGO_TARGET_DIR")
        .env("no_proxy", "*");
    let mut process = Process::spawn(command);
    let status = process.wait();
    Output {
        code: status.code().expect("bash ends by itself"),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
