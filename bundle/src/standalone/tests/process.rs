use super::*;

#[test]
fn refuses_listeners_that_cannot_be_open_together() {
    for (listeners, admin, place) in [
        ("0.0.0.0:80, 127.0.0.1:80", "127.0.0.1:81", "listeners[1]"),
        ("'[::]:80', 127.0.0.1:80", "127.0.0.1:81", "listeners[1]"),
        ("127.0.0.1:80, 127.0.0.1:80", "127.0.0.1:81", "listeners[1]"),
        ("0.0.0.0:80", "127.0.0.1:80", "admin"),
        ("127.0.0.1:80", "127.0.0.1:80", "admin"),
    ] {
        let listeners: String = listeners
            .split(", ")
            .map(|address| format!("  - address: {address}\n"))
            .collect();
        let text = format!("listeners:\n{listeners}admin: {{address: '{admin}'}}\n");
        let report = with(&text).report();
        assert!(
            report.contains(&format!(
                "{place}.address: cannot be open together with listeners[0]"
            )),
            "{report}"
        );
    }
    let apart = "listeners: [{address: 0.0.0.0:80}, {address: '[::1]:80'}]\n";
    assert!(with(apart).load().is_ok());
}

#[test]
fn the_default_admin_listener_counts_as_well() {
    let report = with("listeners: [{address: 0.0.0.0:9901}]\n").report();
    assert!(report.contains("admin.address: cannot be open"), "{report}");
    let without = "listeners: [{address: 0.0.0.0:9901}]\nadmin: {enabled: false}\n";
    assert!(with(without).load().is_ok());
}

#[test]
fn refuses_a_redis_url_that_could_not_be_opened_at_the_start() {
    let report = with("counters: {redis_url: 'redis://h:99999/x'}\n").report();
    assert!(report.contains("counters.redis_url: has a "), "{report}");
    let setup = with("counters: {redis_url_from_env: URL}\n").env("URL", "redis://hunter2:1:2");
    let report = setup.report();
    assert!(
        report.contains("counters.redis_url_from_env: has a port"),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_query_of_the_redis_url_belongs_into_the_environment() {
    let url = "redis+unix:///x.sock?pass=hunter2";
    let report = with(&format!("counters: {{redis_url: '{url}'}}\n")).report();
    assert!(
        report.contains("counters.redis_url: holds a query"),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
    let setup = with("counters: {redis_url_from_env: URL}\n").env("URL", url);
    assert!(setup.load().is_ok());
}

#[test]
fn refuses_to_trust_every_proxy() {
    for cidr in ["0.0.0.0/0", "'::/0'"] {
        let report = with(&format!("trusted_proxies: [{{cidr: {cidr}}}]\n")).report();
        assert!(
            report.contains("trusted_proxies[0].cidr: trusts every address"),
            "{report}"
        );
    }
}

#[test]
fn accepts_the_json_paths_that_records_are_masked_by() {
    let text = "logging: {obfuscate: {json_paths: [\"$['a b'][0]\", $..pin, '$.*', '$.a[*].b']}}\n";
    assert!(with(text).load().is_ok());
}

#[test]
fn refuses_what_no_part_of_the_gateway_could_bear() {
    let report = with("logging: {requests: {queue: 1}}\n").report();
    assert!(
        report.contains("logging.requests.queue: is too small (at least 2)"),
        "{report}"
    );
    let report = with("limits: {head_bytes: 61441}\n").report();
    assert!(
        report.contains("limits.head_bytes: is too large (at most 61440)"),
        "{report}"
    );
}
