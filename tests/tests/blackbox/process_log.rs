//! The process's own log: what may be asked of it, and what it never tells.

use std::net::SocketAddr;

use knoxcall_tests::{Config, Gateway, Upstream, eventually};
use serde_json::json;

#[test]
fn libraries_stay_silent_whatever_the_level() {
    let upstream = Upstream::start();
    for level in ["trace", "knoxcall=debug,trace", "hickory_proto=trace"] {
        let mut gateway = Gateway::start(
            &named(&upstream, "nowhere.invalid").argument(&format!("--log={level}")),
        );
        gateway.get("/").assert_refused(502, "upstream_unresolved");
        let log = gateway.process().stderr();
        assert!(!log.contains("hickory"), "{level}: {log}");
    }
}

#[test]
fn a_level_that_is_none_is_one_line() {
    let upstream = Upstream::start();
    for level in ["nonsense", "", "info,loud", "knoxcall=loud", "=info"] {
        let mut gateway =
            Gateway::spawn(&Config::new(upstream.address()).argument(&format!("--log={level}")));
        assert_eq!(gateway.process().wait().code(), Some(2), "{level:?}");
        let told = gateway.process().stderr();
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
        assert!(told.contains("debug"), "the allowed values: {told}");
    }
}

#[test]
fn a_file_gets_no_colours() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(
        &Config::new(upstream.address())
            .argument("--log-format=human")
            .env("NO_COLOR", ""),
    );
    assert!(gateway.stop().success());
    let log = gateway.process().stderr();
    assert!(log.contains("serving") && !log.contains('\u{1b}'), "{log}");
}

/// Whoever can cause a line must not be able to cause a flood of them.
#[test]
fn upstreams_that_do_not_resolve_are_told_at_most_once_a_second() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&named(&upstream, "nowhere.invalid"));
    for _ in 0..20 {
        gateway.get("/").assert_refused(502, "upstream_unresolved");
    }
    let told = |gateway: &mut Gateway| {
        let log = gateway.process().stderr();
        log.matches("upstream not resolved").count()
    };
    eventually("a line", || (told(&mut gateway) > 0).then_some(()));
    // Twenty requests may take longer than a second, but not twenty seconds.
    assert!(told(&mut gateway) < 20, "a line for each request");
}

fn named(upstream: &Upstream, host: &str) -> Config {
    let address: SocketAddr = upstream.address();
    let url = format!("http://{host}:{}", address.port());
    Config::new(address).edit_route("echo", json!({"target_base_url": url}))
}
