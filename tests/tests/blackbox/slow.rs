//! Clients that are slow or silent: each has a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use knoxcall_tests::{Config, Gateway, Over, RawClient, Request, Upstream, eventually, pause};
use serde_json::json;

const SHORT: u64 = 600;

#[test]
fn a_head_that_drips_is_ended_by_one_deadline() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("head_timeout_ms", SHORT));
    let mut client = gateway.connect();
    // Each byte comes well within the deadline; all of them do not.
    for byte in Request::get("/").bytes() {
        if !client.try_send([byte]) {
            break;
        }
        pause(Duration::from_millis(SHORT / 10));
        if gateway.records().len() == 1 {
            break;
        }
    }
    let response = client.read();
    response.assert_refused(408, "request_timeout");
    assert!(client.is_closed());
    assert_eq!(
        gateway.record_of(&response).text("error"),
        Some("request_timeout")
    );
    upstream.assert_untouched();
}

#[test]
fn a_second_head_that_drips_is_ended_too() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .limit("head_timeout_ms", SHORT)
            .limit("keepalive_timeout_ms", 60_000),
    );
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    client.read().assert_served();
    client.send("GET / HT");
    client.read().assert_refused(408, "request_timeout");
    assert!(client.is_closed());
}

#[test]
fn a_connection_without_a_byte_is_closed() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .limit("head_timeout_ms", SHORT)
            .limit("keepalive_timeout_ms", SHORT),
    );
    let mut silent = gateway.connect();
    // Perhaps with a 408, perhaps without a word.
    let _ = silent.read_to_end();
    eventually("the connection to be counted out", || {
        (gateway.metric("knoxcall_connections_open", &[]) < 1.5).then_some(())
    });
}

#[test]
fn an_idle_kept_connection_is_closed() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&Config::new(upstream.address()).limit("keepalive_timeout_ms", SHORT));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    client.read().assert_served();
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_body_that_stops_is_ended() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).limit("body_timeout_ms", SHORT);
    let inspected = config
        .clone()
        .edit_route("echo", json!({"inject_body": {"a": 1}, "environments": {}}));
    for (config, status) in [(inspected, Some(408)), (config, None)] {
        let gateway = Gateway::start(&config);
        let mut client = gateway.connect();
        let request =
            Request::post("/", vec![b' '; 100]).header("Content-Type", "application/json");
        client.send(request.head_bytes());
        client.send(b"{");
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        match status {
            Some(status) => assert!(answer.contains(&format!(" {status} ")), "{answer}"),
            None => assert!(!answer.contains(" 200 "), "{answer}"),
        }
        assert_eq!(gateway.wait_for_records(1).len(), 1);
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn short_requests_are_answered_at_once() {
    // Pingora's look at the first bytes for HTTP/2 waits for 24 of them.
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "G / HTTP/1.1\r\n\r\n",
        "X\r\n\r\n",
    ] {
        let mut client = RawClient::connect(gateway.address());
        client.send(request);
        assert!((400..500).contains(&client.read().status), "{request:?}");
    }
}

#[test]
fn a_request_in_many_small_pieces_is_served() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for piece in Request::post("/", vec![b'x'; 300]).bytes().chunks(7) {
        client.send(piece);
        pause(Duration::from_millis(2));
    }
    client.read().assert_served();
    assert_eq!(upstream.only_request().body, vec![b'x'; 300]);
}

#[test]
fn a_client_that_leaves_is_recorded_as_the_one_who_ended_it() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")?;
        session.hang()
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    upstream.wait_for_requests(1);
    pause(Duration::from_millis(50));
    drop(client);
    let records = gateway.wait_for_records(1);
    assert_eq!(
        records[0].text("ended_by"),
        Some("client"),
        "{:?}",
        records[0].0
    );
}

#[test]
fn empty_lines_do_not_hold_a_connection_open() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("head_timeout_ms", SHORT));
    let mut client = gateway.connect();
    let mut sent = 0;
    while client.try_send("\r\n") && sent < 100 {
        pause(Duration::from_millis(SHORT / 10));
        sent += 1;
    }
    assert!(sent < 100, "still open");
    upstream.assert_untouched();
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")?;
        // More than the sockets on the way hold.
        session.send(vec![b'x'; 50_000_000])
    });
    let gateway = Gateway::start(&Config::new(upstream.address()).limit("body_timeout_ms", SHORT));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let records = gateway.wait_for_records(1);
    assert_eq!(records[0].text("ended_by"), Some("client"));
}

#[test]
fn an_upstreams_head_that_drips_is_ended_by_one_deadline() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
            session.send([*byte])?;
            pause(Duration::from_millis(SHORT / 10));
        }
        Ok(())
    });
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config.edit_route("echo", json!({"read_timeout_ms": SHORT})));
    gateway.get("/").assert_refused(504, "upstream_timeout");
}

