//! Connections to upstreams that wait for their next request.

use std::net::SocketAddr;

use knoxcall_tests::{Config, Gateway, Upstream, eventually};

/// In `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const KEEP_ALIVE: &str = "02:";

/// Does the kernel ask after a connection to this address (`proc(5)`)?
fn is_asked_after(address: SocketAddr) -> bool {
    let remote = format!("0100007F:{:04X}", address.port());
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, to, state, _, timer, ..]
            if to == remote && state == ESTABLISHED && timer.starts_with(KEEP_ALIVE))
    })
}

#[test]
fn tcp_asks_after_a_pooled_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.get("/").assert_served();
    eventually("the timer of its keep-alive", || {
        is_asked_after(upstream.address()).then_some(())
    });
    gateway.get("/").assert_served();
    assert_eq!(upstream.connections(), 1);
}
