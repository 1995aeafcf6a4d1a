use super::*;

fn key(id: &str, digest: &str) -> String {
    format!("api_keys: [{{key_id: {id}, key_sha256: '{digest}'}}]\n")
}

#[test]
fn refuses_the_digest_of_an_empty_key() {
    for blank in [&b""[..], b" ", b"\n", b"\r\n"] {
        let digest = crate::KeyDigest::of(blank).to_string();
        for digest in [digest.to_uppercase(), digest] {
            let report = with(&key("tk_live_a", &digest)).report();
            assert!(
                report.contains("api_keys[0].key_sha256: is the digest of an empty key"),
                "{report}"
            );
        }
    }
}

#[test]
fn refuses_a_slip_in_the_prefix_of_a_test_key() {
    for id in ["tk_tset_abc", "tk_testabc", "tk_test"] {
        let report = with(&key(id, &"a".repeat(64))).report();
        assert!(
            report.contains("api_keys[0].key_id: is of no known kind"),
            "{id}: {report}"
        );
    }
    assert!(with(&key("tk_a1b2", &"a".repeat(64))).load().is_ok());
}

/// Two clients, each with the settings given, and two routes.
fn two_clients(one: &str, other: &str) -> Setup {
    with(&format!(
        "environments: [{{name: production}}, {{name: staging}}]
routes:
  - {{slug: a, target_base_url: 'http://x.example'}}
  - {{slug: b, target_base_url: 'http://x.example'}}
clients:
  - {{name: one, {one}}}
  - {{name: other, {other}}}
"
    ))
}

#[test]
fn refuses_two_clients_with_one_address_on_one_route() {
    for (one, other) in [
        ("{route: a}", "{route: a}"),
        ("{route: a}", "{}"),
        ("{environment: staging}", "{route: b}"),
        (
            "{route: a, environment: staging}",
            "{environment: production}, {environment: staging}",
        ),
    ] {
        let setup = two_clients(
            &format!("ip_address: [192.0.2.1, 198.51.100.0/24], assignments: [{one}]"),
            &format!("ip_address: '::ffff:192.0.2.1', assignments: [{other}]"),
        );
        let report = setup.report();
        assert!(
            report.contains(
                "config.yaml:8: clients[1].ip_address: is shared, on the same route, with clients[0]"
            ),
            "{one} {other}: {report}"
        );
    }
}

#[test]
fn one_address_may_stand_for_different_clients_on_different_routes() {
    for (one, other) in [
        ("assignments: [{route: a}]", "assignments: [{route: b}]"),
        (
            "assignments: [{environment: production}]",
            "assignments: [{route: a, environment: staging}]",
        ),
        ("enabled: false, assignments: [{}]", "assignments: [{}]"),
        ("assignments: []", "assignments: [{}]"),
    ] {
        let with_address = |rest| format!("ip_address: 192.0.2.0/24, {rest}");
        let setup = two_clients(&with_address(one), &with_address(other));
        assert!(setup.load().is_ok(), "{one} {other}");
    }
    let nested = two_clients(
        "ip_address: 192.0.2.0/24, assignments: [{}]",
        "ip_address: 192.0.2.1, assignments: [{}]",
    );
    assert!(nested.load().is_ok(), "the smaller block answers");
}

#[test]
fn a_route_that_requires_clients_needs_one_that_is_assigned() {
    let load = |client: &str| {
        with(&format!(
            "environments: [{{name: production}}, {{name: staging}}]
routes: [{{slug: a, target_base_url: 'http://x.example', requires_clients: true, environments: {{staging: }}}}]
clients: [{client}]
"
        ))
        .load()
        .map_err(|report| report.to_string())
    };
    let refused = [
        "",
        "{name: c}",
        "{name: c, enabled: false, assignments: [{}]}",
    ];
    for client in refused {
        let report = load(client).map(|_| ()).unwrap_err();
        assert!(
            report.contains("routes[0]: requires clients, but none is assigned to it"),
            "{report}"
        );
    }
    for assignments in ["{}", "{environment: staging}"] {
        assert!(load(&format!("{{name: c, assignments: [{assignments}]}}")).is_ok());
    }
    assert!(load("{name: c, assignments: [{route: a, environment: production}]}").is_ok());
}

/// What was sound yesterday must still start today.
#[test]
fn a_key_that_has_expired_is_no_mistake() {
    let text = format!(
        "api_keys: [{{key_id: tk_live_a, key_sha256: '{}', expires_at: '2001-01-01T00:00:00Z'}}]\n",
        "a".repeat(64)
    );
    assert!(with(&text).load().is_ok());
}
