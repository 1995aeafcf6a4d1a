//! SIGTERM: health first, then the listeners, then what is running.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use knoxcall_tests::{
    Config, Gateway, Http2Client, RawClient, Request, Upstream, eventually, full, pause,
};
use serde_json::json;

#[test]
fn health_turns_503_before_the_listeners_close() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("drain_delay_ms", 1500));
    let mut kept = gateway.connect();
    gateway.signal("TERM");
    let health = Request::bare("GET", "/healthz").host("probe.invalid");
    eventually("health to turn", || {
        kept.send(health.bytes());
        let response = kept.read();
        if !response.keeps_alive() {
            kept = gateway.connect();
        }
        (response.status == 503).then_some(())
    });
    // The listeners are still open, and requests still served.
    gateway.get("/").assert_served();
    assert_eq!(gateway.ask_admin("GET", "/healthz").status, 503);
    assert_eq!(gateway.ask_admin("GET", "/livez").status, 200);
}

#[test]
fn a_request_in_flight_is_finished() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            let _ = released
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(10));
            session.answer("late but whole")?;
        }
        Ok(())
    });
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    upstream.wait_for_requests(1);

    gateway.signal("TERM");
    eventually("the listener to close", || {
        std::net::TcpStream::connect(gateway.address())
            .is_err()
            .then_some(())
    });
    assert!(
        gateway.process().exited().is_none(),
        "it left a request behind"
    );
    release.send(()).unwrap();

    let response = client.read();
    assert_eq!(response.text(), "late but whole");
    assert!(
        !response.keeps_alive(),
        "an answer while stopping promises more"
    );
    let status = gateway.process().wait();
    assert!(status.success(), "{status}");
    let records = gateway.records();
    assert_eq!(records.len(), 1, "the record is flushed before the end");
    assert_eq!(records[0].number("status_code"), Some(200.0));
}

#[test]
fn an_idle_gateway_ends_at_once_and_well() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    for _ in 0..20 {
        gateway.get("/").assert_served();
    }
    assert!(gateway.stop().success());
    assert_eq!(gateway.records().len(), 20, "every record is on the disk");
}

#[test]
fn sigint_ends_it_too() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.signal("INT");
    let status = gateway.process().wait();
    assert!(status.success(), "{status}");
}

#[test]
fn a_request_that_outlasts_the_grace_does_not_hold_the_process() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.hang()
    });
    let mut gateway =
        Gateway::start(&Config::new(upstream.address()).limit("shutdown_grace_ms", 500));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    upstream.wait_for_requests(1);
    gateway.signal("TERM");
    let _ = gateway.process().wait();
    let _ = client.read_to_end();
}

#[test]
fn a_kept_connection_is_served_once_more_while_stopping() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("drain_delay_ms", 1000));
    let mut client: RawClient = gateway.connect();
    client.send(Request::get("/").bytes());
    client.read().assert_served();
    gateway.signal("TERM");
    pause(Duration::from_millis(200));
    client.send(Request::get("/").bytes());
    let response = client.read();
    response.assert_served();
    assert!(!response.keeps_alive());
    assert!(client.is_closed());
}

#[test]
fn sigquit_without_a_successor_stops_nothing() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.signal("QUIT");
    eventually("the refusal", || {
        let log = gateway.process().stderr();
        log.contains("SIGQUIT refused").then_some(())
    });
    pause(Duration::from_millis(300));
    assert!(gateway.process().exited().is_none());
    gateway.get("/").assert_served();
}

/// Connections that the kernel has accepted, and the gateway not yet.
#[test]
fn who_waits_to_be_accepted_is_served() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.signal("STOP");
    let clients: Vec<RawClient> = (0..50)
        .map(|_| {
            let mut client = gateway.connect();
            client.send(Request::get("/").bytes());
            client
        })
        .collect();
    gateway.signal("TERM");
    gateway.signal("CONT");
    for mut client in clients {
        client.read().assert_served();
    }
    assert!(gateway.process().wait().success());
}

/// The first of them has gone again.
#[test]
fn one_who_has_left_does_not_turn_away_those_behind() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.signal("STOP");
    leave_with_a_reset(gateway.address());
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    gateway.signal("TERM");
    gateway.signal("CONT");
    client.read().assert_served();
    assert!(gateway.process().wait().success());
}

