use http::HeaderValue;
use knoxcall_bundle::json_path::JsonPath;
use knoxcall_bundle::{BodyEdit, BodyRule, ResponseDecoding, RouteEnvironment};
use proptest::prelude::*;

use super::*;
use crate::sample::{self, Request};
use crate::testing::{admitted, injecting, request, tenant_with};

fn removed_from(environment: RouteEnvironment, request: &Request, body: BodyState) -> Vec<String> {
    admitted(
        tenant_with(environment),
        &crate::testing::request("/"),
        |admitted, _| {
            let head = request.head();
            let kept = kept(&head, admitted.service, &admitted.rules.injector, body);
            let names = head.headers.keys();
            names
                .filter(|name| !kept.iter().any(|(kept, _)| kept == name))
                .map(|name| name.as_str().to_owned())
                .collect()
        },
    )
}

fn goes(environment: RouteEnvironment, name: &str, value: &str) -> bool {
    let request = Request::get("/").header(name, value);
    removed_from(environment, &request, BodyState::Streamed) == [name]
}

fn plain() -> RouteEnvironment {
    sample::environment("production")
}

#[test]
fn ordinary_headers_pass() {
    for (name, value) in [
        ("accept", "*/*"),
        ("cookie", "session=1"),
        ("user-agent", "curl"),
        ("content-type", "text/plain"),
        ("if-none-match", "\"1\""),
        ("sec-websocket-key", "x"),
        ("x-signature", "theirs, where the route asks for none"),
        ("x-timestamp", "1"),
        ("x-http-method-override", "DELETE"),
        ("expect", "100-continue"),
        ("content-digest", "sha-256=:x:"),
        ("x_custom", "1"),
        ("x-knock", "1"),
        ("xknoxcall-key", "1"),
    ] {
        assert!(!goes(plain(), name, value), "{name}");
    }
}

#[test]
fn our_own_headers_stop_here() {
    for name in [
        "x-knoxcall-key",
        "x-knoxcall-route",
        "x-knoxcall-environment",
        "x-knoxcall-agent-token",
        "x-knoxcall-not-yet-invented",
        "x-knox-upstream-authorization",
        "dpop",
        "x-request-id",
    ] {
        assert!(goes(plain(), name, "1"), "{name}");
    }
}

#[test]
fn what_was_said_of_the_client_stops_here() {
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-anything",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "client-ip",
        "x-forwarded",
        "x-remote-addr",
        "x-proxyuser-ip",
        "x-host",
        "x-original-host",
        "fly-client-ip",
        "x-azure-clientip",
        "x-vercel-forwarded-for",
        "do-connecting-ip",
        "wl-proxy-client-ip",
        "x_remote_addr",
    ] {
        assert!(goes(plain(), name, "203.0.113.9"), "{name}");
    }
}

#[test]
fn headers_of_one_hop_stop_here() {
    for name in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert!(goes(plain(), name, "close"), "{name}");
    }
}

#[test]
fn paths_that_pass_our_rules_by_stop_here() {
    assert!(goes(plain(), "x-original-url", "/admin"));
    assert!(goes(plain(), "x-rewrite-url", "/admin"));
    assert!(goes(plain(), "x-http-path-override", "/admin"));
    assert!(goes(plain(), "x-envoy-original-path", "/admin"));
}

#[test]
fn disguises_of_all_these_stop_here() {
    for name in [
        "x_knoxcall_key",
        "x-knoxcall_key",
        "x_forwarded_for",
        "x-forwarded_for",
        "x_real_ip",
        "x_request_id",
        "proxy_authorization",
        "keep_alive",
        "transfer_encoding",
        "content_length",
    ] {
        assert!(goes(plain(), name, "1"), "{name}");
    }
}

#[test]
fn what_we_inject_replaces_the_clients_in_any_disguise() {
    let headers = [("x-api-key", "ours"), ("x_tenant_id", "ours")];
    for name in [
        "x-api-key",
        "x_api_key",
        "x_api-key",
        "x-tenant-id",
        "x_tenant_id",
    ] {
        assert!(goes(injecting(&headers), name, "theirs"), "{name}");
        assert!(!goes(plain(), name, "theirs"), "{name}");
    }
}

#[test]
fn keys_of_ours_stop_here_and_other_authorizations_pass() {
    for value in [
        "Bearer tk_live_abc",
        "bearer  tk_abc",
        "Bearer kc_live_x",
        "DPoP kc_test_x",
        "Bearer AKE123",
        "tk_live_abc",
    ] {
        assert!(goes(plain(), "authorization", value), "{value}");
    }
    assert!(goes(plain(), "x-api-key", "tk_live_abc"));
    for value in [
        "Bearer sk_live_abc",
        "Basic dGtfbGl2ZQ==",
        "Bearer eyJ0a18i",
        "Digest username=\"tk_\"",
    ] {
        assert!(!goes(plain(), "authorization", value), "{value}");
    }
}

