//! Redis stopped, started again, stalled and cut while callers ask: limits
//! fall back to a share, signatures are refused, nobody waits for it, and once
//! it is back all is as before.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use knoxcall_tests::config::SIGNING_SECRET;
use knoxcall_tests::{
    Config, Gateway, Over, Redis, Request, Response, Upstream, eventually, keys, signing,
};
use serde_json::json;

const CALLERS: usize = 4;
/// Many times `redis_timeout_ms`, and far less than the stall lasts.
const BOUND: Duration = Duration::from_secs(5);

/// What becomes of the Redis, and how it comes back.
type Outage = (fn(&mut Redis), fn(&mut Redis));

const STOPPED: Outage = (Redis::stop, Redis::resume);
const STALLED: Outage = (|redis| redis.stall(), |redis| redis.go_on());

fn kind(response: &Response) -> String {
    match response.status {
        200 => "200".to_owned(),
        status => format!("{status} {}", response.error()),
    }
}

/// Callers that ask on and on, each on one connection.
struct Load<'g> {
    gateway: &'g Gateway,
    request: &'g (dyn Fn(usize) -> Request + Sync),
    done: &'g AtomicBool,
    next: AtomicUsize,
    answers: Mutex<BTreeMap<String, usize>>,
    served: Mutex<Vec<Request>>,
}

impl Load<'_> {
    fn ask(&self) {
        let mut client = self.gateway.connect();
        while !self.done.load(Ordering::Relaxed) {
            let request = (self.request)(self.next.fetch_add(1, Ordering::Relaxed));
            let begun = Instant::now();
            client.send(request.bytes());
            let response = client.read();
            assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
            let mut answers = self.answers.lock().unwrap();
            *answers.entry(kind(&response)).or_default() += 1;
            drop(answers);
            if response.status == 200 {
                self.served.lock().unwrap().push(request);
            }
        }
    }

    /// Waits for so many more answers of this kind.
    fn wait_for(&self, count: usize, kind: &str) {
        let so_far = || self.answers.lock().unwrap().get(kind).copied().unwrap_or(0);
        let enough = so_far() + count;
        eventually(kind, || (so_far() >= enough).then_some(()));
    }
}

/// Runs `change` while callers ask; what was answered, and what was served.
fn under_load(
    gateway: &Gateway,
    request: &(dyn Fn(usize) -> Request + Sync),
    change: impl FnOnce(&Load<'_>),
) -> (BTreeMap<String, usize>, Vec<Request>) {
    let done = AtomicBool::new(false);
    let load = Load {
        gateway,
        request,
        done: &done,
        next: AtomicUsize::new(0),
        answers: Mutex::default(),
        served: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let over = Over(&done);
        for _ in 0..CALLERS {
            scope.spawn(|| load.ask());
        }
        change(&load);
        drop(over);
    });
    let served = load.served.into_inner().unwrap();
    (load.answers.into_inner().unwrap(), served)
}

/// Two instances share the limit, so that each has half of it to itself.
fn limited(upstream: &Upstream, redis: &Redis, requests: u32) -> Config {
    let limit = json!({"rate_limit_requests": requests, "rate_limit_window_sec": 3600});
    Config::new(upstream.address())
        .set(
            "/counters",
            json!({"redis_url": redis.url(), "instances": 2}),
        )
        .edit_route("echo", limit)
}

fn signed(upstream: &Upstream, redis: &Redis) -> Config {
    Config::new(upstream.address())
        .set("/counters/redis_url", json!(redis.url()))
        .edit_route("echo", json!({"require_signature": true}))
}

fn sign(number: usize, timestamp: u64) -> Request {
    let target = format!("/{number}");
    let signature = signing::v1(SIGNING_SECRET, timestamp, "GET", &target, b"");
    Request::get(&target)
        .key(keys::CLIENT)
        .header("x-timestamp", &timestamp.to_string())
        .header("x-signature", &signature)
}

fn is_back(gateway: &Gateway, request: &Request) {
    eventually("the way back to Redis", || {
        let _ = gateway.send(request);
        (gateway.metric("knoxcall_redis_up", &[]) == 1.0).then_some(())
    });
}

#[test]
fn no_request_within_its_limit_fails_whatever_becomes_of_redis() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let gateway = Gateway::start(&limited(&upstream, &redis, 100_000_000));
    let (answers, _) = under_load(&gateway, &|_| Request::get("/"), |load| {
        load.wait_for(20, "200");
        for (begin, end) in [STOPPED, STALLED] {
            begin(&mut redis);
            load.wait_for(100, "200");
            end(&mut redis);
            eventually("the way back to Redis", || {
                (gateway.metric("knoxcall_redis_up", &[]) == 1.0).then_some(())
            });
        }
        for _ in 0..5 {
            redis.cut();
            load.wait_for(20, "200");
        }
    });
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["200"], "{answers:?}");
}

#[test]
fn several_callers_get_no_more_than_the_share_while_redis_is_away() {
    for (begin, end) in [STOPPED, STALLED] {
        let upstream = Upstream::start();
        let mut redis = Redis::start();
        let gateway = Gateway::start(&limited(&upstream, &redis, 8));
        gateway.get("/").assert_served();
        begin(&mut redis);
        let (answers, served) = under_load(&gateway, &|_| Request::get("/"), |load| {
            load.wait_for(40, "429 rate_limited");
        });
        assert!((1..=4).contains(&served.len()), "{answers:?}");
        assert!(answers.len() <= 2, "served or limited: {answers:?}");
        end(&mut redis);
        is_back(&gateway, &Request::get("/"));
    }
}

#[test]
fn signatures_are_refused_while_redis_is_away_and_count_once_afterwards() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let gateway = Gateway::start(&signed(&upstream, &redis));
    // Not dated ahead: the Redis that is started again knows nothing of those.
    let sign = |number| sign(number, signing::now());
    let (answers, served) = under_load(&gateway, &sign, |load| {
        load.wait_for(20, "200");
        for (begin, end) in [STALLED, STOPPED] {
            begin(&mut redis);
            load.wait_for(40, "503 dependency_unavailable");
            end(&mut redis);
            load.wait_for(40, "200");
        }
    });
    // In the second in which a Redis was first seen: it may have forgotten
    // what was signed until then.
    let expected = ["200", "401 signature_expired", "503 dependency_unavailable"];
    assert!(
        answers.keys().all(|kind| expected.contains(&kind.as_str())),
        "{answers:?}"
    );
    assert_eq!(upstream.requests().len(), served.len());
    let mut client = gateway.connect();
    for request in &served {
        client.send(request.bytes());
        let answer = client.read();
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert_eq!(upstream.requests().len(), served.len());
}

#[test]
fn a_cut_connection_to_redis_lets_no_signature_through_twice() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(&signed(&upstream, &redis));
    let sign = |number| sign(number, signing::timestamp());
    let (answers, served) = under_load(&gateway, &sign, |load| {
        for _ in 0..10 {
            load.wait_for(20, "200");
            redis.cut();
        }
        load.wait_for(20, "200");
    });
    let expected = ["200", "503 dependency_unavailable"];
    assert!(
        answers.keys().all(|kind| expected.contains(&kind.as_str())),
        "{answers:?}"
    );
    let mut client = gateway.connect();
    for request in &served {
        client.send(request.bytes());
        client.read().assert_refused(401, "nonce_replayed");
    }
    assert_eq!(upstream.requests().len(), served.len());
}
