//! Nonces that instances share in a real Redis: one claim is fresh, and what
//! Redis may have forgotten is refused.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::server::RedisServer;
use knoxcall_counters::{Claim, Config, Counters};

fn instance(redis: &RedisServer) -> Counters {
    let config = Config {
        redis_url: Some(redis.url()),
        instances: NonZeroU32::new(2).unwrap(),
        ..Config::default()
    };
    Counters::with_redis_patience(config, Duration::from_secs(20)).unwrap()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Signed a minute ahead, as the tolerance allows: after any start.
async fn claim(counters: &Counters, key: [u8; 32]) -> Claim {
    claim_signed_at(counters, key, now() + 60).await
}

async fn claim_signed_at(counters: &Counters, key: [u8; 32], signed_at: u64) -> Claim {
    counters
        .claim(&key, now(), signed_at + 300, signed_at)
        .await
}

async fn up(counters: &Counters) {
    for _ in 0..3_000 {
        claim(counters, [255; 32]).await;
        if counters.status().redis_up {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("redis is not up again: {counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_claims_at_two_instances_exactly_one_is_fresh() {
    let redis = RedisServer::start().await;
    let instances = [instance(&redis), instance(&redis)];
    for round in 0..50 {
        let claims: Vec<_> = (0..10)
            .map(|each| {
                let counters = instances[each % 2].clone();
                tokio::spawn(async move { claim(&counters, [round; 32]).await })
            })
            .collect();
        let mut fresh = 0;
        for each in claims {
            match each.await.unwrap() {
                Claim::Fresh => fresh += 1,
                other => assert_eq!(other, Claim::Replayed),
            }
        }
        assert_eq!(fresh, 1);
    }
}

/// They travel together: one that is given up must not take others along, and
/// each has an answer of its own.
#[tokio::test]
async fn claims_of_one_moment_are_judged_each_for_itself() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    up(&counters).await;
    let started = |key, signed_at| {
        let counters = counters.clone();
        tokio::spawn(async move { claim_signed_at(&counters, key, signed_at).await })
    };
    let ahead = now() + 60;
    let given_up = started([0; 32], ahead);
    let claims = [
        (started([1; 32], ahead), Claim::Fresh),
        (started([255; 32], ahead), Claim::Replayed),
        (started([2; 32], now() - 3_600), Claim::BeforeStart),
        (started([1; 32], ahead), Claim::Replayed),
        (started([3; 32], ahead), Claim::Fresh),
    ];
    tokio::task::yield_now().await;
    given_up.abort();
    for (claim, expected) in claims {
        assert_eq!(claim.await.unwrap(), expected);
    }
}

/// More than a round trip takes.
#[tokio::test]
async fn a_crowd_of_claims_is_answered_whole() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    up(&counters).await;
    for expected in [Claim::Fresh, Claim::Replayed] {
        let claims: Vec<_> = (0..200)
            .map(|key| {
                let counters = counters.clone();
                tokio::spawn(async move { claim(&counters, [key; 32]).await })
            })
            .collect();
        for each in claims {
            assert_eq!(each.await.unwrap(), expected);
        }
    }
}

/// The runtime of whoever sees to the round trip ends before it has begun.
#[tokio::test]
async fn a_claim_outlives_the_runtime_of_another() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    up(&counters).await;
    let abandoned = counters.clone();
    let lost = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let claim = async move { claim(&abandoned, [1; 32]).await };
        runtime.spawn(claim);
        runtime.block_on(tokio::task::yield_now());
    });
    lost.join().unwrap();
    let claim = claim(&counters, [2; 32]);
    let claim = tokio::time::timeout(Duration::from_secs(20), claim).await;
    assert_eq!(claim.unwrap(), Claim::Fresh);
}

