//! One connection, several requests: each gets its own answer in its turn,
//! whatever the client sends ahead, and an answer promises what is kept.

use std::time::Duration;

use knoxcall_tests::{Config, Gateway, RawClient, Request, Upstream, pause};
use serde_json::json;

/// Answers a request for `/slow` after so long.
const SLOW: Duration = Duration::from_millis(300);

fn slow() -> Upstream {
    Upstream::scripted(|session| {
        while let Some(request) = session.request()? {
            if request.target == "/slow" {
                pause(SLOW);
            }
            session.answer(request.target)?;
        }
        Ok(())
    })
}

fn targets(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    requests.iter().map(|one| one.target.clone()).collect()
}

#[test]
fn requests_sent_ahead_are_served_in_their_turn() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    let all: Vec<u8> = (0..20)
        .flat_map(|number| Request::get(&format!("/{number}")).bytes())
        .collect();
    client.send(all);
    for number in 0..20 {
        let response = client.read();
        assert_eq!(response.text(), format!("/{number}"));
        assert!(response.keeps_alive());
    }
}

#[test]
fn what_is_sent_while_a_request_runs_waits() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for (first, ahead) in [
        (Request::get("/slow"), &b""[..]),
        (Request::post("/slow", b"hello".to_vec()), b"\r\n"),
    ] {
        let mut client = gateway.connect();
        client.send(first.bytes());
        pause(SLOW / 3);
        client.send(ahead);
        client.send(Request::get("/next").bytes());
        assert_eq!(client.read().text(), "/slow");
        assert_eq!(client.read().text(), "/next");
    }
    assert_eq!(targets(&upstream), ["/slow", "/next", "/slow", "/next"]);
}

#[test]
fn a_request_ahead_does_not_cut_an_answer_that_streams() {
    let upstream = Upstream::scripted(|session| {
        while let Some(request) = session.request()? {
            if request.target != "/large" {
                session.answer("small")?;
                continue;
            }
            session.send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n")?;
            for _ in 0..20 {
                session.send([b'x'; 100_000])?;
                pause(Duration::from_millis(5));
            }
        }
        Ok(())
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(Request::get("/large").bytes());
    pause(Duration::from_millis(20));
    client.send(Request::get("/").bytes());
    assert_eq!(client.read().body.len(), 2_000_000);
    assert_eq!(client.read().text(), "small");
}

#[test]
fn a_request_behind_a_chunked_body_is_served() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(
        Request::new("POST", "/chunked")
            .header("Transfer-Encoding", "chunked")
            .bytes(),
    );
    client.send("5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    client.send(Request::get("/next").bytes());
    assert_eq!(client.read().text(), "/chunked");
    assert_eq!(client.read().text(), "/next");
    assert_eq!(upstream.requests()[0].text(), "hello");
}

#[test]
fn a_chunk_that_could_be_read_in_two_ways_ends_the_connection() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for chunks in [
        "5;a\nbbb\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n",
        "5\r\nhello\r\n0\r\nno field\r\n\r\n",
    ] {
        for at_once in [true, false] {
            let mut client = gateway.connect();
            let head = Request::new("POST", "/")
                .header("Transfer-Encoding", "chunked")
                .bytes();
            client.send(head);
            if !at_once {
                pause(Duration::from_millis(50));
            }
            client.send(chunks);
            client.send(Request::get("/behind").bytes());
            client.read().assert_refused(400, "malformed_request");
            assert!(client.is_closed(), "{chunks:?}");
        }
    }
    assert!(!targets(&upstream).contains(&"/behind".to_owned()));
}

#[test]
fn a_chunked_body_arrives_whole_however_it_is_cut() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()).set("/workers", json!(1)));
    let chunks = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n";
    let mut client = gateway.connect();
    for cut in 1..chunks.len() {
        let head = Request::new("POST", "/").header("Transfer-Encoding", "chunked");
        client.send(head.bytes());
        client.send(&chunks[..cut]);
        pause(Duration::from_millis(10));
        client.send(&chunks[cut..]);
        assert_eq!(client.read().status, 200, "cut at {cut}");
        assert_eq!(
            upstream.last_request().text(),
            "hello world",
            "cut at {cut}"
        );
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_body_that_was_sent_ahead_is_read_in_its_order() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    // Within it, what would be a request if the body were lost.
    let mut body = Request::get("/smuggled").bytes().repeat(60);
    body.truncate(8_000);
    for request in [
        Request::post("/body", body.clone()),
        Request::new("POST", "/body").chunked(body.clone(), 700),
    ] {
        let mut client = gateway.connect();
        client.send(Request::get("/slow").bytes());
        pause(SLOW / 3);
        client.send(request.bytes());
        client.send(Request::get("/next").bytes());
        for target in ["/slow", "/body", "/next"] {
            assert_eq!(client.read().text(), target);
        }
        let bodies = upstream.requests();
        let sent = bodies.iter().rev().find(|one| one.target == "/body");
        assert_eq!(sent.unwrap().body, body);
    }
    assert!(!targets(&upstream).contains(&"/smuggled".to_owned()));
}

