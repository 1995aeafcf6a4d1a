//! Pools: several targets, of which some are slow, full, failing or gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use knoxcall_tests::{Config, Gateway, Nginx, Request, Upstream, eventually, free_port};
use serde_json::{Value, json};

/// The route `echo` to these targets, with these settings.
fn config(urls: &[String], settings: Value) -> Config {
    let targets: Vec<Value> = urls.iter().map(|url| json!({"url": url})).collect();
    Config::new("127.0.0.1:1".parse().unwrap())
        .edit_route("echo", json!({"target_base_url": null, "targets": targets}))
        .edit_route("echo", settings)
}

fn urls(upstreams: &[&Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| upstream.url()).collect()
}

/// Answers with its name.
fn named(name: &'static str) -> Upstream {
    Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            session.answer(name)?;
        }
        Ok(())
    })
}

/// Answers with its name, or with 503 while it is out of order.
fn faulty(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            match state.load(Ordering::SeqCst) {
                true => {
                    session.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?
                }
                false => session.answer(name)?,
            }
        }
        Ok(())
    });
    (upstream, broken)
}

/// Who answered so many requests, and how often.
fn answers(gateway: &Gateway, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let answer = gateway.get("/");
        let who = match answer.status {
            200 => answer.text(),
            status => status.to_string(),
        };
        *counts.entry(who).or_default() += 1;
    }
    counts
}

fn shown(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.ask_admin("GET", "/upstreams");
    assert_eq!(answer.status, 200);
    let pools = answer.json()["upstreams"].as_array().unwrap().clone();
    let production = pools
        .into_iter()
        .filter(|pool| pool["environment"] == "production");
    let endpoints = production.map(|pool| pool["endpoints"].as_array().unwrap().clone());
    endpoints.flatten().collect()
}

#[test]
fn requests_go_round_by_weight() {
    let (one, two) = (named("one"), named("two"));
    let targets = json!([{"url": one.url(), "weight": 3}, {"url": two.url()}]);
    let gateway = Gateway::start(&config(&[], json!({"targets": targets})));
    let counts = answers(&gateway, 40);
    assert_eq!(counts, [("one".into(), 30), ("two".into(), 10)].into());
}

#[test]
fn each_target_is_called_by_its_own_name() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let gateway = Gateway::start(&config(&urls(&[&one, &two]), json!({})));
    gateway.get("/");
    let answer = gateway.get("/");
    for upstream in [&one, &two] {
        let request = upstream.only_request();
        assert_eq!(
            request.header("host"),
            Some(&*upstream.address().to_string())
        );
    }
    let record = gateway.record_of(&answer);
    let host = record.text("upstream_host").unwrap().to_owned();
    let names = [&one, &two].map(|upstream| upstream.address().to_string());
    assert!(names.contains(&host), "{host}");
}

