//! Limits and replay protection of instances that share a Redis: never more
//! than the limit while it is there, a share when it is away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use knoxcall_tests::config::SIGNING_SECRET;
use knoxcall_tests::{Config, Gateway, Redis, Request, Upstream, eventually, keys, pause, signing};
use serde_json::json;

#[test]
fn two_instances_admit_no_more_than_one_limit() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let config = shared(&upstream, &redis, 200, 3600);
    let instances = [Gateway::start(&config), Gateway::start(&config)];
    let served = at_once(&instances, 200);
    assert!(served <= 200, "{served} of 200 were served");
    // Leases of at most 1 % may stay unused, no more than that.
    assert!(served >= 190, "only {served} of 200 were served");
}

#[test]
fn small_limits_are_exact_over_two_instances() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let config = shared(&upstream, &redis, 10, 3600);
    let instances = [Gateway::start(&config), Gateway::start(&config)];
    assert_eq!(at_once(&instances, 20), 10);
    for instance in &instances {
        instance.get("/").assert_refused(429, "rate_limited");
    }
}

#[test]
fn a_restarted_instance_finds_what_was_used() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let config = shared(&upstream, &redis, 5, 3600);
    let mut first = Gateway::start(&config);
    for _ in 0..5 {
        first.get("/").assert_served();
    }
    assert!(first.stop().success());
    Gateway::start(&config)
        .get("/")
        .assert_refused(429, "rate_limited");
}

#[test]
fn without_redis_each_instance_falls_back_to_its_share() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let gateway =
        Gateway::start(&shared(&upstream, &redis, 8, 3600).set("/counters/instances", json!(2)));
    gateway.get("/").assert_served();
    assert_eq!(gateway.metric("knoxcall_redis_up", &[]), 1.0);

    redis.stop();
    let served = (0..12).filter(|_| gateway.get("/").status == 200).count();
    assert!(
        (1..=4).contains(&served),
        "{served} served where the share is 4"
    );
    assert!(gateway.metric("knoxcall_redis_fallbacks_total", &[]) > 0.0);
    assert_eq!(gateway.metric("knoxcall_redis_up", &[]), 0.0);

    redis.resume();
    eventually("the way back to Redis", || {
        let _ = gateway.get("/");
        (gateway.metric("knoxcall_redis_up", &[]) == 1.0).then_some(())
    });
}

#[test]
fn a_nonce_counts_once_over_two_instances() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let config = signed(&upstream, &redis);
    let instances = [Gateway::start(&config), Gateway::start(&config)];
    let request = sign(signing::timestamp());
    instances[0].send(&request).assert_served();
    instances[1]
        .send(&request)
        .assert_refused(401, "nonce_replayed");
    instances[0]
        .send(&request)
        .assert_refused(401, "nonce_replayed");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn without_redis_signed_requests_fail_closed() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let gateway = Gateway::start(&signed(&upstream, &redis));
    redis.stop();
    let refused = gateway.send(&sign(signing::timestamp()));
    refused.assert_refused(503, "dependency_unavailable");
    assert!(refused.header("retry-after").is_some());
    upstream.assert_untouched();
}

#[test]
fn redis_may_take_as_long_as_is_configured() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let fallbacks = |timeout_ms: u64| {
        let config = shared(&upstream, &redis, 100, 3600).set(
            "/counters",
            json!({"redis_url": slow(&redis, 200), "redis_timeout_ms": timeout_ms}),
        );
        let gateway = Gateway::start(&config);
        gateway.get("/").assert_served();
        gateway.metric("knoxcall_redis_fallbacks_total", &[])
    };
    assert_eq!(fallbacks(20_000), 0.0);
    assert_eq!(fallbacks(20), 1.0);
}

/// The address of something that lets each answer of Redis wait.
fn slow(redis: &Redis, pause_ms: u64) -> String {
    let url = redis.url();
    let target = url
        .trim_start_matches("redis://")
        .trim_end_matches("/0")
        .to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&target).unwrap();
            carry(client.try_clone().unwrap(), server.try_clone().unwrap(), 0);
            carry(server, client, pause_ms);
        }
    });
    format!("redis://{address}/0")
}

fn carry(mut from: TcpStream, mut to: TcpStream, pause_ms: u64) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            pause(Duration::from_millis(pause_ms));
            if to.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
}

fn shared(upstream: &Upstream, redis: &Redis, requests: u32, window: u32) -> Config {
    Config::new(upstream.address())
        .set("/counters/redis_url", json!(redis.url()))
        .edit_route(
            "echo",
            json!({"rate_limit_requests": requests, "rate_limit_window_sec": window}),
        )
}

fn signed(upstream: &Upstream, redis: &Redis) -> Config {
    Config::new(upstream.address())
        .set("/counters/redis_url", json!(redis.url()))
        .edit_route("echo", json!({"require_signature": true}))
}

fn sign(timestamp: u64) -> Request {
    let signature = signing::v1(SIGNING_SECRET, timestamp, "GET", "/", b"");
    Request::get("/")
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header("x-signature", &signature)
}

/// How many were served of `each` requests to every instance, sent side by side.
fn at_once(instances: &[Gateway], each: usize) -> usize {
    std::thread::scope(|scope| {
        let callers: Vec<_> = instances
            .iter()
            .map(|gateway| {
                scope.spawn(move || {
                    let mut client = gateway.connect();
                    (0..each)
                        .filter(|_| {
                            client.send(Request::get("/").bytes());
                            client.read().status == 200
                        })
                        .count()
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    })
}