#[test]
fn a_body_that_comes_later_leaves_the_upstreams_connection_in_order() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()).set("/workers", json!(1)));
    let mut client = gateway.connect();
    for _ in 0..5 {
        let request = Request::post("/", b"hello".to_vec());
        client.send(request.head_bytes());
        pause(Duration::from_millis(20));
        client.send(request.body_bytes());
        assert_eq!(client.read().status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_timed_out_upstream_does_not_end_the_clients_connection() {
    let upstream = Upstream::scripted(|session| {
        while let Some(request) = session.request()? {
            if request.target == "/never" {
                return session.hang();
            }
            session.answer("ok")?;
        }
        Ok(())
    });
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config.edit_route("echo", json!({"read_timeout_ms": 400})));
    let mut client = gateway.connect();
    let late = Request::post("/never", b"hello".to_vec());
    client.send(Request::get("/never").bytes());
    client.read().assert_refused(504, "upstream_timeout");
    client.send(late.head_bytes());
    pause(Duration::from_millis(50));
    client.send(late.body_bytes());
    client.read().assert_refused(504, "upstream_timeout");
    client.send(Request::get("/").bytes());
    client.read().assert_served();
    assert!(gateway.metric("knoxcall_panics_total", &[]) < 0.5);
}

#[test]
fn a_client_that_hangs_up_does_not_have_its_request_sent_again() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    // Connections for the pool.
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(Request::get("/slow").bytes());
    }
    for client in &mut clients {
        client.read().assert_served();
    }
    let mut client = gateway.connect();
    client.send(Request::new("DELETE", "/slow").bytes());
    pause(SLOW / 3);
    drop(client);
    gateway.wait_for_records(5);
    pause(2 * SLOW);
    let deletes = upstream.requests();
    let deletes = deletes.iter().filter(|request| request.method == "DELETE");
    assert_eq!(deletes.count(), 1);
}

#[test]
fn an_answer_that_comes_before_the_body_is_taken_is_passed_on() {
    for closes in [true, false] {
        let upstream = Upstream::scripted(move |session| {
            session.head()?;
            session.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")?;
            if !closes {
                pause(Duration::from_secs(4));
            }
            Ok(())
        });
        let config = Config::new(upstream.address());
        let gateway = Gateway::start(&config.edit_route("echo", json!({"write_timeout_ms": 500})));
        let mut client = gateway.connect();
        client.send(Request::post("/", vec![b'x'; 20_000_000]).head_bytes());
        for _ in 0..200 {
            if !client.try_send([b'x'; 100_000]) {
                break;
            }
        }
        let response = client.read();
        assert_eq!((response.status, response.text().as_str()), (413, "big"));
    }
}

#[test]
fn an_answer_in_parts_reaches_the_client_in_parts() {
    let (tell, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::scripted(move |session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        // The rest when the client has had this.
        let _ = told.lock().unwrap().recv();
        session.send(" rest")
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let (_, first) = client.read_begun(5);
    assert_eq!(first, b"first");
    tell.send(()).unwrap();
    assert_eq!(client.read_exact(5), b" rest");
}

#[test]
fn whoever_keeps_a_client_from_sending_its_body_is_blamed() {
    let upstream = Upstream::scripted(|session| {
        session.head()?;
        session.hang()
    });
    let config = Config::new(upstream.address()).limit("body_timeout_ms", 5_000);
    let gateway = Gateway::start(&config.edit_route("echo", json!({"read_timeout_ms": 500})));
    let mut client = gateway.connect();
    let request = Request::post("/", b"abc".to_vec()).header("Expect", "100-continue");
    client.send(request.head_bytes());
    client.read().assert_refused(504, "upstream_timeout");
}

#[test]
fn leave_to_send_a_body_does_not_cost_the_connection() {
    let upstream = Upstream::scripted(|session| {
        while let Some(mut received) = session.head()? {
            session.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            received.body = session.body(&received)?;
            session.remember(received);
            session.answer("ok")?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for method in ["POST", "PUT"] {
        let request = Request::new(method, "/")
            .body(b"abc".to_vec())
            .header("Expect", "100-continue");
        client.send(request.head_bytes());
        assert_eq!(client.read_any(method).status, 100, "{method}");
        client.send(request.body_bytes());
        let response = client.read();
        response.assert_served();
        assert!(response.keeps_alive(), "{method}");
        assert_eq!(upstream.last_request().text(), "abc");
    }
}

#[test]
fn the_connection_outlives_an_upstream_that_does_not_answer() {
    let upstream = Upstream::scripted(|session| session.request().map(drop));
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(Request::post("/", b"hello".to_vec()).bytes());
        let response = client.read();
        response.assert_refused(502, "upstream_failed");
        assert!(response.keeps_alive());
    }
}

#[test]
fn a_refused_body_does_not_take_the_answer_with_it() {
    let upstream = slow();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    let request = Request::post("/", vec![b'x'; 300_000]).key("tk_live_wrong");
    client.send(request.bytes());
    let response = client.read();
    response.assert_refused(401, "unauthorized");
    assert!(!response.keeps_alive());
    assert!(client.is_closed());
}

/// HTTP/1.0 knows neither chunks nor interim answers (RFC 9110, section 15.2;
/// RFC 9112, section 6.1).
#[test]
fn a_client_of_http_10_gets_what_it_can_read() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let gateway = Gateway::start(
        &Config::new(upstream.address()).edit_route("echo", json!({"inject_body": {"a": 1}})),
    );
    let mut client = gateway.connect();
    client.send(
        Request::new("POST", "/")
            .version("HTTP/1.0")
            .header("Connection", "keep-alive")
            .header("Expect", "100-continue")
            .header("Content-Type", "application/json")
            .body(b"{}".to_vec())
            .bytes(),
    );
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let version = upstream.last_request().head.first_line;
    assert!(version.ends_with(" HTTP/1.1"), "our own: {version}");
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_not_passed_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    for request in [Request::get("/"), Request::post("/", b"a".to_vec())] {
        let mut client = RawClient::connect(gateway.address());
        client.send(request.bytes());
        client.read().assert_refused(502, "upstream_failed");
    }
}

#[test]
fn what_an_upstream_says_of_its_own_connection_stays_there() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.get("/");
    response.assert_served();
    assert_eq!(response.header("x-hop"), None);
    assert_eq!(response.header("keep-alive"), None);
    assert!(response.keeps_alive());
}