#[test]
fn one_of_three_that_is_gone_costs_no_request_is_left_out_and_comes_back() {
    let (port, third) = (free_port(), Upstream::start());
    let second = Upstream::start();
    let gone = format!("http://127.0.0.1:{port}");
    let mut all = urls(&[&second, &third]);
    all.push(gone);
    let nginx = Nginx::plain_on(port);
    let settings = json!({"ejection": {"consecutive_failures": 1, "base_time_ms": 300}});
    let gateway = Gateway::start(&config(&all, settings));
    assert_eq!(answers(&gateway, 6).values().sum::<usize>(), 6);
    drop(nginx);

    let counts = answers(&gateway, 30);
    assert_eq!(counts, [("ok".into(), 30)].into());
    assert!(gateway.metric("knoxcall_upstream_ejections_total", &[]) >= 1.0);

    let _nginx = Nginx::plain_on(port);
    eventually("the third to serve again", || {
        let answer = gateway.get("/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().starts_with("GET").then_some(())
    });
}

#[test]
fn failing_answers_eject_and_half_of_the_endpoints_stay_at_least() {
    let (one, broken_one) = faulty("one");
    let (two, broken_two) = faulty("two");
    let settings = json!({"ejection": {
        "consecutive_failures": 2, "base_time_ms": 3_600_000, "max_percent": 50,
    }});
    let gateway = Gateway::start(&config(&urls(&[&one, &two]), settings));
    broken_one.store(true, Ordering::SeqCst);
    answers(&gateway, 4);
    assert_eq!(answers(&gateway, 10), [("two".into(), 10)].into());
    let ejected = |endpoint: &&Value| endpoint["ejected"] == true;
    assert_eq!(shown(&gateway).iter().filter(ejected).count(), 1);
    assert!(gateway.metric("knoxcall_upstream_endpoints_ejected", &[]) >= 1.0);

    broken_two.store(true, Ordering::SeqCst);
    let counts = answers(&gateway, 10);
    assert_eq!(counts, [("503".into(), 10)].into(), "the last one stays in");
    broken_two.store(false, Ordering::SeqCst);
    assert_eq!(answers(&gateway, 4), [("two".into(), 4)].into());
}

#[test]
fn a_reload_forgets_no_ejection() {
    let (one, broken) = faulty("one");
    let two = named("two");
    let settings = json!({"ejection": {"consecutive_failures": 1, "base_time_ms": 3_600_000}});
    let config = config(&urls(&[&one, &two]), settings);
    let gateway = Gateway::start(&config);
    broken.store(true, Ordering::SeqCst);
    answers(&gateway, 2);
    broken.store(false, Ordering::SeqCst);
    gateway.rewrite_and_wait(&config.edit_route("echo", json!({"read_timeout_ms": 9_000})));
    assert_eq!(answers(&gateway, 6), [("two".into(), 6)].into());
}

#[test]
fn what_fails_its_health_checks_gets_no_request_until_it_passes_again() {
    let (one, broken) = faulty("one");
    let two = named("two");
    let check = json!({
        "type": "http", "path": "/health?from=gateway", "interval_ms": 50,
        "healthy_after": 2, "unhealthy_after": 2,
    });
    let gateway = Gateway::start(&config(
        &urls(&[&one, &two]),
        json!({"health_check": check}),
    ));
    broken.store(true, Ordering::SeqCst);
    eventually("the one to be taken out", || {
        let unhealthy = gateway.metric("knoxcall_upstream_endpoints_unhealthy", &[]);
        // In each of the three environments it is checked by itself.
        (unhealthy >= 3.0).then_some(())
    });
    assert_eq!(answers(&gateway, 6), [("two".into(), 6)].into());
    broken.store(false, Ordering::SeqCst);
    eventually("the one to come back", || {
        answers(&gateway, 4).contains_key("one").then_some(())
    });
    let asked = one.requests();
    let check = asked
        .iter()
        .find(|request| request.target.starts_with("/health"));
    let check = check.expect("a check");
    assert_eq!(check.target, "/health?from=gateway");
    assert_eq!(check.header("host"), Some(&*one.address().to_string()));
}

#[test]
fn where_all_fail_their_checks_all_are_used() {
    let (port, other) = (free_port(), free_port());
    let urls = [port, other].map(|port| format!("http://127.0.0.1:{port}"));
    let check = json!({"type": "tcp", "interval_ms": 50, "unhealthy_after": 1});
    let gateway = Gateway::start(&config(&urls, json!({"health_check": check})));
    eventually("both to be taken out", || {
        let good = |endpoint: &Value| endpoint["healthy"] == true;
        (!shown(&gateway).iter().any(good)).then_some(())
    });
    gateway.get("/").assert_refused(502, "upstream_unreachable");
}

#[test]
fn the_less_busy_serves() {
    let slow = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            session.hang()?;
        }
        Ok(())
    });
    let quick = named("quick");
    let settings = json!({"balance": "least_connections"});
    let gateway = Gateway::start(&config(&urls(&[&slow, &quick]), settings));
    // Two requests: one for each, whose turn it is or who has nothing to do.
    let mut waiting = [gateway.connect(), gateway.connect()];
    for (at, client) in waiting.iter_mut().enumerate() {
        client.send(Request::get("/").bytes());
        eventually("the request at an upstream", || {
            let arrived = slow.requests().len() + quick.requests().len();
            (arrived > at).then_some(())
        });
    }
    assert_eq!(slow.requests().len(), 1);
    eventually("the quick one to be free again", || {
        (gateway.metric("knoxcall_requests_active", &[]) == 1.0).then_some(())
    });
    assert_eq!(answers(&gateway, 12), [("quick".into(), 12)].into());
}

#[test]
fn a_header_keeps_its_endpoint() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let settings = json!({"balance": "consistent_hash", "hash_header": "x-session"});
    let gateway = Gateway::start(&config(&urls(&[&one, &two, &three]), settings));
    let who = |session: usize| {
        let request = Request::get("/").header("x-session", &session.to_string());
        gateway.send(&request).text()
    };
    let homes: Vec<String> = (0..30).map(who).collect();
    let again: Vec<String> = (0..30).map(who).collect();
    assert_eq!(homes, again);
    let distinct: std::collections::BTreeSet<_> = homes.iter().collect();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn one_request_too_many_is_refused_and_the_one_before_it_waits() {
    let slow = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            knoxcall_tests::pause(std::time::Duration::from_millis(300));
            session.answer("ok")?;
        }
        Ok(())
    });
    let settings = json!({"max_connections_per_target": 1, "max_pending_per_target": 1});
    let gateway = Gateway::start(&config(&urls(&[&slow]), settings));
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| gateway.get("/"))).collect();
        let answers = asked.into_iter().map(|asked| asked.join().unwrap());
        answers
            .inspect(|answer| {
                if answer.status == 503 {
                    answer.assert_refused(503, "upstream_overloaded");
                    assert_eq!(answer.header("retry-after"), Some("1"));
                }
            })
            .map(|answer| answer.status)
            .collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(slow.connections(), 1);
    assert!(gateway.metric("knoxcall_upstream_overloads_total", &[]) >= 1.0);
}

#[test]
fn what_upstreams_are_at_is_told_to_the_operator() {
    let (one, two) = (named("one"), named("two"));
    let gateway = Gateway::start(&config(&urls(&[&one, &two]), json!({})));
    gateway.get("/").assert_served();
    let endpoints = shown(&gateway);
    assert_eq!(endpoints.len(), 2);
    for endpoint in endpoints {
        assert_eq!(endpoint["healthy"], true);
        assert_eq!(endpoint["in_flight"], 0, "{endpoint}");
    }
}
