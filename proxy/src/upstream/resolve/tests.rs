//! Against a name server of the tests' own, and without any.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use futures::FutureExt;
use knoxcall_bundle::Ejection;
use knoxcall_bundle::settings::UpstreamSettings;
use knoxcall_filters::Refusal;
use knoxcall_filters::table::ServiceTarget;

use super::name_server::{NameServer, resolver_of};
use super::*;
use crate::upstream::members::Member;
use crate::upstream::{Prepared, Upstreams, testing};

const PATIENCE: Patience = Patience {
    shortest_ttl: Duration::from_secs(1),
    longest_ttl: Duration::from_secs(300),
    lookup: Duration::from_secs(5),
};

/// The first of the addresses.
async fn pick(
    book: &Arc<AddressBook>,
    entry: &Arc<Addresses>,
    now: Instant,
) -> Result<SocketAddr, ResolveError> {
    Ok(book.addresses(entry, now).await?[0])
}

#[tokio::test]
async fn an_ip_literal_needs_no_resolver() {
    let book = Arc::new(AddressBook::new(PATIENCE));
    let entry = book.entry("2001:db8::1", 443);
    let address = pick(&book, &entry, Instant::now()).await.unwrap();
    assert_eq!(address, "[2001:db8::1]:443".parse().unwrap());
}