#[tokio::test]
async fn a_nonce_is_kept_until_it_expires_and_no_longer() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    assert_eq!(claim(&counters, [7; 32]).await, Claim::Fresh);
    let kept = redis.run(&["KEYS", "knoxcall:nonce:*"]).await.unwrap();
    let redis::Value::Array(kept) = kept else {
        panic!("{kept:?}")
    };
    let [redis::Value::BulkString(key)] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    let key = str::from_utf8(key).unwrap();
    let life = redis.run(&["TTL", key]).await.unwrap();
    let redis::Value::Int(life) = life else {
        panic!("{life:?}")
    };
    assert!((330..=361).contains(&life), "{life} s");
}

#[tokio::test]
async fn refuses_while_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let counters = instance(&redis);
    assert_eq!(claim(&counters, [1; 32]).await, Claim::Fresh);
    redis.kill();
    assert_eq!(claim(&counters, [2; 32]).await, Claim::Unavailable);
    assert_eq!(claim(&counters, [2; 32]).await, Claim::Unavailable);
}

#[tokio::test]
async fn refuses_what_was_signed_before_this_process_where_redis_is_new() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    assert_eq!(
        claim_signed_at(&counters, [1; 32], now() - 10).await,
        Claim::BeforeStart
    );
    assert_eq!(claim(&counters, [2; 32]).await, Claim::Fresh);
}

#[tokio::test]
async fn an_instance_that_joins_trusts_the_memory_that_redis_has() {
    let redis = RedisServer::start().await;
    let run_id = run_id(&redis).await;
    let record = format!("{} {run_id}", now() - 1_000);
    redis
        .run(&["SET", "knoxcall:nonces-since", &record])
        .await
        .unwrap();
    let counters = instance(&redis);
    assert_eq!(
        claim_signed_at(&counters, [1; 32], now() - 100).await,
        Claim::Fresh
    );
    assert_eq!(
        claim_signed_at(&counters, [1; 32], now() - 100).await,
        Claim::Replayed
    );
}

#[tokio::test]
async fn an_instance_that_joins_after_a_failover_trusts_nothing_from_before() {
    let redis = RedisServer::start().await;
    let record = format!("{} {}", now() - 1_000, "5f".repeat(20));
    redis
        .run(&["SET", "knoxcall:nonces-since", &record])
        .await
        .unwrap();
    let counters = instance(&redis);
    // In a later second than the start of both, and claimed by the server that
    // is gone.
    let signed_at = now() + 2;
    while now() < signed_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        claim_signed_at(&counters, [1; 32], signed_at).await,
        Claim::BeforeStart
    );
    assert_eq!(claim(&counters, [2; 32]).await, Claim::Fresh);
}

#[tokio::test]
async fn a_replay_after_redis_restarted_empty_is_refused() {
    let mut redis = RedisServer::start().await;
    let counters = instance(&redis);
    let signed_at = now();
    claim_signed_at(&counters, [1; 32], signed_at).await;
    // Redis is back in a later second than the signature's.
    while now() == signed_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redis.restart().await;
    claim(&counters, [2; 32]).await;
    up(&counters).await;
    assert_eq!(
        claim_signed_at(&counters, [1; 32], signed_at).await,
        Claim::BeforeStart
    );
    assert_eq!(claim(&counters, [3; 32]).await, Claim::Fresh);
}

#[tokio::test]
async fn a_replay_after_redis_was_flushed_is_refused() {
    let redis = RedisServer::start().await;
    let counters = instance(&redis);
    assert_eq!(claim(&counters, [1; 32]).await, Claim::Fresh);
    redis.run(&["FLUSHALL"]).await.unwrap();
    let signed_at = now() - 1;
    assert_eq!(
        claim_signed_at(&counters, [2; 32], signed_at).await,
        Claim::BeforeStart
    );
    assert_eq!(
        claim_signed_at(&counters, [3; 32], signed_at).await,
        Claim::BeforeStart
    );
    assert_eq!(claim(&counters, [4; 32]).await, Claim::Fresh);
}

async fn run_id(redis: &RedisServer) -> String {
    let info = redis.run(&["INFO", "server"]).await.unwrap();
    let redis::Value::BulkString(info) = info else {
        panic!("{info:?}")
    };
    let info = String::from_utf8(info).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    line.unwrap().trim().to_owned()
}
