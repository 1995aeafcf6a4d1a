//! The built binary: as a running gateway, and as a command.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde_json::json;
use tempfile::TempDir;

use crate::client::{RawClient, Response};
use crate::config::Config;
use crate::ports::free_port;
use crate::process::Process;
use crate::records::Record;
use crate::request::Request;
use crate::wait::eventually;

const UPGRADE_SOCKET: &str = "upgrade.sock";

pub struct Gateway {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    directory: TempDir,
}

impl Gateway {
    /// Started and ready to serve.
    pub fn start(config: &Config) -> Self {
        Self::spawn(config).ready()
    }

    /// As `start`, with a port that the test has chosen.
    pub fn start_on(config: &Config, port: u16) -> Self {
        Self::spawn_on(config, port).ready()
    }

    fn ready(self) -> Self {
        let mut gateway = self;
        eventually("the gateway to be ready", || {
            if let Some(status) = gateway.process.exited() {
                panic!(
                    "the gateway ended with {status}:\n{}",
                    gateway.process.stderr()
                );
            }
            gateway.is_ready().then_some(())
        });
        gateway
    }

    /// Started; perhaps it will never serve.
    pub fn spawn(config: &Config) -> Self {
        Self::spawn_on(config, free_port())
    }

    pub fn spawn_on(config: &Config, port: u16) -> Self {
        let directory = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        write_config(directory.path(), config, address, admin);
        Self {
            process: Process::spawn(serve(config, directory.path())),
            address,
            admin,
            directory,
        }
    }

    /// Another process that is to take this one's place, with the same file;
    /// `arguments` say when.
    pub fn spawn_successor(&self, config: &Config, arguments: &[&str]) -> Process {
        let mut command = serve(config, self.directory());
        command.args(arguments);
        Process::spawn(command)
    }

    /// Where it waits for its successor.
    pub fn upgrade_socket(&self) -> PathBuf {
        self.directory().join(UPGRADE_SOCKET)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("knoxcall.yaml")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        let mut client = self.connect();
        client.send(request.bytes());
        client.read_to(&request.method)
    }

    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// From the admin listener.
    pub fn ask_admin(&self, method: &str, target: &str) -> Response {
        let mut client = RawClient::connect(self.admin);
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        ));
        client.read_to(method)
    }

    pub fn metrics(&self) -> String {
        let response = self.ask_admin("GET", "/metrics");
        assert_eq!(response.status, 200);
        response.text()
    }

    /// The sum over all series of a metric whose labels include these.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.metrics();
        let series: Vec<f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| {
                labels
                    .iter()
                    .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
            })
            .map(|(_, value)| value.parse().unwrap())
            .collect();
        assert!(
            !series.is_empty() || text.contains(&format!("# TYPE {name} ")),
            "there is no metric {name} in\n{text}"
        );
        series.iter().sum()
    }

    /// Puts another configuration in the file's place, as editors and
    /// Kubernetes do: whole, by renaming.
    pub fn rewrite(&self, config: &Config) {
        write_config(self.directory.path(), config, self.address, self.admin);
    }

    /// As `rewrite`, and waits until the new configuration is in use.
    pub fn rewrite_and_wait(&self, config: &Config) {
        let before = self.reloads("applied");
        self.rewrite(config);
        eventually("the reload", || {
            (self.reloads("applied") > before).then_some(())
        });
    }

    /// How many reloads ended so: `applied` or `refused`.
    pub fn reloads(&self, result: &str) -> f64 {
        self.metric("knoxcall_config_reloads_total", &[("result", result)])
    }

    /// As `rewrite`, with any text.
    pub fn rewrite_text(&self, text: &str) {
        replace(&self.config_file(), text);
    }

    /// The request records written so far, but for those of health checks.
    pub fn records(&self) -> Vec<Record> {
        let text = self.record_text();
        let mut records = Record::parse_lines(&text);
        records.retain(|record| !matches!(record.text("path"), Some("/healthz" | "/livez")));
        records
    }

    pub fn record_text(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("requests.jsonl")).unwrap_or_default()
    }

    /// The record of an answer that was given.
    pub fn record_of(&self, response: &Response) -> Record {
        let id = response.request_id();
        eventually("the request's record", || {
            self.records()
                .into_iter()
                .find(|record| record.text("request_id") == Some(&id))
        })
    }

    pub fn wait_for_records(&self, count: usize) -> Vec<Record> {
        eventually("request records", || {
            let records = self.records();
            (records.len() >= count).then_some(records)
        })
    }

    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Ends it in good order.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.wait()
    }

    fn is_ready(&self) -> bool {
        // The admin listener tells; the port of the proxy must be open as well.
        let Ok(stream) = TcpStream::connect(self.admin) else {
            return false;
        };
        drop(stream);
        TcpStream::connect(self.address).is_ok() && self.ask_admin("GET", "/healthz").status == 200
    }
}

fn serve(config: &Config, directory: &Path) -> Command {
    let mut command = command();
    command
        .args(["serve", "--config"])
        .arg(directory.join("knoxcall.yaml"))
        .args(config.arguments())
        .env("KNOXCALL_UPGRADE_SOCKET", directory.join(UPGRADE_SOCKET))
        .envs(config.environment().iter().cloned())
        .current_dir(directory);
    command
}

fn write_config(directory: &Path, config: &Config, address: SocketAddr, admin: SocketAddr) {
    let mut config = match config.has("/listeners/0") {
        true => config
            .clone()
            .set("/listeners/0/address", json!(address.to_string())),
        false => config
            .clone()
            .set("/listeners", json!([{"address": address.to_string()}])),
    };
    if !config.has("/admin/address") {
        config = config.admin(&admin.to_string());
    }
    replace(&directory.join("knoxcall.yaml"), &config.text());
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, file).unwrap();
}

/// The gateway's other subcommands.
pub struct Cli {
    command: Command,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn new<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = command();
        command.args(arguments);
        Self { command }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With the secrets of a configuration.
    pub fn env_of(mut self, config: &Config) -> Self {
        self.command.envs(config.environment().iter().cloned());
        self
    }

    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// For a command that does not end by itself.
    pub fn spawn(self) -> Process {
        Process::spawn(self.command)
    }

    pub fn run(self) -> Output {
        let mut process = self.spawn();
        let status = process.wait();
        Output {
            code: status
                .code()
                .unwrap_or_else(|| panic!("ended by a signal: {status}")),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }
}

fn command() -> Command {
    let mut command = Command::new(binary());
    // Nothing of the developer's own environment decides.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KNOXCALL_") {
            command.env_remove(name);
        }
    }
    // Nor their session's, or what supervises it.
    for name in ["NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// Beside the tests in the target folder, unless `KNOXCALL_BIN` names another.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KNOXCALL_BIN") {
        return path.into();
    }
    // target/debug/deps/blackbox-0123 → target/debug/knoxcall
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("knoxcall");
    assert!(
        path.exists(),
        "{} is not built: `cargo build -p knoxcall`",
        path.display()
    );
    path
}
