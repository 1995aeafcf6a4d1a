//! A changed configuration: whole or not at all, and without a lost request.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knoxcall_tests::{
    Config, Gateway, Over, RawClient, Request, Upstream, eventually, full, pause,
};
use serde_json::json;

#[test]
fn a_changed_file_is_in_use_soon() {
    let [first, second] = [Upstream::start(), Upstream::start()];
    let config = Config::new(first.address());
    let gateway = Gateway::start(&config);
    gateway.get("/").assert_served();
    gateway.rewrite(&config.edit_route("echo", json!({"target_base_url": second.url()})));
    eventually("the new target", || {
        gateway.get("/").assert_served();
        (!second.requests().is_empty()).then_some(())
    });
}

#[test]
fn sighup_reloads_too() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let before = gateway.reloads("applied");
    gateway.signal("HUP");
    eventually("a reload", || {
        (gateway.reloads("applied") > before).then_some(())
    });
    gateway.get("/").assert_served();
}

#[test]
fn a_file_written_in_place_is_noticed_as_well() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let before = gateway.reloads("applied");
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), format!("{text}\n# a comment\n")).unwrap();
    eventually("a reload", || {
        (gateway.reloads("applied") > before).then_some(())
    });
}

#[test]
fn a_bad_file_is_refused_whole_and_the_old_one_stays() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let bad = config
        .clone()
        .edit_route(
            "echo",
            json!({"inject_headers": {"x-a": "{{secret:missing_one}}"}}),
        )
        .route(json!({"slug": "new", "target_base_url": "ftp://nowhere"}));
    gateway.rewrite(&bad);
    eventually("the refusal", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 0.0);
    gateway.get("/").assert_served();
    gateway
        .send(&Request::get("/").route("new"))
        .assert_refused(404, "route_not_found");
    let log = gateway.process().stderr() + &gateway.process().stdout();
    assert!(
        log.contains("missing_one") && log.contains("target_base_url"),
        "every mistake: {log}"
    );

    gateway.rewrite_text("routes: [");
    eventually("the second refusal", || {
        (gateway.reloads("refused") >= 2.0).then_some(())
    });
    gateway.get("/").assert_served();

    gateway.rewrite_and_wait(&config);
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 1.0);
}

#[test]
fn a_reload_that_would_move_listeners_is_refused() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    let old = gateway.address().to_string();
    gateway.rewrite_text(&text.replace(&old, "127.0.0.1:1"));
    eventually("the refusal", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    gateway.get("/").assert_served();
    let log = gateway.process().stderr() + &gateway.process().stdout();
    assert!(log.contains("listener"), "{log}");
    assert!(log.contains("serve --upgrade"), "the way is named: {log}");
}

#[test]
fn a_reload_that_would_change_what_a_listener_speaks_is_refused() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let other = [
        json!({"proxy_protocol": {"from": ["127.0.0.1"]}}),
        json!({"http2": false}),
    ];
    for (number, listener) in (1_i32..).zip(other) {
        // With a change that alone would be taken over.
        let changed = config
            .clone()
            .listener(listener.clone())
            .edit_route("echo", json!({"inject_headers": {"x-version": "2"}}));
        gateway.rewrite(&changed);
        eventually("the refusal", || {
            (gateway.reloads("refused") >= f64::from(number)).then_some(())
        });
        gateway.get("/").assert_served();
        let seen = upstream.last_request();
        assert_eq!(seen.header("x-version"), None, "{listener}: all or nothing");
    }
}

/// In KiB, as the kernel counts it.
fn resident(gateway: &mut Gateway) -> i64 {
    let id = gateway.process().id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    words.unwrap().parse().unwrap()
}

const CALLERS: usize = 4;
const STEPS: usize = 10;

/// The first reloads fill what later ones use again. From then on the allocator
/// asks for a piece of some MiB now and then; a leak grows in every step.
#[test]
fn memory_stays_flat_over_many_reloads_under_load() {
    const GROWTH: i64 = 8 * 1024;
    const GROWTH_OF_A_STEP: i64 = 64;
    let (warm, step) = if full() { (200, 80) } else { (20, 2) };
    let upstream = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            session.answer("served")?;
        }
        Ok(())
    });
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let address = gateway.address();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers = [(); CALLERS].map(|()| scope.spawn(|| call(address, &done)));
        let over = Over(&done);
        let reload = |gateway: &Gateway, count: u32| {
            for number in 0..count {
                let text = number.to_string();
                let before = gateway.reloads("applied");
                gateway.rewrite(&config.clone().variable("n", json!({"production": text})));
                gateway.signal("HUP");
                eventually("the reload", || {
                    (gateway.reloads("applied") > before).then_some(())
                });
            }
        };
        reload(&gateway, warm);
        let mut sizes = vec![resident(&mut gateway)];
        for _ in 0..STEPS {
            reload(&gateway, step);
            sizes.push(resident(&mut gateway));
        }
        drop(over);
        for caller in callers {
            assert!(caller.join().unwrap() > 0);
        }
        let mut growths: Vec<i64> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        growths.sort_unstable();
        assert!(growths[STEPS / 2] < GROWTH_OF_A_STEP, "KiB: {sizes:?}");
        assert!(sizes[STEPS] < sizes[0] + GROWTH, "KiB: {sizes:?}");
        assert_eq!(gateway.reloads("refused"), 0.0);
    });
}

