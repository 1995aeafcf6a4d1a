//! Limits of one instance, as the gateway uses them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "also in what tests call")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use knoxcall_counters::{Bucket, Config, Counters, Limit, Now, Taken};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn counters() -> Counters {
    Counters::new(Config::default()).unwrap()
}

fn limit(requests: u32, burst: u32) -> Limit {
    Limit {
        requests: NonZeroU32::new(requests).unwrap(),
        window: MINUTE,
        burst,
    }
}

fn at(millis: u64) -> Now {
    Now::from_nanos(1_800_000_000_000_000_000 + millis * 1_000_000)
}

async fn granted(counters: &Counters, buckets: &[&Arc<Bucket>]) -> usize {
    let mut granted = 0;
    while let Taken::Granted(_) = counters.take(buckets, at(0)).await {
        granted += 1;
    }
    granted
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn no_limit_is_granted_without_a_quota() {
    let none: [&Arc<Bucket>; 0] = [];
    let taken = assert_send(counters().take(&none, at(0))).await;
    assert_eq!(taken, Taken::Granted(None));
}

#[tokio::test]
async fn reports_the_tightest_of_several_limits() {
    let counters = counters();
    let tenant = counters.bucket("tenant/t", limit(100, 0));
    let route = counters.bucket("route/r", limit(5, 2));
    let Taken::Granted(Some(quota)) = counters.take(&[&tenant, &route], at(0)).await else {
        panic!("granted");
    };
    assert_eq!((quota.limit, quota.remaining), (7, 6));
    assert_eq!(quota.reset_after, Duration::from_secs(12));
}

#[tokio::test]
async fn a_refusal_names_its_limit_and_takes_from_none() {
    let counters = counters();
    let tenant = counters.bucket("tenant/t", limit(10, 0));
    let route = counters.bucket("route/r", limit(2, 0));
    assert_eq!(granted(&counters, &[&tenant, &route]).await, 2);
    for _ in 0..20 {
        let Taken::Refused {
            index,
            retry_after,
            quota,
        } = counters.take(&[&tenant, &route], at(0)).await
        else {
            panic!("refused");
        };
        assert_eq!(index, 1);
        assert_eq!(retry_after, Duration::from_secs(30));
        assert_eq!((quota.limit, quota.remaining), (2, 0));
    }
    assert_eq!(granted(&counters, &[&tenant]).await, 8);
}

#[tokio::test]
async fn state_survives_a_reload_in_the_middle_of_a_window() {
    let counters = counters();
    let before = counters.bucket("route/r", limit(3, 0));
    assert_eq!(granted(&counters, &[&before]).await, 3);
    let after = counters.bucket("route/r", limit(3, 1));
    drop(before);
    assert_eq!(granted(&counters, &[&after]).await, 1);
}

#[tokio::test]
async fn many_requests_at_once_get_no_more_than_the_limit() {
    let counters = counters();
    let bucket = counters.bucket("route/r", limit(500, 0));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (counters, bucket) = (counters.clone(), Arc::clone(&bucket));
            tokio::spawn(async move { granted(&counters, &[&bucket]).await })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.unwrap();
    }
    assert_eq!(all, 500);
}

#[test]
fn a_url_that_is_none_is_refused_without_quoting_it() {
    for url in [
        "",
        "localhost",
        "http://:hunter2@localhost",
        "redis://:hunter2@host:port",
    ] {
        let error = Counters::new(with_url(url)).unwrap_err();
        assert!(
            error.to_string().contains("redis://[user:password@]host"),
            "{error}"
        );
        assert!(!error.to_string().contains("hunter2"));
    }
    let error = Counters::new(with_url("rediss://:hunter2@localhost")).unwrap_err();
    assert!(
        error.to_string().starts_with("rediss:// is not supported"),
        "{error}"
    );
}

#[test]
fn nothing_prints_the_password() {
    let config = with_url("redis://user:hunter2@localhost:1");
    assert!(!format!("{config:?}").contains("hunter2"));
    let counters = Counters::new(config).unwrap();
    assert!(!format!("{counters:?}").contains("hunter2"));
}

fn with_url(url: &str) -> Config {
    Config {
        redis_url: Some(url.to_owned()),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Requests over two limits, at any times: neither admits more than its
    /// capacity and what it regains, and a refusal by one costs the other
    /// nothing.
    #[test]
    fn two_limits_together_hold_and_waste_nothing(
        tenant in (1..20_u32, 0..5_u32), route in (1..20_u32, 0..5_u32),
        gaps in prop::collection::vec(0..5_000_u64, 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let counters = counters();
        let limits = [limit(tenant.0, tenant.1), limit(route.0, route.1)];
        let buckets = [counters.bucket("tenant/t", limits[0]), counters.bucket("route/r", limits[1])];
        let (mut time, mut admitted) = (0_u64, 0_u64);
        for gap in gaps {
            time += gap;
            let taken = runtime.block_on(counters.take(&buckets, at(time)));
            let bound = |limit: Limit| limit.capacity() + u64::from(limit.requests.get()) * time / 60_000;
            admitted += u64::from(matches!(taken, Taken::Granted(_)));
            prop_assert!(limits.iter().all(|limit| admitted <= bound(*limit)));
            if let Taken::Refused { index, .. } = taken {
                // The one that refuses has really nothing left.
                let other = buckets.get(index).unwrap();
                let again = runtime.block_on(counters.take(&[other], at(time)));
                prop_assert!(matches!(again, Taken::Refused { .. }), "{again:?}");
            }
        }
    }
}
