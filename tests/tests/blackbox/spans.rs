//! Spans by OTLP: what a collector gets of a request, what it never gets, and
//! what becomes of requests when it is away. See docs/tracing.md.

use knoxcall_tests::config::{SIGNING_SECRET, TOKEN};
use knoxcall_tests::{
    Authority, Collector, Config, Gateway, Nginx, ReceivedSpan, Request, Upstream, eventually,
    free_port, keys,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traced(upstream: &Upstream, collector: &Collector, fields: Value) -> Config {
    let mut tracing = json!({"otlp_endpoint": collector.url()});
    for (name, value) in fields.as_object().unwrap() {
        tracing[name] = value.clone();
    }
    Config::new(upstream.address()).set("/tracing", tracing)
}

fn continuing(flags: &str) -> Request {
    Request::get("/").header("traceparent", &format!("00-{TRACE}-{PARENT}-{flags}"))
}

/// Trace, parent and flags, as the upstream got them.
fn traceparent_at(upstream: &Upstream) -> [String; 3] {
    let request = upstream.last_request();
    let value = request.header("traceparent").expect("a traceparent");
    let parts: Vec<&str> = value.split('-').collect();
    let ["00", trace, parent, flags] = parts[..] else {
        panic!("{value}")
    };
    [trace, parent, flags].map(str::to_owned)
}

fn only(spans: Vec<ReceivedSpan>) -> ReceivedSpan {
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.into_iter().next().unwrap()
}

#[test]
fn a_span_stands_between_the_clients_and_the_upstreams() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    gateway.send(&continuing("01")).assert_served();
    let span = only(collector.wait_for_spans(1));
    assert_eq!(
        (span.trace_id.as_str(), span.parent_id.as_str()),
        (TRACE, PARENT)
    );
    assert_ne!(span.span_id, PARENT);
    let expected = [TRACE, span.span_id.as_str(), "01"].map(str::to_owned);
    assert_eq!(traceparent_at(&upstream), expected);
}

#[test]
fn a_trace_that_begins_here_has_the_requests_id() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    let response = gateway.get("/");
    let span = only(collector.wait_for_spans(1));
    assert_eq!(span.trace_id, response.request_id().replace('-', ""));
    assert_eq!(span.parent_id, "");
    let expected = [span.trace_id, span.span_id, "03".to_owned()];
    assert_eq!(traceparent_at(&upstream), expected);
}

#[test]
fn a_span_tells_how_the_request_went() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let service = json!({"service_name": "edge-of-acme"});
    let gateway = Gateway::start(&traced(&upstream, &collector, service));
    let response = gateway.get("/v1/orders?page=2");
    let span = only(collector.wait_for_spans(1));
    assert_eq!(span.span.name, "GET echo");
    assert_eq!(span.span.kind(), SpanKind::Server);
    assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "echo"),
        ("url.path", "/v1/orders"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("knoxcall.environment", "production"),
        ("knoxcall.request_id", response.request_id().as_str()),
        ("knoxcall.ended_by", "upstream"),
        (
            "knoxcall.upstream.host",
            upstream.address().to_string().as_str(),
        ),
        ("knoxcall.upstream.status_code", "200"),
        ("knoxcall.upstream.attempts", "1"),
    ] {
        assert_eq!(span.attribute(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(span.attribute("error.type"), None);
    assert_eq!(collector.service_name().as_deref(), Some("edge-of-acme"));
    let posted = &collector.requests()[0];
    assert_eq!(
        (posted.method.as_str(), posted.target.as_str()),
        ("POST", "/v1/traces")
    );
    assert_eq!(
        posted.header("content-type"),
        Some("application/x-protobuf")
    );
}

#[test]
fn refusals_and_failures_are_told_by_their_type() {
    let upstream = Upstream::scripted(|session| session.request().map(drop));
    let collector = Collector::start();
    let gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    gateway
        .send(&Request::bare("GET", "/").route("echo"))
        .assert_refused(401, "unauthorized");
    let failed = gateway.get("/");
    assert_eq!(failed.status, 502);
    let spans = collector.wait_for_spans(2);
    let of = |status: &str| {
        let is = |span: &&ReceivedSpan| {
            span.attribute("http.response.status_code").as_deref() == Some(status)
        };
        spans.iter().find(is).expect("its span").clone()
    };
    let status = |span: &ReceivedSpan| span.span.status.clone().unwrap_or_default().code();
    let refused = of("401");
    assert_eq!(
        refused.attribute("error.type").as_deref(),
        Some("unauthorized")
    );
    assert_eq!(status(&refused), StatusCode::Unset);
    let broken = of("502");
    assert_eq!(broken.attribute("error.type"), Some(failed.error()));
    assert_eq!(status(&broken), StatusCode::Error);
}

#[test]
fn what_the_client_does_not_sample_is_not_exported() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let mut gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    gateway.send(&continuing("00")).assert_served();
    let expected = [TRACE, PARENT, "00"].map(str::to_owned);
    assert_eq!(traceparent_at(&upstream), expected);
    gateway.get("/").assert_served();
    assert!(gateway.stop().success());
    let span = only(collector.spans());
    assert_ne!(span.trace_id, TRACE);
}

#[test]
fn a_ratio_of_zero_leaves_what_clients_sample() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let none = json!({"sample_ratio": 0});
    let mut gateway = Gateway::start(&traced(&upstream, &collector, none));
    gateway.get("/").assert_served();
    let [_, _, flags] = traceparent_at(&upstream);
    assert_eq!(flags, "02", "random, and not sampled");
    gateway.send(&continuing("01")).assert_served();
    assert!(gateway.stop().success());
    assert_eq!(only(collector.spans()).trace_id, TRACE);
}

