//! Which headers pass, which are ours, and which end here.

use knoxcall_tests::{Config, Gateway, Request, Upstream, keys};
use serde_json::json;

#[test]
fn end_to_end_headers_pass_unchanged_both_ways() {
    let upstream = Upstream::answering(
        "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Custom: \tv \r\nETag: \"x\"\r\n\r\nok",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.send(
        &Request::get("/")
            .header("Accept", "*/*")
            .header("Cookie", "session=1; theme=dark")
            .header("X-Custom", "one")
            .header("X-Custom", "two")
            .header("User-Agent", "test/1"),
    );
    assert_eq!(response.status, 201);
    assert_eq!(response.header("x-knox-upstream-status"), Some("201"));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(
        (response.header("x-custom"), response.header("etag")),
        (Some("v"), Some("\"x\""))
    );
    let seen = upstream.only_request();
    assert_eq!(seen.head.all("x-custom"), ["one", "two"]);
    assert_eq!(seen.header("cookie"), Some("session=1; theme=dark"));
    assert_eq!(seen.header("user-agent"), Some("test/1"));
}

#[test]
fn host_is_the_targets() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.get("/").assert_served();
    assert_eq!(
        upstream.only_request().header("host"),
        Some(upstream.address().to_string().as_str())
    );
}

#[test]
fn the_callers_credentials_and_our_headers_end_here() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let names = [
        "X-KnoxCall-Environment",
        "X-KnoxCall-Agent-Id",
        "X-KnoxCall-Agent-Token",
        "X-KnoxCall-Origin",
        "X-KnoxCall-Anything",
        "X_KnoxCall_Key",
        "x-knoxcall_route",
        "Proxy-Authorization",
    ];
    let request = names.iter().fold(Request::get("/"), |request, name| {
        request.header(name, "production")
    });
    gateway.send(&request).assert_served();
    let raw = String::from_utf8(upstream.only_request().head.raw)
        .unwrap()
        .to_lowercase();
    assert!(!raw.contains("knoxcall"), "{raw}");
    assert!(!raw.contains("proxy-authorization"), "{raw}");
    assert!(!raw.contains(keys::LIVE), "{raw}");
}

#[test]
fn hop_by_hop_headers_end_here() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=99\r\nX-Stays: 1\r\n\r\nok",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.send(
        &Request::get("/")
            .header("Connection", "keep-alive, X-Mine")
            .header("X-Mine", "1")
            .header("Keep-Alive", "timeout=5")
            .header("TE", "gzip")
            .header("Proxy-Connection", "keep-alive")
            .header("Upgrade", "h2c")
            .header("X-Stays", "1"),
    );
    response.assert_served();
    assert_eq!(response.header("x-stays"), Some("1"));
    let seen = upstream.only_request();
    for name in ["x-mine", "keep-alive", "te", "proxy-connection", "upgrade"] {
        assert_eq!(seen.head.all(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(seen.header("x-stays"), Some("1"));
}

#[test]
fn a_client_cannot_nominate_an_injected_header_away() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"inject_headers": {"X-User": "injected"}, "environments": {}}),
    ));
    let nominating = |names| {
        Request::get("/")
            .header("Connection", names)
            .header("X-User", "mine")
    };
    for names in [
        "X-User",
        "close, x-user",
        "X-Request-Id, X-User",
        "x-knoxcall-key, X-User",
    ] {
        gateway.send(&nominating(names)).assert_served();
        let seen = upstream.last_request();
        assert_eq!(seen.head.all("x-user"), ["injected"], "{names}");
        assert!(seen.header("x-request-id").is_some(), "{names}");
    }
    // Whether these are served or refused, they are not removed.
    for names in [
        "X-Forwarded-For",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
    ] {
        let before = upstream.requests().len();
        let response = gateway.send(&nominating(names));
        if response.status != 200 {
            response.assert_refused(400, "malformed_request");
            assert_eq!(upstream.requests().len(), before, "{names}");
            continue;
        }
        let seen = upstream.last_request();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{names}");
        assert!(seen.header("host").is_some(), "{names}");
    }
}

#[test]
fn the_request_id_is_always_ours() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let served = gateway.send(&Request::get("/").header("X-Request-Id", "client-chose-this"));
    served.assert_served();
    let id = served.request_id();
    // UUIDv7 (RFC 9562): the version is the first digit of the third group.
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id}");
    assert_eq!(
        upstream.only_request().header("x-request-id"),
        Some(id.as_str())
    );
    assert_eq!(
        gateway.record_of(&served).text("client_request_id"),
        Some("client-chose-this")
    );

    let refused = gateway.send(
        &Request::get("/")
            .route("missing")
            .header("X-Request-Id", "mine"),
    );
    assert_ne!(refused.request_id(), "mine");
    assert_ne!(refused.request_id(), id);
}

#[test]
fn the_upstreams_status_is_told_exactly_when_it_answered() {
    let upstream = Upstream::answering(
        "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-Knox-Upstream-Status: 200\r\nX-Request-Id: theirs\r\n\r\nbusy",
    );
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let response = gateway.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!(response.header("x-knox-upstream-status"), Some("503"));
    assert_ne!(response.request_id(), "theirs");
    gateway
        .send(&Request::get("/").route("missing"))
        .assert_refused(404, "route_not_found");
}

#[test]
fn an_upgrade_other_than_websocket_is_dropped_and_served() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(
            &Request::get("/")
                .header("Connection", "Upgrade")
                .header("Upgrade", "foo"),
        )
        .assert_served();
    let seen = upstream.only_request();
    assert_eq!(seen.header("upgrade"), None);
    assert!(seen.head.first_line.ends_with("HTTP/1.1"));
}

#[test]
fn a_websocket_upgrade_reaches_the_upstream() {
    let upstream = Upstream::scripted(|session| {
        let Some(request) = session.request()? else {
            return Ok(());
        };
        assert_eq!(
            request.header("upgrade").map(str::to_lowercase),
            Some("websocket".to_owned())
        );
        session.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let bytes = session.read(4)?;
        session.send([b"<", bytes.as_slice(), b">"].concat())
    });
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let mut client = gateway.connect();
    client.send(Request::websocket("/").bytes());
    assert_eq!(client.read_any("GET").status, 101);
    client.send("ping");
    assert_eq!(client.read_to_end(), b"<ping>");
}

#[test]
fn claims_about_the_client_end_here_by_whatever_name() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let names = [
        "Client-IP",
        "X-Forwarded",
        "X-Remote-Addr",
        "X-ProxyUser-Ip",
        "X-Host",
        "X-Original-Host",
        "Fly-Client-IP",
        "X-Azure-ClientIP",
        "X-Vercel-Forwarded-For",
        "DO-Connecting-IP",
        "X-Envoy-Original-Path",
        "X-HTTP-Path-Override",
        "X_Remote_Addr",
    ];
    let request = names.iter().fold(Request::get("/"), |request, name| {
        request.header(name, "203.0.113.9")
    });
    gateway.send(&request).assert_served();
    let seen = upstream.only_request();
    for name in names {
        assert_eq!(seen.header(name), None, "{name}");
    }
}
