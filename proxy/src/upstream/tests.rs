//! Pools: which endpoint a request gets.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use knoxcall_bundle::{Balance, Ejection, HashKey};

use super::*;
use crate::upstream::testing::{pool, service};

const BAD_GATEWAY: Outcome = Outcome::Answered(StatusCode::BAD_GATEWAY);
const OK: Outcome = Outcome::Answered(StatusCode::OK);

fn upstreams() -> Upstreams {
    let second = Duration::from_secs(1);
    let settings = UpstreamSettings {
        pool_size: 1,
        dns_min_ttl: second,
        dns_max_ttl: second,
        dns_timeout: second,
    };
    Upstreams::new(Vec::new(), &settings)
}

/// `http://10.0.0.1` and so on, all of one weight.
fn several(count: u32) -> ServiceTarget {
    let urls: Vec<String> = (1..=count)
        .map(|at| format!("http://10.0.0.{at}"))
        .collect();
    let targets: Vec<(&str, u32)> = urls.iter().map(|url| (&**url, 1)).collect();
    pool(&targets)
}

fn ejecting(count: u32, failures: u32, max_percent: u32) -> ServiceTarget {
    let mut service = several(count);
    service.upstream.pool.ejection = Some(Ejection {
        consecutive_failures: NonZeroU32::new(failures).unwrap(),
        base_time: Duration::from_secs(60),
        max_percent,
        statuses: [502].into(),
    });
    service
}

async fn pick(upstreams: &Upstreams, prepared: &Prepared) -> Picked {
    upstreams
        .pick(prepared, Instant::now(), &[], None)
        .await
        .unwrap()
}

/// How often each of them was picked, by the last part of its address.
async fn picked(upstreams: &Upstreams, prepared: &Prepared, times: usize) -> BTreeMap<u8, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts
            .entry(last(&pick(upstreams, prepared).await))
            .or_default() += 1;
    }
    counts
}

fn last(picked: &Picked) -> u8 {
    match picked.address().ip() {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    }
}

async fn fail(upstreams: &Upstreams, prepared: &Prepared, which: u8, times: usize) {
    let mut failed = 0;
    while failed < times {
        let picked = pick(upstreams, prepared).await;
        if last(&picked) == which {
            picked.report(BAD_GATEWAY);
            failed += 1;
        }
    }
}

#[tokio::test]
async fn requests_go_round_by_weight() {
    let upstreams = upstreams();
    let service = pool(&[("http://10.0.0.1", 3), ("http://10.0.0.2:81", 1)]);
    let prepared = upstreams.prepare(&service).unwrap();
    let counts = picked(&upstreams, &prepared, 400).await;
    assert_eq!(counts, [(1, 300), (2, 100)].into());
}

#[tokio::test]
async fn another_target_has_a_host_and_a_name_of_its_own() {
    let upstreams = upstreams();
    let service = pool(&[("https://10.0.0.1", 1), ("https://10.0.0.2:444", 1)]);
    let prepared = upstreams.prepare(&service).unwrap();
    let (one, other) = (
        pick(&upstreams, &prepared).await,
        pick(&upstreams, &prepared).await,
    );
    assert_eq!((one.host(), &**one.authority()), (None, "10.0.0.1:443"));
    assert_eq!(other.host().unwrap(), "10.0.0.2:444");
    assert_eq!(&**other.authority(), "10.0.0.2:444");
    assert_eq!(
        (&*one.peer().sni, &*other.peer().sni),
        ("10.0.0.1", "10.0.0.2")
    );
    assert_ne!(one.peer().group_key, other.peer().group_key);
}

#[tokio::test]
async fn the_less_busy_is_chosen() {
    let upstreams = upstreams();
    let mut service = several(2);
    service.upstream.pool.balance = Balance::LeastConnections;
    let prepared = upstreams.prepare(&service).unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(pick(&upstreams, &prepared).await);
    }
    let slow = held.remove(0);
    drop(held);
    let counts = picked(&upstreams, &prepared, 20).await;
    assert_eq!(counts.get(&last(&slow)), None, "{counts:?}");
    drop(slow);
    assert_eq!(picked(&upstreams, &prepared, 20).await.len(), 2);
}

#[tokio::test]
async fn a_client_stays_where_it_is_and_moves_only_when_that_is_out() {
    let upstreams = upstreams();
    let mut service = ejecting(4, 1, 50);
    service.upstream.pool.balance = Balance::ConsistentHash(HashKey::ClientAddress);
    let prepared = upstreams.prepare(&service).unwrap();
    let of = |client: u8| {
        let client = IpAddr::from([192, 0, 2, client]);
        prepared.hash_key(Some(client), &HeaderMap::new())
    };
    let now = Instant::now();
    let mut homes = Vec::new();
    for client in 0..100 {
        let first = upstreams
            .pick(&prepared, now, &[], of(client))
            .await
            .unwrap();
        let again = upstreams
            .pick(&prepared, now, &[], of(client))
            .await
            .unwrap();
        assert_eq!(last(&first), last(&again));
        homes.push(last(&first));
    }
    let victim = homes[0];
    let picked = upstreams.pick(&prepared, now, &[], of(0)).await.unwrap();
    picked.report(BAD_GATEWAY);
    for (client, home) in (0..100).zip(homes) {
        let picked = upstreams
            .pick(&prepared, now, &[], of(client))
            .await
            .unwrap();
        assert_eq!(last(&picked) == home, home != victim);
    }
}

