//! Upstreams stopped, started again, stalled and cut while callers ask: what
//! each is told meanwhile, who is left out, and that all is well afterwards.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use knoxcall_tests::{
    Config, Gateway, Nginx, Over, Request, Response, Upstream, eventually, free_port,
};
use serde_json::{Value, json};

const CALLERS: usize = 4;
const SHORT: u64 = 500;

/// The route `echo` to these ports, with these settings.
fn config(ports: &[u16], settings: Value) -> Config {
    let target = |port| json!({"url": format!("http://127.0.0.1:{port}")});
    let targets: Vec<Value> = ports.iter().map(target).collect();
    Config::new("127.0.0.1:1".parse().unwrap())
        .edit_route(
            "echo",
            json!({
                "target_base_url": null,
                "targets": targets,
                "environments": {},
                "connect_timeout_ms": SHORT,
                "read_timeout_ms": SHORT,
            }),
        )
        .edit_route("echo", settings)
}

fn kind(response: &Response) -> String {
    match response.status {
        200 => "200".to_owned(),
        status => format!("{status} {}", response.error()),
    }
}

/// What callers were answered, so far.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    fn note(&self, response: &Response) {
        *self.0.lock().unwrap().entry(kind(response)).or_default() += 1;
    }

    /// Waits until the answers of a while, so many at least, are all of this
    /// kind.
    fn wait_for_nothing_but(&self, kind: &str, count: usize) {
        eventually(&format!("nothing but {kind}"), || {
            self.0.lock().unwrap().clear();
            eventually("an answer", || {
                let answered: usize = self.0.lock().unwrap().values().sum();
                (answered >= count).then_some(())
            });
            let answers = self.0.lock().unwrap();
            answers.keys().all(|other| other == kind).then_some(())
        });
    }
}

/// Runs `change` while callers ask; every answer is one of `expected`.
fn under_load(gateway: &Gateway, expected: &[&str], change: impl FnOnce(&Tally)) {
    let (done, tally) = (AtomicBool::new(false), Tally::default());
    std::thread::scope(|scope| {
        let over = Over(&done);
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !done.load(Ordering::Relaxed) {
                    client.send(Request::get("/").bytes());
                    let response = client.read();
                    let kind = kind(&response);
                    assert!(expected.contains(&kind.as_str()), "{kind}");
                    tally.note(&response);
                }
            });
        }
        change(&tally);
        drop(over);
    });
}

#[test]
fn an_only_upstream_that_goes_and_comes_back() {
    let port = free_port();
    let gateway = Gateway::start(&config(&[port], json!({})));
    let expected = [
        "200",
        "502 upstream_unreachable",
        "502 upstream_failed",
        "504 upstream_timeout",
    ];
    let before = Nginx::plain_on(port);
    under_load(&gateway, &expected, |tally| {
        tally.wait_for_nothing_but("200", 50);
        drop(before);
        tally.wait_for_nothing_but("502 upstream_unreachable", 50);
        let again = Nginx::plain_on(port);
        tally.wait_for_nothing_but("200", 50);
        again.stall();
        tally.wait_for_nothing_but("504 upstream_timeout", 2 * CALLERS);
        again.go_on();
        tally.wait_for_nothing_but("200", 50);
    });
}

fn ejected(gateway: &Gateway) -> f64 {
    gateway.metric("knoxcall_upstream_endpoints_ejected", &[])
}

#[test]
fn one_of_two_that_stalls_is_ejected_and_costs_nothing_more() {
    let ports = [free_port(), free_port()];
    let [stalls, _other] = ports.map(Nginx::plain_on);
    let settings = json!({"ejection": {"consecutive_failures": 3, "base_time_ms": 3_600_000}});
    let gateway = Gateway::start(&config(&ports, settings));
    let expected = ["200", "504 upstream_timeout"];
    under_load(&gateway, &expected, |tally| {
        tally.wait_for_nothing_but("200", 50);
        stalls.stall();
        eventually("its ejection", || (ejected(&gateway) >= 1.0).then_some(()));
        tally.wait_for_nothing_but("200", 200);
        assert!(ejected(&gateway) >= 1.0);
    });
    stalls.go_on();
}

#[test]
fn one_of_two_that_stalls_is_left_out_by_its_checks_until_it_goes_on() {
    let ports = [free_port(), free_port()];
    let [stalls, _other] = ports.map(Nginx::plain_on);
    let check = json!({
        "type": "http", "path": "/", "interval_ms": 50, "timeout_ms": SHORT,
        "unhealthy_after": 1, "healthy_after": 1,
    });
    let gateway = Gateway::start(&config(&ports, json!({"health_check": check})));
    let unhealthy = || gateway.metric("knoxcall_upstream_endpoints_unhealthy", &[]);
    let expected = ["200", "504 upstream_timeout"];
    under_load(&gateway, &expected, |tally| {
        stalls.stall();
        eventually("a check to fail", || (unhealthy() >= 1.0).then_some(()));
        tally.wait_for_nothing_but("200", 200);
        stalls.go_on();
        eventually("a check to pass", || (unhealthy() == 0.0).then_some(()));
        tally.wait_for_nothing_but("200", 50);
    });
    let port = format!("port={} ", ports[0]);
    eventually("it to serve again", || {
        gateway.get("/").text().contains(&port).then_some(())
    });
}

/// Ends every connection in the middle of what it is asked sixth.
fn cutting() -> Upstream {
    Upstream::scripted(|session| {
        for _ in 0..5 {
            if session.request()?.is_none() {
                return Ok(());
            }
            session.answer("ok")?;
        }
        session.request().map(drop)
    })
}

#[test]
fn what_an_upstream_cuts_is_never_sent_twice_unless_it_may_be() {
    let upstream = cutting();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let next = AtomicUsize::new(0);
    let answers: Vec<(String, Response)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut ask = || {
                        let target = format!("/{}", next.fetch_add(1, Ordering::Relaxed));
                        client.send(Request::post(&target, "once").bytes());
                        (target, client.read())
                    };
                    (0..50).map(|_| ask()).collect::<Vec<_>>()
                })
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    });
    let arrived = upstream.requests();
    for (target, response) in &answers {
        let times = arrived.iter().filter(|seen| seen.target == *target).count();
        match response.status {
            200 => assert_eq!(times, 1, "{target}"),
            _ => {
                response.assert_refused(502, "upstream_failed");
                assert!(times <= 1, "{target}: {times} times");
            }
        }
    }
    let failed = answers.iter().filter(|(_, answer)| answer.status != 200);
    assert!(failed.count() > 0, "some were cut");
}