/// Each byte of the body by itself.
fn send_slowly(client: &mut RawClient, request: &Request) {
    client.send(request.head_bytes());
    for byte in request.body_bytes() {
        client.send([byte]);
        pause(Duration::from_millis(SHORT / 10));
    }
}

#[test]
fn a_slow_upload_is_not_blamed_on_the_upstream() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config.edit_route("echo", json!({"read_timeout_ms": SHORT})));
    let mut client = gateway.connect();
    let request = Request::post("/", vec![b'x'; 20]);
    send_slowly(&mut client, &request);
    client.read().assert_served();
}

/// Sends the first four bytes of a WebSocket back.
fn switching() -> Upstream {
    Upstream::scripted(|session| {
        session.request()?;
        session.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let bytes = session.read(4)?;
        session.send(bytes)
    })
}

fn websocket_that_is_silent_for(silence: Duration, config: &Config) {
    let gateway = Gateway::start(config);
    let mut client = gateway.connect();
    client.send(Request::websocket("/").bytes());
    assert_eq!(client.read_any("GET").status, 101);
    pause(silence);
    client.send("ping");
    assert_eq!(client.read_to_end(), b"ping");
}

#[test]
fn a_websocket_may_be_silent() {
    let upstream = switching();
    let times = json!({"read_timeout_ms": SHORT / 4, "total_timeout_ms": SHORT / 4});
    let config = Config::new(upstream.address())
        .limit("body_timeout_ms", SHORT / 4)
        .edit_route("echo", times);
    websocket_that_is_silent_for(Duration::from_millis(SHORT), &config);
}

/// Which counts from the fifth second of a body on.
#[test]
fn a_websocket_has_no_least_rate() {
    if !knoxcall_tests::full() {
        return;
    }
    let upstream = switching();
    let config = Config::new(upstream.address()).limit("min_body_rate", 1_000_000);
    websocket_that_is_silent_for(Duration::from_secs(7), &config);
}

/// Heads, bodies and prefaces that drip, and clients that say nothing at first.
#[test]
fn a_thousand_slow_clients_do_not_keep_others_from_being_served() {
    // No figure of speed: far above what one request takes, far below a stall.
    const LONGEST: Duration = Duration::from_secs(2);
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).limit("max_connections_per_address", 5_000);
    let gateway = Gateway::start(&config);
    let body = Request::post("/", vec![b'x'; 1_000]).head_bytes();
    let begins: [&[u8]; 4] = [b"GET / HT", &body, b"PRI * HTTP/2.0\r\n\r\nSM", b""];
    let mut slow: Vec<_> = (0..1_000)
        .map(|number| {
            let mut client = gateway.connect();
            client.send(begins[number % begins.len()]);
            client
        })
        .collect();
    let done = AtomicBool::new(false);
    let dripped = std::thread::scope(|scope| {
        let dripping = scope.spawn(|| drip(&mut slow, &done));
        let over = Over(&done);
        for _ in 0..100 {
            let begun = Instant::now();
            gateway.get("/").assert_served();
            let took = begun.elapsed();
            assert!(took < LONGEST, "{took:?}");
            pause(Duration::from_millis(30));
        }
        drop(over);
        dripping.join().unwrap()
    });
    assert!(dripped >= 1_000, "only {dripped} bytes");
    assert!(gateway.metric("knoxcall_connections_open", &[]) >= 500.0);
}

/// A byte to one after the other, round and round. How many were sent.
fn drip(clients: &mut [RawClient], done: &AtomicBool) -> usize {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let next = count % clients.len();
        clients[next].try_send("x");
        count += 1;
        pause(Duration::from_millis(1));
    }
    count
}

/// The first seconds of a body may be as slow as they like.
#[test]
fn a_body_below_the_least_rate_is_cut_although_it_never_pauses_for_long() {
    if !knoxcall_tests::full() {
        return;
    }
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).limit("min_body_rate", 1_000);
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let request = Request::post("/", vec![b'x'; 10_000]);
    client.send(request.head_bytes());
    for byte in request.body_bytes() {
        if !client.try_send([byte]) {
            break;
        }
        pause(Duration::from_millis(20));
        if gateway.metric("knoxcall_refusals_total", &[("type", "body_timeout")]) > 0.0 {
            break;
        }
    }
    client.read().assert_refused(408, "body_timeout");
}

#[test]
fn nor_while_the_whole_exchange_has_a_time() {
    let upstream = Upstream::scripted(|session| {
        let head = session.head()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")?;
        let Some(received) = head else { return Ok(()) };
        session.body(&received)?;
        session.send("ok")
    });
    let times = json!({"read_timeout_ms": SHORT, "total_timeout_ms": 60_000});
    let config = Config::new(upstream.address()).edit_route("echo", times);
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let request = Request::post("/", vec![b'x'; 20]);
    send_slowly(&mut client, &request);
    client.read().assert_served();
}
