//! `KNOXCALL_*` variables: what a container sets in place of flags. Each wins
//! over the file, and a flag over each.

use std::net::{SocketAddr, TcpStream};

use knoxcall_tests::{
    Cli, Config, Process, RawClient, Request, Response, Upstream, eventually, free_port,
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn file_and_addresses_come_from_the_environment() {
    let upstream = Upstream::start();
    let [one, other, admin] = [(); 3].map(|()| local(free_port()));
    let mut gateway = Started::new(
        &Config::new(upstream.address()),
        &[],
        &[
            ("KNOXCALL_LISTEN", &format!("{one},{other}")),
            ("KNOXCALL_ADMIN_LISTEN", &admin.to_string()),
        ],
    );
    for address in [one, other] {
        gateway.wait_for(address);
        get(address).assert_served();
    }
    gateway.wait_for(admin);
    assert_eq!(metrics(admin).status, 200);
    for address in [gateway.address, gateway.admin] {
        let stays_closed = TcpStream::connect(address).is_err();
        assert!(stays_closed, "the file's {address} is open as well");
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let upstream = Upstream::start();
    let [of_flag, of_variable] = [(); 2].map(|()| local(free_port()));
    let mut gateway = Started::new(
        &Config::new(upstream.address()),
        &[&format!("--listen={of_flag}")],
        &[("KNOXCALL_LISTEN", &of_variable.to_string())],
    );
    gateway.wait_for(of_flag);
    get(of_flag).assert_served();
    assert!(TcpStream::connect(of_variable).is_err());
}

#[test]
fn the_number_of_workers_comes_from_the_environment() {
    let upstream = Upstream::start();
    let [few, many] = ["1", "9"].map(|workers| {
        let mut gateway = Started::new(
            &Config::new(upstream.address()).set("/workers", json!(4)),
            &[],
            &[("KNOXCALL_WORKERS", workers)],
        );
        gateway.wait_for(gateway.address);
        get(gateway.address).assert_served();
        let serving = gateway.serving();
        assert_eq!(serving["workers"].to_string(), workers);
        let tasks = format!("/proc/{}/task", gateway.process.id());
        std::fs::read_dir(tasks).unwrap().count()
    });
    assert!(many >= few + 8, "{few} threads with 1, {many} with 9");
}

#[test]
fn the_number_of_instances_comes_from_the_environment() {
    let upstream = Upstream::start();
    // Nobody answers there: each instance grants its share, limit ÷ instances.
    let redis = format!("redis://127.0.0.1:{}/0", free_port());
    let config = Config::new(upstream.address())
        .set("/counters", json!({"redis_url": redis, "instances": 1}))
        .edit_route(
            "echo",
            json!({"rate_limit_requests": 8, "rate_limit_window_sec": 3600}),
        );
    for (instances, share) in [("1", 8), ("2", 4), ("8", 1)] {
        let mut gateway = Started::new(&config, &[], &[("KNOXCALL_INSTANCES", instances)]);
        gateway.wait_for(gateway.address);
        let served = (0..12)
            .filter(|_| get(gateway.address).status == 200)
            .count();
        assert_eq!(served, share, "of {instances} instances");
    }
}

#[test]
fn level_and_format_of_the_log_come_from_the_environment() {
    let upstream = Upstream::start();
    let quiet = Config::new(upstream.address())
        .set("/logging/level", json!("error"))
        .set("/logging/format", json!("json"));
    let variables = [
        ("KNOXCALL_LOG", "info"),
        ("KNOXCALL_LOG_FORMAT", "human"),
        ("NO_COLOR", "1"),
    ];
    let gateway = Started::new(&quiet, &[], &variables);
    let line = eventually("the announcement", || {
        let log = gateway.process.stderr();
        let mut lines = log.lines();
        lines
            .find(|line| line.contains("serving"))
            .map(str::to_owned)
    });
    assert!(serde_json::from_str::<Value>(&line).is_err(), "{line}");
    assert!(line.contains("INFO"), "{line}");

    let loud = quiet
        .set("/logging/level", json!("info"))
        .set("/logging/format", json!("human"));
    let variables = [("KNOXCALL_LOG", "error"), ("KNOXCALL_LOG_FORMAT", "json")];
    let mut gateway = Started::new(&loud, &[], &variables);
    gateway.wait_for(gateway.address);
    std::fs::write(gateway.folder.path().join("knoxcall.yaml"), "routes: [").unwrap();
    gateway.process.signal("HUP");
    let log = eventually("the refusal", || {
        let log = gateway.process.stderr();
        log.contains("refused").then_some(log)
    });
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(line["level"], "ERROR", "{log}");
    }
}

#[test]
fn a_value_that_is_none_is_one_line_that_names_the_flag() {
    for (name, value, flag) in [
        ("KNOXCALL_LISTEN", "8080", "--listen"),
        ("KNOXCALL_LISTEN", "127.0.0.1:1,x", "--listen"),
        ("KNOXCALL_ADMIN_LISTEN", "localhost", "--admin-listen"),
        ("KNOXCALL_WORKERS", "0", "--workers"),
        ("KNOXCALL_INSTANCES", "many", "--instances"),
        ("KNOXCALL_LOG_FORMAT", "xml", "--log-format"),
        ("KNOXCALL_DEPLOYMENT_MODE", "managed", "--deployment-mode"),
    ] {
        let output = Cli::new(["serve"])
            .env("KNOXCALL_CONFIG", "any.yaml")
            .env(name, value)
            .run();
        assert_eq!(output.code, 2, "{name}");
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains(flag), "{}", output.stderr);
    }
}

/// `knoxcall serve` with `KNOXCALL_CONFIG` in the place of `--config`.
struct Started {
    process: Process,
    /// What the file says.
    address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl Started {
    fn new(config: &Config, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let [address, admin] = [(); 2].map(|()| local(free_port()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("knoxcall.yaml");
        let config = config
            .clone()
            .set("/listeners", json!([{"address": address.to_string()}]))
            .admin(&admin.to_string());
        std::fs::write(&file, config.text()).unwrap();
        let command = Cli::new(["serve"].iter().chain(arguments))
            .env_of(&config)
            .env("KNOXCALL_CONFIG", file.to_str().unwrap())
            .current_dir(folder.path());
        let command = variables
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value));
        Self {
            process: command.spawn(),
            address,
            admin,
            folder,
        }
    }

    fn wait_for(&mut self, address: SocketAddr) {
        eventually("the listener", || {
            let ended = self.process.exited();
            assert_eq!(ended, None, "{}", self.process.stderr());
            TcpStream::connect(address).ok()
        });
    }

    /// The line of the log that says so.
    fn serving(&self) -> Value {
        eventually("the announcement", || {
            let log = self.process.stderr();
            let lines = log.lines();
            let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["message"] == "serving")
        })
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn get(address: SocketAddr) -> Response {
    let mut client = RawClient::connect(address);
    client.send(Request::get("/").bytes());
    client.read()
}

fn metrics(admin: SocketAddr) -> Response {
    let mut client = RawClient::connect(admin);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    client.read()
}