#[tokio::test]
async fn a_header_decides_where_there_is_one() {
    let upstreams = upstreams();
    let mut service = several(4);
    let name = http::HeaderName::from_static("x-session");
    service.upstream.pool.balance = Balance::ConsistentHash(HashKey::Header(name.clone()));
    let prepared = upstreams.prepare(&service).unwrap();
    let client = Some(IpAddr::from([192, 0, 2, 1]));
    let mut headers = HeaderMap::new();
    let without = prepared.hash_key(client, &headers);
    assert!(without.is_some());
    headers.insert(name, "a".parse().unwrap());
    assert_ne!(prepared.hash_key(client, &headers), without);
    let round_robin = upstreams.prepare(&several(2)).unwrap();
    assert_eq!(round_robin.hash_key(client, &headers), None);
}

#[tokio::test]
async fn failures_in_a_row_eject_for_a_while() {
    let upstreams = upstreams();
    let prepared = upstreams.prepare(&ejecting(3, 2, 50)).unwrap();
    fail(&upstreams, &prepared, 2, 1).await;
    assert_eq!(picked(&upstreams, &prepared, 30).await.len(), 3);
    fail(&upstreams, &prepared, 2, 1).await;
    assert_eq!(
        picked(&upstreams, &prepared, 30).await,
        [(1, 15), (3, 15)].into()
    );
    let later = Instant::now() + Duration::from_secs(61);
    let mut back = false;
    for _ in 0..3 {
        let picked = upstreams.pick(&prepared, later, &[], None).await.unwrap();
        back |= last(&picked) == 2;
    }
    assert!(back);
}

#[tokio::test]
async fn what_says_nothing_of_the_endpoint_ejects_nobody() {
    let upstreams = upstreams();
    let prepared = upstreams.prepare(&ejecting(2, 1, 50)).unwrap();
    for outcome in [
        OK,
        Outcome::Unknown,
        Outcome::Answered(StatusCode::NOT_FOUND),
    ] {
        for _ in 0..4 {
            pick(&upstreams, &prepared).await.report(outcome);
        }
    }
    assert_eq!(picked(&upstreams, &prepared, 4).await.len(), 2);
}

#[tokio::test]
async fn never_more_are_ejected_than_the_rule_lets() {
    for (count, max_percent, left) in [(4, 50, 2), (3, 50, 2), (3, 0, 3), (1, 50, 1), (4, 100, 4)] {
        let upstreams = upstreams();
        let prepared = upstreams.prepare(&ejecting(count, 1, max_percent)).unwrap();
        for _ in 0..4 * count {
            pick(&upstreams, &prepared).await.report(BAD_GATEWAY);
        }
        let counts = picked(&upstreams, &prepared, 40).await;
        assert_eq!(counts.len(), left, "{count} at {max_percent} %: {counts:?}");
    }
}

#[tokio::test]
async fn a_reload_forgets_no_ejection_and_counts_no_request_twice() {
    let upstreams = upstreams();
    let prepared = upstreams.prepare(&ejecting(2, 1, 50)).unwrap();
    fail(&upstreams, &prepared, 1, 1).await;
    let mut changed = ejecting(2, 1, 50);
    changed.upstream.timeouts.read = Duration::from_secs(9);
    let reloaded = upstreams.prepare(&changed).unwrap();
    drop(prepared);
    assert_eq!(picked(&upstreams, &reloaded, 4).await, [(2, 4)].into());
    let held = pick(&upstreams, &reloaded).await;
    let again = upstreams.prepare(&changed).unwrap();
    let members = again.members.load_full().unwrap();
    let busy: u32 = members
        .list
        .iter()
        .map(|member| member.endpoint.in_flight())
        .sum();
    assert_eq!(busy, 1);
    drop(held);
}

#[tokio::test]
async fn another_try_goes_to_another_endpoint() {
    let upstreams = upstreams();
    let prepared = upstreams.prepare(&several(3)).unwrap();
    let mut tried = Vec::new();
    for _ in 0..3 {
        let now = Instant::now();
        let picked = upstreams.pick(&prepared, now, &tried, None).await.unwrap();
        assert!(!tried.contains(&picked.address()));
        tried.push(picked.address());
        let may = picked.may_try_again(Outcome::NotConnected, &tried);
        assert!(may, "another is left, or the budget has room");
    }
    let now = Instant::now();
    let any = upstreams.pick(&prepared, now, &tried, None).await;
    assert!(any.is_ok(), "where all were tried, any will do");
}