#[test]
fn needs_no_request_records() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let config = traced(&upstream, &collector, json!({}));
    let gateway = Gateway::start(&config.set("/logging/requests/path", json!("none")));
    gateway.get("/v1").assert_served();
    let span = only(collector.wait_for_spans(1));
    assert_eq!(span.attribute("http.route").as_deref(), Some("echo"));
}

#[test]
fn health_checks_have_no_spans() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let mut gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    assert_eq!(gateway.send(&Request::bare("GET", "/healthz")).status, 200);
    assert!(gateway.stop().success());
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn no_secret_and_no_header_is_exported() {
    let upstream = Upstream::scripted(|session| {
        while session.request()?.is_some() {
            session.answer(TOKEN)?;
        }
        Ok(())
    });
    let collector = Collector::start();
    let config = traced(&upstream, &collector, json!({}))
        .edit_route(
            "echo",
            json!({"inject_headers": {"authorization": "Bearer {{secret:token}}"}}),
        )
        .edit_secret("token", json!({"optional": true}))
        .set("/logging/requests/capture_headers", json!(["x-mine"]));
    let mut gateway = Gateway::start(&config);
    let target = format!("/of/{SIGNING_SECRET}/x?token=in-the-query");
    let request = Request::get(&target)
        .header("x-mine", "of-a-header")
        .header("user-agent", "of-an-agent")
        .header("tracestate", "vendor=of-the-state");
    gateway.send(&request).assert_served();
    assert!(gateway.stop().success());
    assert_eq!(collector.spans().len(), 1);
    let exported = collector.requests().remove(0).body;
    let exported = String::from_utf8_lossy(&exported);
    assert!(exported.contains("/of/"), "{exported}");
    for hidden in [
        TOKEN,
        SIGNING_SECRET,
        keys::LIVE,
        "in-the-query",
        "of-a-header",
        "of-an-agent",
        "of-the-state",
        "gw.test",
    ] {
        assert!(!exported.contains(hidden), "{hidden}: {exported}");
    }
}

#[test]
fn the_collector_gets_the_headers_it_asks_for() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let headers = json!({"headers_from_env": {"x-collector-token": "COLLECTOR_TOKEN"}});
    let config = traced(&upstream, &collector, headers)
        .env("COLLECTOR_TOKEN", "for-the-collector")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-stray=from-nowhere");
    let mut gateway = Gateway::start(&config);
    gateway.get("/").assert_served();
    assert!(gateway.stop().success());
    let posted = collector.requests().remove(0);
    assert_eq!(
        posted.header("x-collector-token"),
        Some("for-the-collector")
    );
    assert_eq!(posted.header("x-stray"), None);
    assert!(!gateway.process().stderr().contains("for-the-collector"));
}