#[tokio::test]
async fn the_same_addresses_are_the_same_list() {
    let server = NameServer::start(&["192.0.2.2", "192.0.2.1"], 0);
    let (book, entry) = ask(&server, IMPATIENT);
    let first = book.addresses(&entry, Instant::now()).await.unwrap();
    server.answer(&["192.0.2.1", "192.0.2.2"], 0);
    book.renew(&entry).await.unwrap();
    assert!(book.are_current(&entry, Some(&first), Instant::now()));
    server.answer(&["192.0.2.1"], 0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    book.renew(&entry).await.unwrap();
    assert!(!book.are_current(&entry, Some(&first), Instant::now()));
}

#[tokio::test]
async fn localhost_resolves_through_the_hosts_file() {
    let book = Arc::new(AddressBook::new(PATIENCE));
    let entry = book.entry("localhost", 8080);
    assert!(
        pick(&book, &entry, Instant::now())
            .await
            .unwrap()
            .ip()
            .is_loopback()
    );
}

#[tokio::test]
async fn those_who_waited_for_a_look_up_share_its_failure() {
    let book = Arc::new(AddressBook::new(Patience {
        lookup: Duration::ZERO,
        ..PATIENCE
    }));
    let entry = book.entry("nowhere.invalid", 80);
    let failed = pick(&book, &entry, Instant::now()).await.unwrap_err();
    let mut kept = entry.lookup.lock().await;
    let failure = kept.as_mut().unwrap();
    assert_eq!(failure.error.reason, failed.reason);
    // Only what is kept can say this: no look-up does.
    failure.error.reason = "kept".to_owned();
    let waiting = (0..15).map(|_| pick(&book, &entry, Instant::now()));
    let waiting = futures::future::join_all(waiting);
    drop(kept);
    for answer in waiting.await {
        assert_eq!(answer.unwrap_err().reason, "kept");
    }

    let over = Instant::now();
    entry.lookup.lock().await.as_mut().unwrap().until = over;
    let asked_again = pick(&book, &entry, over).await.unwrap_err();
    assert_eq!(asked_again.reason, failed.reason);
}

#[test]
fn entries_nobody_holds_are_swept() {
    let book = AddressBook::new(PATIENCE);
    let kept = book.entry("kept.test", 80);
    drop(book.entry("gone.test", 80));
    book.sweep();
    assert_eq!(book.names.lock().unwrap().len(), 1);
    drop(kept);
}

/// Long enough for a busy machine: what is awaited comes in milliseconds.
async fn eventually(book: &Arc<AddressBook>, entry: &Arc<Addresses>, awaited: &str) {
    let awaited: IpAddr = awaited.parse().unwrap();
    let picked = async {
        while pick(book, entry, Instant::now()).await.unwrap().ip() != awaited {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), picked)
        .await
        .expect("the address is in use at last");
}

fn ask(server: &NameServer, patience: Patience) -> (Arc<AddressBook>, Arc<Addresses>) {
    let book = Arc::new(AddressBook::asking(server.address(), patience));
    let entry = book.entry("upstream.test", 80);
    (book, entry)
}

const IMPATIENT: Patience = Patience {
    shortest_ttl: Duration::from_millis(1),
    ..PATIENCE
};

#[tokio::test]
async fn a_name_is_looked_up_again_once_its_ttl_is_over() {
    let server = NameServer::start(&["192.0.2.1"], 1);
    let (book, entry) = ask(&server, IMPATIENT);
    let first = pick(&book, &entry, Instant::now()).await.unwrap();
    assert_eq!(first, "192.0.2.1:80".parse().unwrap());
    server.answer(&["192.0.2.2"], 1);
    eventually(&book, &entry, "192.0.2.2").await;
}

#[tokio::test]
async fn what_somebody_asked_who_gave_up_is_known_to_the_next() {
    let server = NameServer::start(&["192.0.2.1"], 300);
    let (book, entry) = ask(&server, PATIENCE);
    let asked = book.addresses(&entry, Instant::now()).now_or_never();
    assert!(asked.is_none(), "no server answers so soon");
    let learnt = async {
        while book.known(&entry, Instant::now()).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let learnt = tokio::time::timeout(Duration::from_secs(20), learnt).await;
    assert!(learnt.is_ok());
}

#[tokio::test]
async fn within_its_ttl_a_name_is_looked_up_once() {
    let server = NameServer::start(&["192.0.2.1"], 300);
    let (book, entry) = ask(&server, IMPATIENT);
    for _ in 0..20 {
        pick(&book, &entry, Instant::now()).await.unwrap();
    }
    assert_eq!(
        server.queries(),
        ["upstream.test. A", "upstream.test. AAAA"]
    );
}

#[tokio::test]
async fn a_ttl_is_bounded_at_both_ends() {
    let server = NameServer::start(&["192.0.2.1"], 0);
    let shortest_ttl = Duration::from_secs(300);
    let (book, entry) = ask(
        &server,
        Patience {
            shortest_ttl,
            ..PATIENCE
        },
    );
    for _ in 0..20 {
        pick(&book, &entry, Instant::now()).await.unwrap();
    }
    assert_eq!(server.queries().len(), 2, "a TTL of 0 is none at all");

    let server = NameServer::start(&["192.0.2.1"], 86_400);
    let longest_ttl = Duration::from_millis(1);
    let (book, entry) = ask(
        &server,
        Patience {
            longest_ttl,
            ..IMPATIENT
        },
    );
    pick(&book, &entry, Instant::now()).await.unwrap();
    server.answer(&["192.0.2.2"], 86_400);
    eventually(&book, &entry, "192.0.2.2").await;
}

#[tokio::test]
async fn the_last_good_answer_is_kept_until_the_server_is_back() {
    for fail in [
        NameServer::fall_silent,
        NameServer::fail,
        NameServer::forget,
    ] {
        let server = NameServer::start(&["192.0.2.1"], 0);
        let lookup = Duration::from_millis(100);
        let (book, entry) = ask(
            &server,
            Patience {
                lookup,
                ..IMPATIENT
            },
        );
        pick(&book, &entry, Instant::now()).await.unwrap();
        fail(&server);
        let failed = async {
            while entry.lookup.lock().await.is_none() {
                let kept = pick(&book, &entry, Instant::now()).await.unwrap();
                assert_eq!(kept, "192.0.2.1:80".parse().unwrap());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), failed)
            .await
            .expect("a look-up fails");
        let kept = pick(&book, &entry, Instant::now()).await.unwrap();
        assert_eq!(kept, "192.0.2.1:80".parse().unwrap());
        server.answer(&["192.0.2.2"], 0);
        eventually(&book, &entry, "192.0.2.2").await;
    }
}

#[tokio::test]
async fn without_a_good_answer_a_name_is_asked_for_again() {
    let server = NameServer::start(&[], 0);
    let (book, entry) = ask(&server, IMPATIENT);
    let refused = pick(&book, &entry, Instant::now()).await.unwrap_err();
    assert_eq!(refused.host, "upstream.test");
    server.answer(&["192.0.2.1"], 300);
    let found = async {
        while pick(&book, &entry, Instant::now()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .expect("it is found at last");
}

#[tokio::test]
async fn addresses_of_both_families_are_used() {
    let all = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
    let server = NameServer::start(&all, 300);
    let (book, entry) = ask(&server, PATIENCE);
    let found = book.addresses(&entry, Instant::now()).await.unwrap();
    let all = all.map(|ip| SocketAddr::new(ip.parse().unwrap(), 80));
    assert_eq!(*found, all);
}

/// As a host without IPv6.
fn ask_by_ipv4(server: &NameServer) -> (Arc<AddressBook>, Arc<Addresses>) {
    let book = Arc::new(AddressBook {
        reach: |ip| match ip {
            IpAddr::V4(_) => Reach::Yes,
            IpAddr::V6(_) => Reach::No,
        },
        ..AddressBook::asking(server.address(), IMPATIENT)
    });
    let entry = book.entry("upstream.test", 80);
    (book, entry)
}

#[tokio::test]
async fn addresses_that_this_host_cannot_reach_are_left_out() {
    let server = NameServer::start(&["192.0.2.1", "2001:db8::1", "2001:db8::2"], 300);
    let (book, entry) = ask_by_ipv4(&server);
    let found = book.addresses(&entry, Instant::now()).await.unwrap();
    assert_eq!(*found, ["192.0.2.1:80".parse().unwrap()]);
}

#[tokio::test]
async fn an_answer_of_what_cannot_be_reached_replaces_none_that_can() {
    let server = NameServer::start(&["192.0.2.1"], 0);
    let (book, entry) = ask_by_ipv4(&server);
    let good = book.addresses(&entry, Instant::now()).await.unwrap();
    server.answer(&["2001:db8::1"], 300);
    entry.keep_for(Duration::ZERO);
    assert!(book.renew(&entry).await.is_err());
    assert_eq!(entry.last().unwrap(), good);

    // Where nothing better was ever known, a guess is better than nothing.
    let (book, entry) = ask_by_ipv4(&server);
    let guess = pick(&book, &entry, Instant::now()).await.unwrap();
    assert_eq!(guess, "[2001:db8::1]:80".parse().unwrap());
}

#[tokio::test]
async fn another_resolver_is_asked_at_once_and_not_about_literals() {
    let server = NameServer::start(&["192.0.2.1"], 300);
    let (book, entry) = ask(&server, PATIENCE);
    let literal = book.entry("192.0.2.9", 80);
    pick(&book, &entry, Instant::now()).await.unwrap();
    let other = NameServer::start(&["192.0.2.2"], 300);
    book.ask(resolver_of(other.address()));
    eventually(&book, &entry, "192.0.2.2").await;
    pick(&book, &literal, Instant::now()).await.unwrap();
    assert!(!literal.renewing.load(Ordering::Relaxed));
}

#[tokio::test]
async fn one_family_is_enough() {
    for ip in ["192.0.2.1", "2001:db8::1"] {
        let server = NameServer::start(&[ip], 300);
        let (book, entry) = ask(&server, PATIENCE);
        let address = pick(&book, &entry, Instant::now()).await.unwrap();
        assert_eq!(address.ip(), ip.parse::<IpAddr>().unwrap());
    }
}

/// Whatever a name meant when the configuration was checked.
#[tokio::test]
async fn a_name_that_leads_to_a_metadata_service_is_refused() {
    for ip in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fe80::1",
    ] {
        let server = NameServer::start(&["192.0.2.1"], 0);
        let upstreams = upstreams(&server);
        let prepared = upstreams.prepare(&service(false)).unwrap();
        let ask = async |prepared| {
            let picked = upstreams.pick(prepared, Instant::now(), &[], None);
            picked.await.map(drop)
        };
        assert!(ask(&prepared).await.is_ok(), "it was harmless at first");

        server.answer(&[ip], 0);
        let refused = async {
            loop {
                match ask(&prepared).await {
                    Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(refusal) => return refusal,
                }
            }
        };
        let refusal = tokio::time::timeout(Duration::from_secs(20), refused)
            .await
            .expect("it is refused at last");
        assert_eq!(refusal, Refusal::UpstreamForbidden, "{ip}");
        assert_eq!(
            (refusal.status().as_u16(), refusal.code()),
            (502, "upstream_forbidden")
        );

        let allowed = upstreams.prepare(&service(true)).unwrap();
        assert!(ask(&allowed).await.is_ok());
    }
}

fn upstreams(server: &NameServer) -> Upstreams {
    let settings = UpstreamSettings {
        pool_size: 1,
        dns_min_ttl: IMPATIENT.shortest_ttl,
        dns_max_ttl: IMPATIENT.longest_ttl,
        dns_timeout: IMPATIENT.lookup,
    };
    let mut upstreams = Upstreams::new(Vec::new(), &settings);
    upstreams.book = Arc::new(AddressBook::asking(server.address(), IMPATIENT));
    upstreams
}

/// At `http://upstream.test`.
fn service(allow_reserved_target: bool) -> ServiceTarget {
    let mut service = testing::service("http://upstream.test");
    service.upstream.allow_reserved_target = allow_reserved_target;
    service
}

/// The addresses that requests get, in so many tries.
async fn in_use(upstreams: &Upstreams, prepared: &Prepared) -> BTreeSet<IpAddr> {
    let mut used = BTreeSet::new();
    for _ in 0..12 {
        let picked = upstreams.pick(prepared, Instant::now(), &[], None).await;
        used.insert(picked.unwrap().address().ip());
    }
    used
}

fn ips<const N: usize>(texts: [&str; N]) -> BTreeSet<IpAddr> {
    texts.map(|text| text.parse().unwrap()).into()
}

#[tokio::test]
async fn every_address_of_a_name_is_an_endpoint_and_a_removed_one_gets_no_request() {
    let server = NameServer::start(&["192.0.2.1", "192.0.2.2", "192.0.2.3"], 0);
    let upstreams = upstreams(&server);
    let prepared = upstreams.prepare(&service(false)).unwrap();
    let all = ips(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(in_use(&upstreams, &prepared).await, all);
    let held = upstreams
        .pick(&prepared, Instant::now(), &[], None)
        .await
        .unwrap();

    server.answer(&["192.0.2.2", "192.0.2.4"], 0);
    let changed = async {
        while in_use(&upstreams, &prepared).await != ips(["192.0.2.2", "192.0.2.4"]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed)
        .await
        .expect("the new addresses are in use at last");
    // What is still at work there ends in its own time.
    drop(held);
}

#[tokio::test]
async fn the_addresses_of_a_name_share_the_weight_of_their_target() {
    let server = NameServer::start(&["192.0.2.1", "192.0.2.2"], 300);
    let upstreams = upstreams(&server);
    let service = testing::pool(&[("http://upstream.test", 2), ("http://192.0.2.9", 1)]);
    let prepared = upstreams.prepare(&service).unwrap();
    upstreams
        .book
        .addresses(&prepared.targets[0].addresses, Instant::now())
        .await
        .unwrap();
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for _ in 0..30 {
        let picked = upstreams.pick(&prepared, Instant::now(), &[], None).await;
        *counts.entry(picked.unwrap().address().ip()).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

/// The first endpoint of a pool, looked up.
async fn first(upstreams: &Upstreams, service: &ServiceTarget) -> Arc<Member> {
    let prepared = upstreams.prepare(service).unwrap();
    let picked = upstreams.pick(&prepared, Instant::now(), &[], None).await;
    drop(picked.unwrap());
    let members = prepared.members.load_full().unwrap();
    members.list[0].clone()
}

#[tokio::test]
async fn two_hosts_behind_one_address_are_two_endpoints() {
    let server = NameServer::start(&["192.0.2.1"], 300);
    let upstreams = upstreams(&server);
    let checked = |url| {
        let mut service = testing::service(url);
        service.upstream.pool.health_check = Some(testing::health_check());
        service
    };
    let one = first(&upstreams, &checked("http://one.test")).await;
    let two = first(&upstreams, &checked("http://two.test")).await;
    let again = first(&upstreams, &checked("http://one.test")).await;
    assert_eq!(one.endpoint.address, two.endpoint.address);
    assert!(!Arc::ptr_eq(&one.endpoint, &two.endpoint));
    assert!(Arc::ptr_eq(&one.endpoint, &again.endpoint));
    let health = |of: &Arc<Member>| of.health.clone().unwrap();
    assert!(!Arc::ptr_eq(&health(&one), &health(&two)));
    assert!(Arc::ptr_eq(&health(&one), &health(&again)));
}

#[tokio::test]
async fn what_is_known_of_an_address_outlasts_its_absence_from_an_answer() {
    let server = NameServer::start(&["192.0.2.1", "192.0.2.2"], 300);
    let upstreams = upstreams(&server);
    let prepared = upstreams.prepare(&service(false)).unwrap();
    let entry = &prepared.targets[0].addresses;
    let answer = async |ips: &[&str]| {
        server.answer(ips, 300);
        entry.keep_for(Duration::ZERO);
        upstreams.book.renew(entry).await.unwrap();
        prepared.refresh(&upstreams.reserved)
    };
    let both = answer(&["192.0.2.1", "192.0.2.2"]).await;
    let rules = Ejection {
        consecutive_failures: NonZeroU32::MIN,
        base_time: Duration::from_secs(60),
        max_percent: 50,
        statuses: Arc::default(),
    };
    let now = Instant::now();
    assert!(both.list[1].endpoint.eject(&rules, now));
    drop(both);
    assert_eq!(answer(&["192.0.2.1"]).await.list.len(), 1);
    let both = answer(&["192.0.2.1", "192.0.2.2"]).await;
    assert!(both.list[1].endpoint.is_out(now));
}

#[tokio::test]
async fn one_target_without_an_address_keeps_no_request_from_the_others() {
    let server = NameServer::start(&[], 0);
    server.fall_silent();
    let upstreams = upstreams(&server);
    let service = testing::pool(&[("http://upstream.test", 1), ("http://192.0.2.9", 1)]);
    let prepared = upstreams.prepare(&service).unwrap();
    assert_eq!(in_use(&upstreams, &prepared).await, ips(["192.0.2.9"]));
    server.answer(&["192.0.2.1"], 300);
    let found = async {
        while in_use(&upstreams, &prepared).await != ips(["192.0.2.1", "192.0.2.9"]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .expect("it is in use at last");
}
