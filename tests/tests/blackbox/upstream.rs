//! Upstreams that misbehave: the client is told the truth, in time.

use knoxcall_tests::{Config, Gateway, Nginx, Request, Upstream, free_port, pause};
use serde_json::json;
use std::time::Duration;

#[test]
fn an_upstream_that_closes_in_the_middle_of_its_body_is_not_a_whole_answer() {
    for (head, sent) in [
        ("Content-Length: 1000", "partial"),
        ("Transfer-Encoding: chunked", "7\r\npartial\r\n3e8\r\nmore"),
    ] {
        let upstream = Upstream::scripted(move |session| {
            session.request()?;
            session.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{sent}"))
        });
        let gateway = Gateway::start(&Config::new(upstream.address()));
        let mut client = gateway.connect();
        client.send(Request::get("/").bytes());
        let (answer, rest) = client.read_broken();
        assert!(answer.first_line.contains("200"), "{head}");
        let rest = String::from_utf8(rest).unwrap();
        assert!(
            !rest.ends_with("0\r\n\r\n"),
            "{head}: it looks complete: {rest:?}"
        );
        assert!(
            !rest.contains("error"),
            "{head}: words of ours in the upstream's answer: {rest:?}"
        );
        let record = &gateway.wait_for_records(1)[0];
        assert_eq!(record.number("status_code"), Some(200.0), "{head}");
        assert!(
            record.text("error").is_some(),
            "{head}: no error in {:?}",
            record.0
        );
    }
}

#[test]
fn an_answer_before_the_requests_end_is_passed_on() {
    let upstream = Upstream::scripted(|session| {
        let Some(request) = session.head()? else {
            return Ok(());
        };
        session.remember(request);
        session
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")?;
        session.read_to_end().map(drop)
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    let request = Request::post("/", vec![b'x'; 2_000_000]);
    client.send(request.head_bytes());
    client.try_send(vec![b'x'; 1000]);
    let response = client.read();
    assert_eq!((response.status, response.text().as_str()), (403, "no!"));
    assert_eq!(response.header("x-knox-upstream-status"), Some("403"));
    // Whatever the gateway did with the rest, the next caller is served.
    assert_eq!(gateway.get("/").status, 403);
}

#[test]
fn an_upstream_that_never_answers_is_a_504() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.hang()
    });
    let gateway = Gateway::start(
        &Config::new(upstream.address()).edit_route("echo", json!({"read_timeout_ms": 300})),
    );
    for request in [Request::get("/"), Request::post("/", "x")] {
        let response = gateway.send(&request);
        response.assert_refused(504, "upstream_timeout");
        let record = gateway.record_of(&response);
        assert_eq!(record.text("error"), Some("upstream_timeout"));
        assert!(record.number("upstream_status").is_none());
    }
    assert_eq!(
        upstream.requests().len(),
        2,
        "nothing that may have been heard is said twice"
    );
}

#[test]
fn an_upstream_that_stops_in_the_middle_is_cut_off() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
        session.hang()
    });
    let gateway = Gateway::start(
        &Config::new(upstream.address()).edit_route("echo", json!({"read_timeout_ms": 300})),
    );
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    let (head, rest) = client.read_broken();
    assert!(head.first_line.contains("200"));
    assert_eq!(rest, b"abc");
}

#[test]
fn an_upstream_that_is_slow_but_moving_is_waited_for() {
    let upstream = Upstream::scripted(|session| {
        session.request()?;
        session.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")?;
        for byte in b"slow!" {
            pause(Duration::from_millis(100));
            session.send([*byte])?;
        }
        Ok(())
    });
    let gateway = Gateway::start(
        &Config::new(upstream.address()).edit_route("echo", json!({"read_timeout_ms": 400})),
    );
    assert_eq!(gateway.get("/").text(), "slow!");
}