/// One request after the other; tells how many were served.
fn call(address: SocketAddr, done: &AtomicBool) -> usize {
    let mut client = RawClient::connect(address);
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        client.send(Request::post("/", "body").bytes());
        client.read().assert_served();
        count += 1;
        pause(Duration::from_millis(1));
    }
    count
}

#[test]
fn a_missing_file_leaves_the_old_configuration() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    std::fs::remove_file(gateway.config_file()).unwrap();
    gateway.signal("HUP");
    eventually("the refusal", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    gateway.get("/").assert_served();
}

#[test]
fn a_changed_secret_file_is_a_reload() {
    let upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    // As Kubernetes mounts it: a link to a folder that is replaced.
    let place = |version: &str, value: &str| {
        let folder = directory.path().join(version);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("token");
        std::fs::write(&file, value).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = directory.path().join("new");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        std::fs::rename(&link, directory.path().join("current")).unwrap();
    };
    place("v1", "s3cr3t-file-one\n");
    let file = directory.path().join("current/token");
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route(
                "echo",
                json!({"inject_headers": {"x-token": "{{secret:filed}}"}, "environments": {}}),
            )
            .set(
                "/secrets/2",
                json!({"name": "filed", "environments": {"production": {"from_file": file}}}),
            ),
    );
    gateway.get("/").assert_served();
    assert_eq!(
        upstream.last_request().header("x-token"),
        Some("s3cr3t-file-one")
    );

    place("v2", "s3cr3t-file-two");
    eventually("the new value", || {
        gateway.get("/").assert_served();
        (upstream.last_request().header("x-token") == Some("s3cr3t-file-two")).then_some(())
    });
}

#[test]
fn no_request_is_lost_over_many_reloads() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let done = AtomicBool::new(false);
    let served: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        client.send(Request::post("/", "body").bytes());
                        client.read().assert_served();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for number in 0..5 {
            gateway.rewrite_and_wait(
                &config
                    .clone()
                    .variable("n", json!({"production": number.to_string()})),
            );
        }
        done.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert!(served > 0);
    assert_eq!(upstream.requests().len(), served);
}

#[test]
fn connections_to_upstreams_outlive_a_reload() {
    let upstream = Upstream::start();
    // Each worker has a pool of its own.
    let config = Config::new(upstream.address()).set("/workers", json!(1));
    let gateway = Gateway::start(&config);
    gateway.get("/before").assert_served();
    let before = gateway.reloads("applied");
    gateway.signal("HUP");
    eventually("the reload", || {
        (gateway.reloads("applied") > before).then_some(())
    });
    gateway.get("/after-sighup").assert_served();
    gateway.rewrite_and_wait(
        &config.edit_route("echo", json!({"inject_headers": {"x-version": "2"}})),
    );
    gateway.get("/after-change").assert_served();
    assert_eq!(upstream.last_request().header("x-version"), Some("2"));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_request_keeps_the_configuration_it_began_with() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_headers": {"x-version": "1"}, "inject_body": {"v": 1}, "environments": {}}),
    );
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let request = Request::new("POST", "/").json(&json!({"a": 1}));
    client.send(request.head_bytes());
    eventually("the request to have begun", || {
        (gateway.metric("knoxcall_requests_active", &[]) >= 1.0).then_some(())
    });
    gateway.rewrite_and_wait(&config.edit_route(
        "echo",
        json!({"inject_headers": {"x-version": "2"}, "inject_body": {"v": 2}}),
    ));
    client.send(request.body_bytes());
    client.read().assert_served();
    let seen = upstream.only_request();
    assert_eq!(
        (seen.header("x-version"), &seen.json()["v"]),
        (Some("1"), &json!(1))
    );
}

#[test]
fn a_signal_right_after_the_start_is_a_reload() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::spawn(&Config::new(upstream.address()));
    eventually("the announcement", || {
        gateway
            .process()
            .stderr()
            .contains("\"serving\"")
            .then_some(())
    });
    gateway.signal("HUP");
    eventually("the reload", || {
        assert!(gateway.process().exited().is_none(), "SIGHUP ended it");
        gateway
            .process()
            .stderr()
            .contains("configuration reloaded")
            .then_some(())
    });
}

#[test]
fn a_file_that_was_missing_is_noticed_when_it_appears() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let file = gateway.directory().join("late-token");
    gateway.rewrite(
        &config
            .edit_route(
                "echo",
                json!({"inject_headers": {"x-token": "{{secret:late}}"}, "environments": {}}),
            )
            .set(
                "/secrets/2",
                json!({"name": "late", "environments": {"production": {"from_file": file}}}),
            ),
    );
    eventually("the refusal", || {
        (gateway.reloads("refused") >= 1.0).then_some(())
    });
    // It is tried again each second, and told once.
    pause(Duration::from_millis(2500));
    assert_eq!(gateway.reloads("refused"), 1.0);
    let log = gateway.process().stderr();
    assert_eq!(log.matches("configuration refused").count(), 1, "{log}");
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 0.0);

    std::fs::write(&file, "s3cr3t-late").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    eventually("the reload", || {
        (gateway.reloads("applied") >= 1.0).then_some(())
    });
    assert_eq!(gateway.metric("knoxcall_config_valid", &[]), 1.0);
    gateway.get("/").assert_served();
    assert_eq!(
        upstream.last_request().header("x-token"),
        Some("s3cr3t-late")
    );
}