#[test]
fn a_key_of_ours_beside_another_authorization_takes_it_along() {
    let request = Request::get("/")
        .header("authorization", "Basic abc")
        .header("authorization", "Bearer tk_live_abc");
    assert_eq!(
        removed_from(plain(), &request, BodyState::Streamed),
        ["authorization"]
    );
}

#[test]
fn signature_headers_stop_where_the_route_reads_them() {
    for (version, names) in [
        (
            SignatureVersion::V1,
            ["x-signature", "x-timestamp"].as_slice(),
        ),
        (
            SignatureVersion::V2,
            &["x-signature", "x-timestamp", "x-nonce", "x_nonce"],
        ),
    ] {
        let signed = RouteEnvironment {
            signature: Some(sample::signature(version)),
            ..plain()
        };
        for name in names {
            assert!(goes(signed.clone(), name, "1"), "{name}");
        }
    }
}

#[test]
fn method_overrides_stop_where_methods_are_restricted() {
    let restricted = RouteEnvironment {
        allowed_methods: Some(vec![Method::GET, Method::POST]),
        ..plain()
    };
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x_http_method",
    ] {
        assert!(goes(restricted.clone(), name, "DELETE"), "{name}");
        assert!(!goes(plain(), name, "DELETE"), "{name}");
    }
}

#[test]
fn method_overrides_stop_where_the_body_depends_on_the_method() {
    let mut merging = plain();
    let one = serde_json::Number::from(1);
    let ours = vec![("a".to_owned(), knoxcall_bundle::JsonTemplate::Number(one))];
    merging.injection.body = Some(knoxcall_bundle::JsonTemplate::Object(ours));
    let mut filling = plain();
    filling.body_secrets = vec![sample::tenant().secrets[0].id];
    for environment in [merging, filling] {
        assert!(goes(environment.clone(), "x-http-method-override", "POST"));
        assert!(goes(environment, "x_http_method", "POST"));
    }
}

#[test]
fn what_vouches_for_a_body_goes_when_the_body_changes() {
    let request = Request::get("/")
        .header("expect", "100-continue")
        .header("content-digest", "sha-256=:x:");
    let whole = |changed| BodyState::Whole { length: 1, changed };
    assert_eq!(removed_from(plain(), &request, whole(false)), ["expect"]);
    assert_eq!(
        removed_from(plain(), &request, whole(true)),
        ["expect", "content-digest"]
    );
}

/// What goes on under this name.
fn values(environment: RouteEnvironment, request: &Request, name: &str) -> Vec<HeaderValue> {
    let request_of = crate::testing::request("/");
    admitted(tenant_with(environment), &request_of, |admitted, _| {
        let head = request.head();
        let injector = &admitted.rules.injector;
        let kept = kept(&head, admitted.service, injector, BodyState::Streamed);
        let named = kept.iter().filter(|(own, _)| own.as_str() == name);
        named.map(|(_, value)| (*value).clone()).collect()
    })
}

fn guarded() -> RouteEnvironment {
    injecting(&[("x-token", "{{secret:token}}")])
}

#[test]
fn an_answer_that_is_searched_for_secrets_is_asked_for_as_it_is() {
    let with = Request::get("/").header("accept-encoding", "gzip, br");
    for request in [with.clone(), Request::get("/")] {
        assert_eq!(values(guarded(), &request, "accept-encoding"), ["identity"]);
    }
    assert_eq!(values(plain(), &with, "accept-encoding"), ["gzip, br"]);
    assert!(values(plain(), &Request::get("/"), "accept-encoding").is_empty());
    for name in [
        "grpc-accept-encoding",
        "connect-accept-encoding",
        "sec-websocket-extensions",
        "a-im",
    ] {
        assert!(goes(guarded(), name, "gzip"), "{name}");
        assert!(!goes(plain(), name, "gzip"), "{name}");
    }
}

#[test]
fn parts_of_a_guarded_answer_are_asked_for_only_where_the_route_allows_it() {
    let mut allowing = guarded();
    allowing.leak_guard.allow_range = true;
    for (name, value) in [("range", "bytes=0-9"), ("if-range", "\"1\"")] {
        let request = Request::get("/").header(name, value);
        assert!(values(guarded(), &request, name).is_empty(), "{name}");
        assert_eq!(values(allowing.clone(), &request, name), [value]);
        assert_eq!(values(plain(), &request, name), [value]);
    }
}

