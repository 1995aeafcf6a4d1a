//! Where the process listens: flags are judged like the file, nothing listens
//! twice, and what was bound is what is announced.

use std::net::SocketAddr;
use std::time::Duration;

use knoxcall_tests::{
    Cli, Config, Gateway, RawClient, Request, Upstream, eventually, free_port, pause,
};
use serde_json::Value;

#[test]
fn listeners_that_overlap_are_refused_in_one_line() {
    let upstream = Upstream::start();
    let port = free_port();
    let [one, any, any6] = ["127.0.0.1", "0.0.0.0", "[::]"].map(|ip| format!("{ip}:{port}"));
    for arguments in [
        vec![format!("--listen={one},{one}")],
        vec![format!("--listen={one},{any}")],
        vec![format!("--listen={any},{one}")],
        vec![format!("--listen={any6},{one}")],
        vec![format!("--listen={any6},{any}")],
        vec![format!("--listen=[::1]:{port},{any6}")],
        vec![format!("--listen={one}"), format!("--admin-listen={one}")],
        vec![format!("--listen={one}"), format!("--admin-listen={any}")],
        vec![format!("--listen={any6}"), format!("--admin-listen={one}")],
    ] {
        let config = Config::new(upstream.address());
        let mut gateway = Gateway::spawn(
            &arguments
                .iter()
                .fold(config.clone(), |config, argument| config.argument(argument)),
        );
        assert_eq!(gateway.process().wait().code(), Some(2), "{arguments:?}");
        let told = gateway.process().stderr();
        assert_one_line(&told);
        assert!(told.contains(&format!(":{port}")), "{told}");

        let check = config_command("check", &gateway, &config, &arguments);
        assert_eq!(check.code, 2, "{arguments:?}: {}", check.stdout);
        assert_one_line(&check.stderr);
    }
}

#[test]
fn a_flag_that_collides_with_the_file_is_refused() {
    let upstream = Upstream::start();
    let admin = format!("127.0.0.1:{}", free_port());
    let mut gateway = Gateway::spawn(
        &Config::new(upstream.address())
            .admin(&admin)
            .argument(&format!("--listen={admin}")),
    );
    assert_eq!(gateway.process().wait().code(), Some(2));
    let told = gateway.process().stderr();
    assert_one_line(&told);
    assert!(told.contains(&admin), "{told}");
}

#[test]
fn an_address_of_another_machine_is_one_line() {
    let upstream = Upstream::start();
    let mut gateway =
        Gateway::spawn(&Config::new(upstream.address()).argument("--listen=192.0.2.1:8080"));
    assert_eq!(gateway.process().wait().code(), Some(2));
    let told = gateway.process().stderr();
    assert_one_line(&told);
    assert!(
        told.contains("192.0.2.1:8080") && !told.contains("os error"),
        "{told}"
    );
}

#[test]
fn the_same_port_of_different_addresses_is_fine() {
    let upstream = Upstream::start();
    let port = free_port();
    let both = [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")];
    let _gateway = Gateway::spawn(
        &Config::new(upstream.address()).argument(&format!("--listen={}", both.join(","))),
    );
    for address in &both {
        assert_serves(address.parse().unwrap());
    }
}

#[test]
fn port_zero_is_announced_as_what_it_became() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::spawn(
        &Config::new(upstream.address())
            .argument("--listen=127.0.0.1:0")
            .argument("--listen=127.0.0.2:0"),
    );
    let serving = eventually("the announcement", || serving(&mut gateway));
    let addresses: Vec<SocketAddr> = serving["listeners"]
        .as_str()
        .unwrap()
        .split(", ")
        .map(|address| address.parse().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        assert_ne!(address.port(), 0);
        assert_serves(address);
    }
}

#[test]
fn check_and_show_know_the_flags() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let flags = [
        "--listen=127.0.0.1:18081,127.0.0.1:18082".to_owned(),
        "--admin-listen=127.0.0.1:19901".to_owned(),
        "--workers=3".to_owned(),
        "--instances=4".to_owned(),
    ];
    let shown = config_command("show", &gateway, &config, &flags);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["listeners"][1]["address"], "127.0.0.1:18082");
    assert_eq!(shown["admin"]["address"], "127.0.0.1:19901");
    assert_eq!(shown["workers"], 3);
    assert_eq!(shown["counters"]["instances"], 4);
    assert_eq!(config_command("check", &gateway, &config, &flags).code, 0);
}

fn config_command(
    action: &str,
    gateway: &Gateway,
    config: &Config,
    flags: &[String],
) -> knoxcall_tests::Output {
    let file = gateway.config_file();
    let words = ["config", action, file.to_str().unwrap()];
    Cli::new(words.into_iter().chain(flags.iter().map(String::as_str)))
        .env_of(config)
        .run()
}

/// The line of the log that says so, once it is there.
fn serving(gateway: &mut Gateway) -> Option<Value> {
    let log = gateway.process().stderr();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"] == "serving")
}

fn assert_serves(address: SocketAddr) {
    eventually("the listener", || {
        std::net::TcpStream::connect(address).ok()
    });
    let mut client = RawClient::connect(address);
    client.send(Request::get("/").bytes());
    client.read().assert_served();
}

fn assert_one_line(told: &str) {
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

/// The process may have so many files open.
fn allow_files(process: u32, files: usize) {
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &process.to_string()])
        .arg(format!("--nofile={files}:8192"))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn without_files_for_more_connections_accepting_rests_and_then_goes_on() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.get("/").assert_served();
    let process = gateway.process().id();
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    allow_files(process, open.count() + 2);
    let mut waiting: Vec<RawClient> = (0..8).map(|_| gateway.connect()).collect();
    pause(Duration::from_millis(900));
    allow_files(process, 8192);
    for client in &mut waiting {
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    }
    let errors = gateway.metric("knoxcall_accept_errors_total", &[]);
    assert!((1.0..20.0).contains(&errors), "{errors}");
}
