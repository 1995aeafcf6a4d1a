//! Limits that instances share in a real Redis: never more than configured
//! while it is up, each instance's share while it is away.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::server::RedisServer;
use knoxcall_counters::{Bucket, Clock, Config, Counters, Limit, Now, Quota, Taken};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than any pause of a busy machine, so that Redis is up throughout.
const PATIENT: Duration = Duration::from_secs(20);

fn instance(url: String, patience: Duration) -> Counters {
    let config = Config {
        redis_url: Some(url),
        instances: NonZeroU32::new(2).unwrap(),
        ..Config::default()
    };
    Counters::with_redis_patience(config, patience).unwrap()
}

fn limit(requests: u32, window: Duration, burst: u32) -> Limit {
    Limit {
        requests: NonZeroU32::new(requests).unwrap(),
        window,
        burst,
    }
}

fn at(seconds: u64) -> Now {
    Now::from_nanos((1_800_000_000 + seconds) * 1_000_000_000)
}

async fn take(counters: &Counters, bucket: &Arc<Bucket>, now: Now) -> bool {
    matches!(counters.take(&[bucket], now).await, Taken::Granted(_))
}

async fn granted(counters: &Counters, buckets: &[&Arc<Bucket>], now: Now) -> u64 {
    let mut granted = 0;
    while let Taken::Granted(_) = counters.take(buckets, now).await {
        granted += 1;
    }
    granted
}

