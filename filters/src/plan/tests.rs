use knoxcall_bundle::{JsonTemplate, RouteEnvironment};

use super::*;
use crate::sample::{self, NOW, Request, TOKEN};
use crate::testing::{admitted, injecting, request, tenant_with, without_token_in};
use crate::trace_context::Span;

const ID: &str = "01990000-0000-7000-8000-000000000001";
static REQUEST_ID: HeaderValue = HeaderValue::from_static(ID);
const FACTS: RequestFacts<'static> = RequestFacts {
    request_id: &REQUEST_ID,
    now: NOW,
    proto: Proto::Http,
    span: Span::Absent,
};

fn planned(environment: RouteEnvironment, request: &Request) -> Result<Plan, Refusal> {
    planned_with(environment, request, BodyState::Streamed)
}

fn planned_with(
    environment: RouteEnvironment,
    request: &Request,
    body: BodyState,
) -> Result<Plan, Refusal> {
    admitted(tenant_with(environment), request, |admitted, head| {
        plan(admitted, head, body, &FACTS)
    })
}

fn plain() -> RouteEnvironment {
    sample::environment("production")
}

/// The one value that goes to the upstream.
fn sent<'p>(plan: &'p Plan, name: &str) -> Option<&'p str> {
    let mut values = plan.headers.get_all(name).iter();
    let value = values.next()?;
    assert_eq!(values.next(), None, "{name} is sent twice");
    Some(value.to_str().unwrap())
}

fn to(target: Target) -> RouteEnvironment {
    RouteEnvironment { target, ..plain() }
}

fn target(scheme: Scheme, host: TargetHost, port: u16) -> Target {
    Target {
        scheme,
        host,
        port,
        path: "/v1".to_owned(),
    }
}

#[test]
fn joins_the_targets_path_and_the_clients_and_keeps_the_query() {
    for (client, joined) in [
        ("/users/1?a=b&c=%2F", "/v1/users/1?a=b&c=%2F"),
        ("/", "/v1/"),
        ("/a//b", "/v1/a//b"),
        ("/a?", "/v1/a?"),
    ] {
        let plan = planned(plain(), &request(client)).unwrap();
        assert_eq!(String::from_utf8(plan.path_and_query).unwrap(), joined);
    }
}