#[test]
fn garbage_is_a_502() {
    for garbage in [
        "no HTTP at all\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: 1\r\n\r\n",
    ] {
        let upstream = Upstream::scripted(move |session| {
            session.request()?;
            session.send(garbage)
        });
        let gateway = Gateway::start(&Config::new(upstream.address()));
        let response = gateway.send(&Request::post("/", "x"));
        assert_eq!(response.status, 502, "{garbage:?}: {}", response.text());
        assert_eq!(response.error(), "upstream_failed", "{garbage:?}");
        assert_eq!(
            response.header("x-knox-upstream-status"),
            None,
            "{garbage:?}"
        );
    }
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_a_502() {
    let upstream = Upstream::scripted(|session| session.request().map(drop));
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(&Request::post("/", "x"))
        .assert_refused(502, "upstream_failed");
}

#[test]
fn an_upstream_that_is_not_there_is_a_502() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"target_base_url": format!("http://127.0.0.1:{}", free_port())}),
    ));
    let response = gateway.get("/");
    response.assert_refused(502, "upstream_unreachable");
    assert!(
        !response.text().contains("127.0.0.1"),
        "{}",
        response.text()
    );
}

#[test]
fn a_name_that_does_not_resolve_is_a_502() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/upstream/dns_timeout_ms", json!(1000))
            .edit_route(
                "echo",
                json!({"target_base_url": "http://does-not-exist.invalid"}),
            ),
    );
    gateway.get("/").assert_refused(502, "upstream_unresolved");
}

#[test]
fn names_are_resolved() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"target_base_url": format!("http://localhost:{}", upstream.address().port())}),
    ));
    gateway.get("/").assert_served();
    let host = format!("localhost:{}", upstream.address().port());
    assert_eq!(upstream.only_request().header("host"), Some(host.as_str()));
}

#[test]
fn metadata_services_are_no_targets() {
    for target in [
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://[::ffff:169.254.169.254]",
    ] {
        let upstream = Upstream::start();
        let mut gateway = Gateway::spawn(&targeting(&upstream, target));
        assert_eq!(gateway.process().wait().code(), Some(2), "{target}");
        assert!(gateway.process().stderr().contains("allow_reserved_target"));
    }
}

#[test]
fn our_own_listeners_are_no_targets() {
    let upstream = Upstream::start();
    for host in ["127.0.0.1", "localhost", "LocalHost"] {
        let port = free_port();
        let mut gateway = Gateway::spawn_on(
            &targeting(&upstream, &format!("http://{host}:{port}")),
            port,
        );
        assert_eq!(gateway.process().wait().code(), Some(2), "{host}");
        assert!(gateway.process().stderr().contains("listener"), "{host}");
    }
}

fn targeting(upstream: &Upstream, target: &str) -> Config {
    Config::new(upstream.address()).edit_route(
        "echo",
        json!({"target_base_url": target, "connect_timeout_ms": 300}),
    )
}

#[test]
fn a_real_server_is_served_over_kept_connections() {
    let nginx = Nginx::plain();
    let gateway = Gateway::start(&Config::new(nginx.address()).set("/workers", json!(1)));
    let mut client = gateway.connect();
    let answers: Vec<_> = (0..5)
        .map(|number| {
            client.send(Request::get(&format!("/{number}?q")).bytes());
            let response = client.read();
            response.assert_served();
            assert!(
                response.text().contains(&format!("GET /{number}?q")),
                "{}",
                response.text()
            );
            response
                .text()
                .rsplit_once("connection=")
                .unwrap()
                .1
                .to_owned()
        })
        .collect();
    assert!(
        answers.iter().all(|connection| connection == &answers[0]),
        "{answers:?}"
    );
}

#[test]
fn interim_answers_are_passed_or_dropped_but_never_final() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.get("/");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

#[test]
fn answers_without_body_stay_so() {
    for (status, head) in [
        (204, "204 No Content\r\n"),
        (304, "304 Not Modified\r\nContent-Length: 100\r\n"),
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {head}\r\n"));
        let gateway = Gateway::start(&Config::new(upstream.address()));
        let mut client = gateway.connect();
        for _ in 0..2 {
            client.send(Request::get("/").bytes());
            let response = client.read();
            assert_eq!((response.status, response.body.len()), (status, 0));
        }
    }
}