async fn up(counters: &Counters) {
    for _ in 0..3_000 {
        if counters.status().redis_up {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("redis is not up again: {counters:?}");
}

async fn quota(counters: &Counters, buckets: &[&Arc<Bucket>], now: Now) -> Quota {
    match counters.take(buckets, now).await {
        Taken::Granted(quota) => quota.unwrap(),
        Taken::Refused { index, .. } => panic!("refused by {index}"),
    }
}

/// Both instances take as fast as they can, each from `tasks` tasks, until all
/// are refused. Returns what was granted in all.
async fn race(
    instances: &[Counters; 2],
    limit: Limit,
    tasks: usize,
    now: impl Fn() -> Now + Copy + Send + 'static,
) -> u64 {
    let mut running = Vec::new();
    for counters in instances {
        let bucket = counters.bucket("route/raced", limit);
        for _ in 0..tasks {
            let (counters, bucket) = (counters.clone(), Arc::clone(&bucket));
            running.push(tokio::spawn(async move {
                let mut granted = 0;
                while take(&counters, &bucket, now()).await {
                    granted += 1;
                }
                granted
            }));
        }
    }
    let mut all = 0;
    for task in running {
        all += task.await.unwrap();
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_together_admit_exactly_the_limit() {
    let redis = RedisServer::start().await;
    let instances = [
        instance(redis.url(), PATIENT),
        instance(redis.url(), PATIENT),
    ];
    // Nothing is regained, and no lease expires, while the test runs.
    let limit = limit(3_000, HOUR * 24 * 365, 500);
    assert_eq!(race(&instances, limit, 16, || at(0)).await, 3_500);
    assert!(
        instances
            .iter()
            .all(|counters| counters.status().fallbacks_total == 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_admit_no_more_than_is_regained() {
    let redis = RedisServer::start().await;
    let instances = [
        instance(redis.url(), PATIENT),
        instance(redis.url(), PATIENT),
    ];
    let limit = limit(2_000, Duration::from_secs(4), 0);
    let clock = Clock::start();
    let start = clock.now();
    let mut all = 0;
    while clock.now().as_nanos() < start.as_nanos() + 1_000_000_000 {
        all += race(&instances, limit, 4, move || clock.now()).await;
    }
    let elapsed = clock.now().as_nanos() - start.as_nanos();
    let bound = 2_000 + elapsed * 2_000 / 4_000_000_000 + 1;
    assert!((1_500..=bound).contains(&all), "{all} of at most {bound}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_admit_exactly_ten_of_ten() {
    let redis = RedisServer::start().await;
    let instances = [
        instance(redis.url(), PATIENT),
        instance(redis.url(), PATIENT),
    ];
    assert_eq!(race(&instances, limit(10, HOUR, 0), 8, || at(0)).await, 10);
}

#[tokio::test]
async fn the_common_request_makes_no_round_trip() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let tenant = counters.bucket("tenant/t", limit(2_000_000, HOUR, 0));
    let route = counters.bucket("route/r", limit(1_000_000, HOUR, 0));
    for _ in 0..10_000 {
        quota(&counters, &[&tenant, &route], at(0)).await;
    }
    let trips = counters.status().lease_round_trips_total;
    assert!((1..=40).contains(&trips), "{trips} round trips");
}

#[tokio::test]
async fn a_busy_limit_keeps_nobody_waiting() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("route/r", limit(1_000_000, HOUR, 0));
    // Leases grow to the largest.
    for _ in 0..50_000 {
        quota(&counters, &[&bucket], at(0)).await;
    }
    let before = counters.status().lease_round_trips_total;
    for taken in 0..30_000 {
        let buckets = [&bucket];
        let mut take = pin!(counters.take(&buckets, at(0)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(take.as_mut().poll(&mut context).is_ready(), "{taken}");
        if taken % 1_000 == 0 {
            // Redis answers in turn: what was asked before has its answer.
            counters.claim(&[0; 32], 0, 1, 0).await;
        }
    }
    let trips = counters.status().lease_round_trips_total - before;
    assert!((3..=8).contains(&trips), "{trips} round trips");
}

#[tokio::test]
async fn all_limits_of_a_request_share_a_round_trip() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let tenant = counters.bucket("tenant/t", limit(1_000, HOUR, 0));
    let route = counters.bucket("route/r", limit(100_000, HOUR, 0));
    let client = counters.bucket("client/c", limit(5, HOUR, 0));
    quota(&counters, &[&tenant, &route, &client], at(0)).await;
    assert_eq!(counters.status().lease_round_trips_total, 1);
}

#[tokio::test]
async fn an_exact_limit_is_asked_for_each_request() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(5, HOUR, 0));
    for left in (0..5).rev() {
        let quota = quota(&counters, &[&bucket], at(0)).await;
        assert_eq!((quota.limit, quota.remaining), (5, left));
    }
    assert_eq!(counters.status().lease_round_trips_total, 5);
}

#[tokio::test]
async fn remaining_is_what_the_server_had_less_what_was_used_here() {
    let redis = RedisServer::start().await;
    let (one, two) = (
        instance(redis.url(), PATIENT),
        instance(redis.url(), PATIENT),
    );
    let limit = limit(1_000, HOUR, 0);
    let here = one.bucket("route/r", limit);
    let there = two.bucket("route/r", limit);
    for used in 1..=100 {
        assert_eq!(quota(&one, &[&here], at(0)).await.remaining, 1_000 - used);
    }
    // At most a lease of 10 lies at the other instance.
    let seen = quota(&two, &[&there], at(0)).await.remaining;
    assert!((889..=899).contains(&seen), "{seen}");
}

#[tokio::test]
async fn a_refusal_names_its_limit_and_takes_from_none() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let tenant = counters.bucket("tenant/t", limit(8, HOUR, 0));
    let route = counters.bucket("route/r", limit(20_000, HOUR, 0));
    let client = counters.bucket("client/c", limit(3, HOUR, 0));
    let tiers = [&tenant, &route, &client];
    assert_eq!(granted(&counters, &tiers, at(0)).await, 3);
    for second in 0..10 {
        let Taken::Refused {
            index,
            retry_after,
            quota,
        } = counters.take(&tiers, at(second)).await
        else {
            panic!("refused");
        };
        assert_eq!((index, quota.limit, quota.remaining), (2, 3, 0));
        assert!(retry_after > Duration::from_secs(1_000) && retry_after <= HOUR / 3);
    }
    assert_eq!(granted(&counters, &[&tenant], at(20)).await, 5);
}

#[tokio::test]
async fn a_refusing_limit_is_not_asked_for_each_request() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(1, HOUR, 0));
    quota(&counters, &[&bucket], at(0)).await;
    for _ in 0..1_000 {
        assert!(!take(&counters, &bucket, at(0)).await);
    }
    assert_eq!(counters.status().lease_round_trips_total, 2);
}

#[tokio::test]
async fn unused_tokens_are_not_used_after_their_time() {
    let redis = RedisServer::start().await;
    let (one, two) = (
        instance(redis.url(), PATIENT),
        instance(redis.url(), PATIENT),
    );
    let limit = limit(1_000, HOUR, 0);
    let here = one.bucket("route/r", limit);
    for _ in 0..20 {
        quota(&one, &[&here], at(0)).await;
    }
    let rest = granted(&two, &[&two.bucket("route/r", limit)], at(0)).await;
    assert!((960..=980).contains(&rest), "{rest}");
    assert!(!take(&one, &here, at(1)).await);
}

#[tokio::test]
async fn a_request_cancelled_while_it_asks_does_not_stop_the_others() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("route/r", limit(1_000, HOUR, 0));
    for _ in 0..50 {
        let buckets = [&bucket];
        let asking = counters.take(&buckets, at(0));
        tokio::select! {
            biased;
            _ = asking => {}
            () = std::future::ready(()) => {}
        }
        tokio::time::timeout(PATIENT / 2, quota(&counters, &buckets, at(0)))
            .await
            .expect("the next request is served");
    }
    assert_eq!(counters.status().fallbacks_total, 0);
}

#[tokio::test]
async fn a_changed_limit_applies_to_the_state_in_redis() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let old = counters.bucket("client/c", limit(5, HOUR, 0));
    assert_eq!(granted(&counters, &[&old], at(0)).await, 5);
    let new = counters.bucket("client/c", limit(5, HOUR, 2));
    assert_eq!(granted(&counters, &[&new], at(2)).await, 2);
}

