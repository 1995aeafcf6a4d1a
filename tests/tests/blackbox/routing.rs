//! Which route a request means, and which path the upstream sees.

use knoxcall_tests::{Config, Gateway, Request, Upstream};
use serde_json::json;

const ID: &str = "7d0a5f6e-3f1b-4c56-9a53-0d8f6f1f7a11";

#[test]
fn a_route_is_named_by_slug_id_or_name() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"id": ID, "name": "Echo Service"})),
    );
    for name in ["echo", ID, "Echo Service"] {
        gateway.send(&Request::get("/").route(name)).assert_served();
    }
    for name in [
        "Echo",
        "echo service",
        "ECHO",
        "",
        "echo2",
        "7d0a5f6e-3f1b-4c56-9a53-0d8f6f1f7a12",
    ] {
        gateway
            .send(&Request::get("/").route(name))
            .assert_refused(404, "route_not_found");
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_route_that_is_not_found_never_falls_through_to_a_path_rule() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .edit_route("echo", json!({"match": [{"path_prefix": "/"}]})),
    );
    gateway
        .send(&Request::get("/x").without("x-knoxcall-route"))
        .assert_served();
    gateway
        .send(&Request::get("/x").route("missing"))
        .assert_refused(404, "route_not_found");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn without_a_name_and_without_a_rule_there_is_no_route() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(&Request::get("/x").without("x-knoxcall-route"))
        .assert_refused(404, "route_not_found");
    upstream.assert_untouched();
}

#[test]
fn a_second_route_header_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    gateway
        .send(&Request::get("/").header("X-KnoxCall-Route", "other"))
        .assert_refused(400, "malformed_request");
    upstream.assert_untouched();
}

#[test]
fn the_longest_whole_segment_prefix_wins() {
    let [any, hooks, deep] = [Upstream::start(), Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(
        &Config::new(any.address())
            .edit_route("echo", json!({"match": [{"path_prefix": "/"}]}))
            .route(json!({
                "slug": "hooks", "target_base_url": hooks.url(),
                "match": [{"path_prefix": "/hooks"}],
            }))
            .route(json!({
                "slug": "deep", "target_base_url": deep.url(),
                "match": [{"path_prefix": "/hooks/deep", "strip_prefix": true}],
            })),
    );
    for (path, upstream, arrives_as) in [
        ("/other", &any, "/other"),
        ("/hooksx", &any, "/hooksx"),
        ("/Hooks", &any, "/Hooks"),
        ("/hooks", &hooks, "/hooks"),
        ("/hooks/a?b=/c", &hooks, "/hooks/a?b=/c"),
        ("/h%6Fok%73/a", &hooks, "/h%6Fok%73/a"),
        ("/hooks/deeper", &hooks, "/hooks/deeper"),
        ("/hooks/deep/a%20b?q", &deep, "/a%20b?q"),
        ("/hooks/deep", &deep, "/"),
    ] {
        gateway
            .send(&Request::get(path).without("x-knoxcall-route"))
            .assert_served();
        assert_eq!(upstream.last_request().target, arrives_as, "{path}");
    }
}

#[test]
fn a_rule_may_hold_for_one_host_only() {
    let [first, second] = [Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(
        &Config::new(first.address())
            .set("/tenant/extra_hosts", json!(["gw.test", "hooks.test"]))
            .edit_route("echo", json!({"match": [{"path_prefix": "/"}]}))
            .route(json!({
                "slug": "second", "target_base_url": second.url(),
                "match": [{"host": "hooks.test", "path_prefix": "/"}],
            })),
    );
    gateway
        .send(
            &Request::get("/")
                .without("x-knoxcall-route")
                .host("hooks.test"),
        )
        .assert_served();
    gateway
        .send(&Request::get("/").without("x-knoxcall-route"))
        .assert_served();
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[test]
fn the_path_is_sent_as_it_was_received() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"target_base_url": format!("{}/v1/", upstream.url())}),
    ));
    for (target, arrives_as) in [
        ("/", "/v1/"),
        ("/users/1", "/v1/users/1"),
        (
            "/a%20b/%C3%A9?x=%2f&y=a/../b&z",
            "/v1/a%20b/%C3%A9?x=%2f&y=a/../b&z",
        ),
        ("/a;v=1,2/~b!$&'()*+=:@", "/v1/a;v=1,2/~b!$&'()*+=:@"),
        ("/.well-known/x", "/v1/.well-known/x"),
        ("/a..b/c..", "/v1/a..b/c.."),
        ("/?", "/v1/?"),
    ] {
        gateway.get(target).assert_served();
        assert_eq!(upstream.last_request().target, arrives_as);
    }
}

#[test]
fn a_path_that_could_climb_out_of_the_target_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"target_base_url": format!("{}/v1", upstream.url())}),
    ));
    for target in [
        "/..",
        "/../x",
        "/a/../../x",
        "/a/..",
        "/a/./b",
        "/.",
        "/%2e%2e/x",
        "/%2E%2e/x",
        "/.%2e/x",
        "/a/%2e/b",
        "/..%2fx",
        "/a%2f..%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/..%5Cx",
        "/..;/x",
        "/..;a=b/x",
        "/%2e%2e;/x",
        "/%252e%252e/x",
        "/%25252e%25252e/x",
        "/a%252fb",
        "/a%255cb",
        "/%c0%2e%c0%2e/x",
        "/%c0%ae%c0%ae/x",
        "/%f0%80%80%ae./x",
        "/%EF%BC%8E%EF%BC%8E/x",
        "/%E2%80%A5/x",
        "/..%EF%BC%8Fx",
        "/..%c2%a0/x",
        "/..%e3%80%80/x",
    ] {
        gateway.get(target).assert_refused(400, "invalid_path");
    }
    upstream.assert_untouched();
}

#[test]
fn no_spelling_of_a_guarded_path_goes_through_an_open_route() {
    let [open, guarded] = [Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(
        &Config::new(open.address())
            .edit_route(
                "echo",
                json!({"open": true, "match": [{"path_prefix": "/"}]}),
            )
            .route(json!({
                "slug": "admin", "target_base_url": guarded.url(),
                "match": [{"path_prefix": "/admin"}, {"path_prefix": "/a@b"}],
            })),
    );
    let send = |target: &str| gateway.send(&Request::bare("GET", target));
    for target in [
        "/admin/x",
        "/admin;y/x",
        "/admin%3bx",
        "/admin//x",
        "/;y/admin",
        "/%61dmin",
        "/a@b",
        "/a%40b",
        "//admin/x",
    ] {
        send(target).assert_refused(401, "unauthorized");
    }
    open.assert_untouched();
    guarded.assert_untouched();
    send("/Admin").assert_served();
    assert_eq!(open.requests().len(), 1);
}

#[test]
fn what_the_upstream_gets_never_begins_with_two_slashes() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()).edit_route(
        "echo",
        json!({"match": [{"path_prefix": "/a", "strip_prefix": true}]}),
    ));
    gateway
        .get("//evil.test/")
        .assert_refused(400, "invalid_path");
    gateway
        .send(&Request::get("/a//evil.test/").without("x-knoxcall-route"))
        .assert_refused(400, "invalid_path");
    upstream.assert_untouched();
    gateway.get("/b//c").assert_served();
    assert_eq!(upstream.only_request().target, "/b//c");
}