#[test]
fn says_who_asked_and_for_what() {
    let plan = planned(plain(), &request("/")).unwrap();
    assert_eq!(sent(&plan, "x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(sent(&plan, "x-forwarded-proto"), Some("http"));
    assert_eq!(sent(&plan, "x-forwarded-host"), Some(sample::HOST));
    assert_eq!(sent(&plan, "x-request-id"), Some(ID));
}

#[test]
fn believes_nothing_an_untrusted_peer_says_of_itself() {
    let request = request("/")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("x-request-id", "theirs");
    let plan = planned(plain(), &request).unwrap();
    assert_eq!(sent(&plan, "x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(sent(&plan, "x-forwarded-proto"), Some("http"));
    assert_eq!(sent(&plan, "x-forwarded-host"), Some(sample::HOST));
    assert_eq!(sent(&plan, "x-request-id"), Some(ID));
}

#[test]
fn names_no_address_where_a_trusted_proxy_named_none() {
    let request = request("/").header("x-forwarded-proto", "https");
    let plan = admitted(tenant_with(plain()), &request, |admitted, head| {
        let mut behind = *admitted;
        behind.address.client = None;
        behind.address.via_trusted_proxy = true;
        plan(&behind, head, BodyState::Streamed, &FACTS).unwrap()
    });
    assert_eq!(sent(&plan, "x-forwarded-for"), None);
    assert_eq!(
        sent(&plan, "x-forwarded-proto"),
        Some("https"),
        "of the proxy's own side"
    );
}

#[test]
fn takes_only_two_words_of_a_trusted_proxy_for_a_protocol() {
    for said in ["ftp", "https, http", "HTTPS"] {
        let request = request("/").header("x-forwarded-proto", said);
        let plan = admitted(tenant_with(plain()), &request, |admitted, head| {
            let mut behind = *admitted;
            behind.address.via_trusted_proxy = true;
            plan(&behind, head, BodyState::Streamed, &FACTS).unwrap()
        });
        assert_eq!(sent(&plan, "x-forwarded-proto"), Some("http"), "{said}");
    }
}

#[test]
fn addresses_the_upstream_by_its_own_name() {
    let name = || TargetHost::Name(sample::name("upstream.test"));
    let v6 = TargetHost::Address("2001:db8::1".parse().unwrap());
    for (target, host) in [
        (target(Scheme::Http, name(), 80), "upstream.test"),
        (target(Scheme::Https, name(), 443), "upstream.test"),
        (target(Scheme::Http, name(), 443), "upstream.test:443"),
        (target(Scheme::Https, name(), 8443), "upstream.test:8443"),
        (target(Scheme::Http, v6.clone(), 80), "[2001:db8::1]"),
        (target(Scheme::Http, v6, 8080), "[2001:db8::1]:8080"),
    ] {
        let plan = planned(to(target), &request("/")).unwrap();
        assert_eq!(sent(&plan, "host"), Some(host));
    }
}

#[test]
fn sets_what_the_route_injects_and_names_its_secrets() {
    let headers = [
        ("authorization", "Bearer {{secret:token}}"),
        ("x-request", "{{request_id}}"),
    ];
    let request = request("/").header("authorization", "Basic theirs");
    let plan = planned(injecting(&headers), &request).unwrap();
    assert_eq!(
        sent(&plan, "authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(sent(&plan, "x-request"), Some(ID));
    assert_eq!(plan.secrets_used.len(), 1);
    assert_eq!(&*plan.secrets_used[0], "token");
}

#[test]
fn refuses_rather_than_send_an_empty_credential() {
    let environment = injecting(&[("authorization", "Bearer {{secret:token}}")]);
    let tenant = without_token_in(tenant_with(environment), "production");
    let answer = admitted(tenant, &request("/"), |admitted, head| {
        plan(admitted, head, BodyState::Streamed, &FACTS).map(|_| ())
    });
    assert_eq!(answer, Err(Refusal::SecretUnavailable));
}

#[test]
fn an_injected_header_replaces_neither_host_nor_request_id() {
    let headers = [
        ("x-request-id", "fixed"),
        ("host", "elsewhere.test"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let plan = planned(injecting(&headers), &request("/")).unwrap();
    assert_eq!(sent(&plan, "x-request-id"), Some(ID));
    assert_eq!(sent(&plan, "host"), Some("upstream.test"));
    assert_eq!(
        sent(&plan, "x-forwarded-for"),
        Some("10.0.0.1"),
        "the operator may"
    );
}

#[test]
fn a_secret_is_not_shown_in_debug_output() {
    let plan = planned(
        injecting(&[
            ("x-key", "{{secret:token}}"),
            ("x-b", "{{timestamp}}{{secret:token}}"),
        ]),
        &request("/"),
    );
    let shown = format!("{plan:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[test]
fn keeps_a_websocket_handshake_and_no_other_upgrade() {
    let websocket = request("/")
        .header("connection", "keep-alive, X-Debug, Upgrade")
        .header("upgrade", "websocket");
    let kept = planned(plain(), &websocket).unwrap();
    assert!(kept.websocket);
    assert_eq!(sent(&kept, "connection"), Some("Upgrade"));
    assert_eq!(sent(&kept, "upgrade"), Some("websocket"));
    let h2c = request("/")
        .header("connection", "upgrade")
        .header("upgrade", "h2c");
    let dropped = planned(plain(), &h2c).unwrap();
    assert!(!dropped.websocket);
    assert_eq!(sent(&dropped, "upgrade"), None);
    assert_eq!(sent(&dropped, "connection"), None);
}

#[test]
fn every_value_of_the_clients_own_headers_goes_on() {
    let request = request("/")
        .header("accept", "a")
        .header("x-tag", "1")
        .header("x-tag", "2");
    let plan = planned(plain(), &request).unwrap();
    let tags: Vec<_> = plan.headers.get_all("x-tag").iter().collect();
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(sent(&plan, "accept"), Some("a"));
    assert_eq!(sent(&plan, "x-knoxcall-key"), None);
}

#[test]
fn a_streamed_body_keeps_its_framing() {
    let request = request("/")
        .by(Method::POST)
        .header("transfer-encoding", "chunked");
    let plan = planned(plain(), &request).unwrap();
    assert_eq!(sent(&plan, "transfer-encoding"), Some("chunked"));
    assert_eq!(sent(&plan, "content-length"), None);
}

#[test]
fn a_body_that_was_read_is_sent_by_its_length() {
    for framing in [("transfer-encoding", "chunked"), ("content-length", "7")] {
        let request = request("/").by(Method::POST).header(framing.0, framing.1);
        let whole = BodyState::Whole {
            length: 12,
            changed: true,
        };
        let plan = planned_with(plain(), &request, whole).unwrap();
        assert_eq!(sent(&plan, "transfer-encoding"), None);
        assert_eq!(sent(&plan, "content-length"), Some("12"));
    }
}

#[test]
fn a_request_without_body_gets_no_length() {
    let whole = BodyState::Whole {
        length: 0,
        changed: false,
    };
    let plan = planned_with(plain(), &request("/"), whole).unwrap();
    assert_eq!(sent(&plan, "content-length"), None);
}

fn merging() -> RouteEnvironment {
    let members = vec![("own".to_owned(), JsonTemplate::Bool(true))];
    let mut environment = plain();
    environment.injection.body = Some(JsonTemplate::Object(members));
    environment
}

#[test]
fn a_body_made_of_the_template_alone_is_called_json() {
    let request = request("/").by(Method::POST);
    let (body, plan) = admitted(tenant_with(merging()), &request, |admitted, head| {
        let body = plan_body(admitted, head, b"", &FACTS).unwrap();
        let state = BodyState::of(&Bytes::new(), body.as_ref());
        (body.unwrap(), plan(admitted, head, state, &FACTS).unwrap())
    });
    assert_eq!(body.content, r#"{"own":true}"#);
    assert_eq!(sent(&plan, "content-type"), Some("application/json"));
    assert_eq!(sent(&plan, "content-length"), Some("12"));
}

#[test]
fn the_clients_own_content_type_stays() {
    let request = request("/")
        .by(Method::POST)
        .header("content-type", "application/vnd.api+json");
    let whole = BodyState::Whole {
        length: 12,
        changed: true,
    };
    let plan = planned_with(merging(), &request, whole).unwrap();
    let own = Some("application/vnd.api+json");
    assert_eq!(sent(&plan, "content-type"), own);
}

#[test]
fn a_body_is_read_only_where_somebody_must_see_it() {
    let need = |environment: RouteEnvironment, method: Method| {
        admitted(tenant_with(environment), &request("/"), |admitted, _| {
            body_need(admitted, &method)
        })
    };
    let signed = || RouteEnvironment {
        signature: Some(sample::signature(knoxcall_bundle::SignatureVersion::V1)),
        ..plain()
    };
    let filled = || RouteEnvironment {
        body_secrets: vec![knoxcall_bundle::ids::SecretId(sample::id(3, 1))],
        ..plain()
    };
    assert_eq!(need(plain(), Method::POST), BodyNeed::Stream);
    assert_eq!(
        need(injecting(&[("x-a", "{{secret:token}}")]), Method::POST),
        BodyNeed::Stream
    );
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        assert_eq!(need(merging(), method.clone()), BodyNeed::Whole);
        assert_eq!(need(filled(), method), BodyNeed::Whole);
    }
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(need(merging(), method.clone()), BodyNeed::Stream);
        assert_eq!(need(filled(), method.clone()), BodyNeed::Stream);
        assert_eq!(need(signed(), method), BodyNeed::Whole);
    }
}