#[test]
fn a_collector_that_is_away_costs_requests_nothing() {
    let upstream = Upstream::start();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let config = Config::new(upstream.address()).set("/tracing/otlp_endpoint", json!(nobody));
    let mut gateway = Gateway::start(&config);
    let failed = |gateway: &Gateway| gateway.metric("knoxcall_spans_failed_total", &[]);
    gateway.get("/").assert_served();
    eventually("a failed export", || {
        (failed(&gateway) >= 1.0).then_some(())
    });
    gateway.get("/").assert_served();
    eventually("another one", || (failed(&gateway) >= 2.0).then_some(()));
    assert!(gateway.stop().success());
    let log = gateway.process().stderr();
    assert_eq!(
        log.matches("the collector takes no spans").count(),
        1,
        "{log}"
    );
    assert!(log.contains("cannot be reached"), "{log}");
}

#[test]
fn a_collector_that_refuses_is_told_by_its_status() {
    let upstream = Upstream::start();
    let collector = Collector::answering("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    let mut gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    gateway.get("/").assert_served();
    eventually("a failed export", || {
        let failed = gateway.metric("knoxcall_spans_failed_total", &[]);
        (failed >= 1.0).then_some(())
    });
    let log = gateway.process().stderr();
    assert!(
        log.contains("takes no spans") && log.contains("401"),
        "{log}"
    );
}

/// One that accepts and says nothing holds the exporter, and the queue fills.
#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let upstream = Upstream::start();
    let silent = Upstream::scripted(|session| session.hang());
    let tracing = json!({"otlp_endpoint": silent.url(), "queue": 1, "timeout_ms": 60_000});
    let gateway = Gateway::start(&Config::new(upstream.address()).set("/tracing", tracing));
    for _ in 0..5 {
        gateway.get("/").assert_served();
    }
    eventually("the dropped ones", || {
        let dropped = gateway.metric("knoxcall_spans_dropped_total", &[]);
        (dropped == 4.0).then_some(())
    });
}

#[test]
fn what_is_queued_is_exported_when_the_gateway_stops() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let mut gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    for _ in 0..20 {
        gateway.get("/").assert_served();
    }
    assert!(gateway.stop().success());
    assert_eq!(collector.spans().len(), 20);
}

#[test]
fn a_reload_cannot_change_it() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let mut gateway = Gateway::start(&traced(&upstream, &collector, json!({})));
    gateway.rewrite(&traced(&upstream, &collector, json!({"sample_ratio": 0.5})));
    gateway.signal("HUP");
    eventually("the refusal", || {
        let told = gateway.process().stderr();
        told.contains("tracing cannot change").then_some(())
    });
    gateway.get("/").assert_served();
    collector.wait_for_spans(1);
}

#[test]
fn without_an_endpoint_a_trace_goes_on_as_it_is() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway.send(&continuing("01")).assert_served();
    let expected = [TRACE, PARENT, "01"].map(str::to_owned);
    assert_eq!(traceparent_at(&upstream), expected);
    assert_eq!(gateway.metric("knoxcall_spans_exported_total", &[]), 0.0);
}

#[test]
fn a_collector_over_tls_must_be_who_it_says() {
    let (upstream, ours, strangers) = (Upstream::start(), Authority::new(), Authority::new());
    let (certificate, key) = ours.issue("DNS:localhost");
    let nginx = Nginx::tls(&certificate, &key);
    for (host, roots, metric) in [
        ("localhost", &ours, "knoxcall_spans_exported_total"),
        ("127.0.0.1", &ours, "knoxcall_spans_failed_total"),
        ("localhost", &strangers, "knoxcall_spans_failed_total"),
    ] {
        let endpoint = format!("https://{host}:{}", nginx.port());
        let config = Config::new(upstream.address())
            .set("/tracing/otlp_endpoint", json!(endpoint))
            .env("SSL_CERT_FILE", roots.certificate().to_str().unwrap());
        let mut gateway = Gateway::start(&config);
        gateway.get("/").assert_served();
        eventually("the export's end", || {
            let ended = [
                "knoxcall_spans_exported_total",
                "knoxcall_spans_failed_total",
            ];
            let ended = ended.map(|name| gateway.metric(name, &[]));
            (ended.iter().sum::<f64>() >= 1.0).then_some(())
        });
        let log = gateway.process().stderr();
        assert_eq!(gateway.metric(metric, &[]), 1.0, "{host}: {log}");
    }
}