#[tokio::test]
async fn further_tries_are_a_share_of_all_requests() {
    let upstreams = upstreams();
    let prepared = upstreams.prepare(&service("http://10.0.0.1")).unwrap();
    for _ in 0..100 {
        drop(pick(&upstreams, &prepared).await);
    }
    let picked = pick(&upstreams, &prepared).await;
    let tried = [picked.address()];
    let allowed = (0..1_000)
        .take_while(|_| picked.may_try_again(Outcome::NotConnected, &tried))
        .count();
    // Three a second beside: the second may change meanwhile.
    assert!((23..=26).contains(&allowed), "{allowed}");
}

#[tokio::test]
async fn a_full_endpoint_is_passed_over_and_a_full_pool_refuses() {
    let upstreams = upstreams();
    let mut service = several(2);
    service.upstream.pool.max_connections = NonZeroU32::new(1);
    let prepared = upstreams.prepare(&service).unwrap();
    let one = pick(&upstreams, &prepared).await;
    let other = pick(&upstreams, &prepared).await;
    assert_ne!(one.address(), other.address());
    let now = Instant::now();
    let refused = upstreams.pick(&prepared, now, &[], None).await.err();
    assert_eq!(refused, Some(Refusal::UpstreamOverloaded));
    let free = one.address();
    drop(one);
    assert_eq!(pick(&upstreams, &prepared).await.address(), free);
    drop(other);
}

#[tokio::test]
async fn who_may_wait_gets_the_place_that_comes_free() {
    let upstreams = Arc::new(upstreams());
    let mut service = several(1);
    service.upstream.pool.max_connections = NonZeroU32::new(1);
    service.upstream.pool.max_pending = 1;
    service.upstream.timeouts.connect = Duration::from_secs(20);
    let prepared = Arc::new(upstreams.prepare(&service).unwrap());
    let held = pick(&upstreams, &prepared).await;
    let waiting = {
        let (upstreams, prepared) = (upstreams.clone(), prepared.clone());
        tokio::spawn(async move { pick(&upstreams, &prepared).await.address() })
    };
    let endpoint = prepared.members.load_full().unwrap().list[0]
        .endpoint
        .clone();
    while endpoint.pending() == 0 {
        tokio::task::yield_now().await;
    }
    let now = Instant::now();
    let refused = upstreams.pick(&prepared, now, &[], None).await.err();
    assert_eq!(refused, Some(Refusal::UpstreamOverloaded));
    drop(held);
    waiting.await.unwrap();
    assert_eq!((endpoint.in_flight(), endpoint.pending()), (0, 0));
}

#[tokio::test]
async fn slow_streams_leave_room_in_their_connection() {
    let mut service = service("http://10.0.0.1");
    service.upstream.protocol = UpstreamProtocol::Http2;
    let prepared = upstreams().prepare(&service).unwrap();
    let options = &prepared.targets[0].template.options;
    let of_stream = options.h2_stream_window_size.unwrap() as usize;
    let of_connection = options.h2_connection_window_size.unwrap() as usize;
    assert_eq!(of_connection, options.max_h2_streams * of_stream);
}

#[tokio::test]
async fn every_connection_is_asked_after_and_one_that_is_dead_is_found() {
    for (write_timeout, unacknowledged) in [(1, 30), (90, 90)] {
        let mut service = service("http://10.0.0.1");
        service.upstream.timeouts.write = Duration::from_secs(write_timeout);
        let prepared = upstreams().prepare(&service).unwrap();
        let keepalive = prepared.targets[0].template.options.tcp_keepalive.clone();
        let keepalive = keepalive.unwrap();
        assert_eq!(keepalive.idle, Duration::from_secs(15));
        assert_eq!(keepalive.user_timeout, Duration::from_secs(unacknowledged));
    }
}

#[tokio::test]
async fn tls_never_goes_out_without_a_name() {
    let upstreams = upstreams();
    for url in [
        "https://api.test",
        "https://10.0.0.1",
        "https://[2001:db8::1]",
    ] {
        let prepared = upstreams.prepare(&service(url)).unwrap();
        assert!(!prepared.targets[0].template.sni.is_empty(), "{url}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_had_refuses_what_goes_over_tls() {
    let upstreams = upstreams();
    for (url, refused) in [
        ("https://10.0.0.1", Some(Refusal::SecretUnavailable)),
        ("http://10.0.0.1", None),
    ] {
        let mut service = service(url);
        service.upstream.client_certificate = Some(ClientCertificate::Unavailable);
        let prepared = upstreams.prepare(&service).unwrap();
        let picked = upstreams.pick(&prepared, Instant::now(), &[], None).await;
        assert_eq!(picked.err(), refused, "{url}");
    }
}