#[test]
fn a_route_whose_guard_is_off_asks_as_the_client_does() {
    let mut off = guarded();
    off.leak_guard.mode = knoxcall_bundle::LeakGuardMode::Off;
    let request = Request::get("/")
        .header("accept-encoding", "gzip")
        .header("range", "bytes=0-9");
    assert_eq!(values(off.clone(), &request, "accept-encoding"), ["gzip"]);
    assert_eq!(values(off, &request, "range"), ["bytes=0-9"]);
}

fn changing(body: &[&str], decoding: ResponseDecoding) -> RouteEnvironment {
    let mut changing = plain();
    let rule = |path: &&str| BodyRule {
        path: JsonPath::parse(path).unwrap(),
        edit: BodyEdit::Remove,
    };
    changing.response.body = body.iter().map(rule).collect();
    changing.response.decoding = decoding;
    changing
}

#[test]
fn an_answer_that_is_changed_is_asked_for_whole_and_as_it_is() {
    let request = Request::get("/")
        .header("accept-encoding", "gzip, deflate")
        .header("range", "bytes=0-9");
    let changing = changing(&["$.a"], ResponseDecoding::Identity);
    let values = |name| values(changing.clone(), &request, name);
    assert_eq!(values("accept-encoding"), ["identity"]);
    assert!(values("range").is_empty());
}

#[test]
fn an_answer_that_is_decoded_is_asked_for_in_what_we_decode() {
    for body in [&["$.a"][..], &[]] {
        let request = Request::get("/").header("accept-encoding", "deflate");
        let decoding = changing(body, ResponseDecoding::Decode);
        let values = values(decoding, &request, "accept-encoding");
        assert_eq!(values, ["gzip, br, zstd"]);
    }
}

#[test]
fn an_answer_that_may_be_decoded_is_asked_for_whole() {
    let mut allowing = changing(&[], ResponseDecoding::Decode);
    allowing.injection = guarded().injection;
    allowing.leak_guard.allow_range = true;
    for environment in [changing(&[], ResponseDecoding::Decode), allowing] {
        assert!(goes(environment.clone(), "range", "bytes=0-9"));
        assert!(goes(environment, "if-range", "\"1\""));
    }
}

#[test]
fn what_connection_names_is_for_one_hop_too() {
    let request = Request::get("/")
        .header("connection", "X-Debug, keep-alive")
        .header("connection", "x-user,, close")
        .header("x-debug", "1")
        .header("x-user", "1")
        .header("keep-alive", "timeout=5");
    let mut removed = removed_from(plain(), &request, BodyState::Streamed);
    removed.sort();
    assert_eq!(removed, ["connection", "keep-alive", "x-debug", "x-user"]);
}

#[test]
fn connection_cannot_take_the_framing_away() {
    let request = Request::get("/")
        .header(
            "connection",
            "content-length, transfer-encoding, host, not a name, absent",
        )
        .header("content-length", "1");
    assert_eq!(
        removed_from(plain(), &request, BodyState::Streamed),
        ["connection"]
    );
}

#[test]
fn only_a_whole_websocket_handshake_is_one() {
    let handshake = || {
        Request::get("/")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
    };
    assert!(is_websocket(&handshake().head()));
    assert!(is_websocket(
        &handshake().header("content-length", "0").head()
    ));
    for (name, value) in [("content-length", "1"), ("transfer-encoding", "chunked")] {
        assert!(!is_websocket(&handshake().header(name, value).head()));
    }
    assert!(!is_websocket(&handshake().by(Method::POST).head()));
    assert!(!is_websocket(&handshake().header("upgrade", "h2c").head()));
    assert!(!is_websocket(
        &Request::get("/").header("upgrade", "websocket").head()
    ));
    assert!(!is_websocket(
        &Request::get("/").header("connection", "upgrade").head()
    ));
    let mut other = handshake();
    other
        .headers
        .insert("upgrade", HeaderValue::from_static("h2c"));
    assert!(!is_websocket(&other.head()));
}

#[test]
fn the_samples_request_loses_its_own_headers_only() {
    let request = request("/").header("accept", "*/*");
    let mut removed = removed_from(plain(), &request, BodyState::Streamed);
    removed.sort();
    assert_eq!(removed, ["x-knoxcall-key", "x-knoxcall-route"]);
}

proptest! {
    /// Whatever mixture of `-` and `_` a name is written with.
    #[test]
    fn no_disguise_passes(
        name in prop::sample::select(&[
            "x-knoxcall-key", "x-forwarded-for", "x-real-ip", "x-request-id", "x-secret-header",
            "proxy-authorization", "cf-connecting-ip", "x-original-url",
        ]),
        disguise: u16,
    ) {
        let name: String = name
            .chars()
            .enumerate()
            .map(|(at, c)| if c == '-' && disguise >> (at % 16) & 1 == 1 { '_' } else { c })
            .collect();
        prop_assert!(goes(injecting(&[("x-secret-header", "ours")]), &name, "theirs"));
    }
}