#[tokio::test]
async fn keys_in_redis_expire_by_themselves() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(5, HOUR, 0));
    quota(&counters, &[&bucket], at(0)).await;
    let life = redis
        .run(&["PTTL", "knoxcall:limit:client/c"])
        .await
        .unwrap();
    let redis::Value::Int(life) = life else {
        panic!("{life:?}")
    };
    // One token of five is regained in 720 s.
    assert!((1..=722_000).contains(&life), "{life} ms");
}

#[tokio::test]
async fn falls_back_to_its_share_and_returns() {
    let mut redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(8, HOUR, 0));
    assert!(take(&counters, &bucket, at(0)).await);
    assert!(counters.status().redis_up);

    redis.kill();
    assert_eq!(granted(&counters, &[&bucket], at(0)).await, 4);
    let status = counters.status();
    assert!(!status.redis_up);
    assert_eq!((status.fallbacks_total, status.redis_losses_total), (5, 1));

    redis.restart().await;
    up(&counters).await;
    assert_eq!(granted(&counters, &[&bucket], at(0)).await, 8);
    assert_eq!(counters.status().fallbacks_total, 5);
}

#[tokio::test]
async fn a_server_that_lost_its_scripts_is_given_them_again() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(8, HOUR, 0));
    assert!(take(&counters, &bucket, at(0)).await);
    redis.run(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert!(take(&counters, &bucket, at(0)).await);
    assert_eq!(counters.status().fallbacks_total, 1);
    up(&counters).await;
    assert_eq!(quota(&counters, &[&bucket], at(0)).await.remaining, 6);
    assert_eq!(counters.status().fallbacks_total, 1);
}

#[tokio::test]
async fn serves_its_share_where_redis_never_was() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("route/r", limit(1_000, HOUR, 0));
    assert_eq!(granted(&counters, &[&bucket], at(0)).await, 500);
    assert_eq!(counters.status().redis_losses_total, 1);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_nobody_up() {
    let redis = RedisServer::start().await;
    let counters = instance(redis.url(), Duration::from_millis(100));
    let bucket = counters.bucket("client/c", limit(8, HOUR, 0));
    let paused = redis.run(&["CLIENT", "PAUSE", "600000", "ALL"]).await;
    assert!(paused.is_ok(), "{paused:?}");
    let buckets = [&bucket];
    let share = granted(&counters, &buckets, at(0));
    let share = tokio::time::timeout(PATIENT, share)
        .await
        .expect("decides by itself");
    assert_eq!(share, 4);
    assert!(!counters.status().redis_up);
}

#[tokio::test]
async fn an_away_redis_is_told_once_and_without_its_password() {
    let redis = RedisServer::with_password(Some("right")).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let counters = instance(redis.url_with(Some("hunter2")), PATIENT);
    let bucket = counters.bucket("client/c", limit(8, HOUR, 0));
    for _ in 0..20 {
        take(&counters, &bucket, at(0)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = log.text();
    assert_eq!(log.matches("redis is away").count(), 1, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_login_with_the_right_password_is_up() {
    let redis = RedisServer::with_password(Some("right")).await;
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(8, HOUR, 0));
    assert!(take(&counters, &bucket, at(0)).await);
    assert!(counters.status().redis_up);
}

/// Each runtime of the gateway may be the first to need Redis, and may end.
#[test]
fn another_runtime_takes_over_when_the_first_has_ended() {
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = build();
    let redis = first.block_on(RedisServer::start());
    let counters = instance(redis.url(), PATIENT);
    let bucket = counters.bucket("client/c", limit(100, HOUR, 0));
    assert!(first.block_on(take(&counters, &bucket, at(0))));
    drop(first);
    build().block_on(async {
        take(&counters, &bucket, at(0)).await;
        up(&counters).await;
        assert!(take(&counters, &bucket, at(2)).await);
    });
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