fn leave_with_a_reset(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_zero_linger().unwrap();
    });
}

#[test]
fn a_connection_of_http2_that_waited_is_told_to_go() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            let held = released.lock().unwrap();
            let _ = held.recv_timeout(Duration::from_secs(10));
            session.answer("late but whole")?;
        }
        Ok(())
    });
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.signal("STOP");
    let client = Http2Client::connect(gateway.address());
    let stream = client.open(&Request::get("/"), true);
    gateway.signal("TERM");
    gateway.signal("CONT");
    upstream.wait_for_requests(1);
    eventually("the word that it may open no more streams", || {
        client.is_closed_now().then_some(())
    });
    release.send(()).unwrap();
    assert_eq!(stream.read().unwrap().text(), "late but whole");
    assert!(gateway.process().wait().success());
}

/// In a handshake with its upstream, where nobody looks at the client.
#[test]
fn a_stream_of_http2_that_is_cut_is_recorded() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("https://{}", silent.local_addr().unwrap());
    let upstream = Upstream::start();
    let config = Config::new(upstream.address())
        .edit_route(
            "echo",
            json!({"target_base_url": target, "connect_timeout_ms": 60_000}),
        )
        .limit("shutdown_grace_ms", 500);
    let mut gateway = Gateway::start(&config);
    let client = Http2Client::connect(gateway.address());
    let _stream = client.open(&Request::get("/"), true);
    let _handshake = silent.accept().unwrap();
    gateway.signal("TERM");
    let _ = gateway.process().wait();
    assert_eq!(gateway.records().len(), 1);
}

/// Asks until an answer says that the connection ends; every answer must be
/// the upstream's.
fn ask_to_the_end(mut client: RawClient, request: &Request) -> usize {
    let mut served = 0;
    loop {
        client.send(request.bytes());
        let response = client.read();
        response.assert_served();
        served += 1;
        if !response.keeps_alive() {
            return served;
        }
    }
}

fn ask_to_the_end_over_http2(client: &Http2Client, request: &Request) -> usize {
    let answers = std::iter::from_fn(|| client.try_send(request));
    answers
        .inspect(|response| assert_eq!(response.status, 200, "{}", response.text()))
        .count()
}

#[test]
fn no_request_fails_in_a_stop_under_load() {
    let fast = Upstream::start();
    let slow = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            pause(Duration::from_millis(400));
            session.answer("in its time")?;
        }
        Ok(())
    });
    let config = Config::new(fast.address()).route(json!({
        "name": "Slow",
        "slug": "slow",
        "target_base_url": slow.url(),
    }));
    let requests = [Request::get("/"), Request::get("/").route("slow")];
    for _ in 0..if full() { 20 } else { 2 } {
        let mut gateway = Gateway::start(&config);
        let address = gateway.address();
        std::thread::scope(|scope| {
            let mut clients = Vec::new();
            for request in requests.iter().cycle().take(8) {
                clients.push(
                    scope.spawn(move || ask_to_the_end(RawClient::connect(address), request)),
                );
            }
            for request in &requests {
                clients.push(scope.spawn(move || {
                    ask_to_the_end_over_http2(&Http2Client::connect(address), request)
                }));
            }
            pause(Duration::from_millis(300));
            gateway.signal("TERM");
            for client in clients {
                assert!(client.join().unwrap() > 0);
            }
        });
        assert!(gateway.process().wait().success());
    }
}

#[test]
fn what_the_grace_cuts_off_is_recorded() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.hang()
    });
    let mut gateway =
        Gateway::start(&Config::new(upstream.address()).limit("shutdown_grace_ms", 300));
    let mut waiting = gateway.connect();
    waiting.send(Request::get("/waiting").bytes());
    upstream.wait_for_requests(1);
    let mut sending = gateway.connect();
    sending.send(Request::post("/sending", "a body").head_bytes());
    eventually("both to be under way", || {
        (gateway.metric("knoxcall_requests_active", &[]) == 2.0).then_some(())
    });

    gateway.signal("TERM");
    let status = gateway.process().wait();
    assert!(status.success(), "{status}");
    let records = gateway.records();
    let mut paths: Vec<_> = records
        .iter()
        .filter_map(|record| record.text("path"))
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/sending", "/waiting"]);
}
