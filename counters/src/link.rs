//! The connection to Redis and the circuit around it. An answer takes at most
//! the link's patience; the first one that fails opens the circuit, a task dials
//! again with growing pauses, and until it gets through nobody waits.
//! Nothing here prints the URL, which may hold a password.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pingora_timeout::timeout;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, Pipeline, RedisError};
use tokio::sync::Notify;

use crate::memory;
use crate::take::SCRIPT;

/// For connecting and all that is said first.
const LEAST_DIAL_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Questions that may be on their way at once before senders wait.
const QUEUE: usize = 1_024;

/// Redis does not answer, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Away;

pub(crate) struct Link {
    client: redis::Client,
    patience: Duration,
    pub(crate) memory_key: String,
    /// Unix seconds.
    started: u64,
    phase: AtomicU8,
    connection: Mutex<Option<Connection>>,
    dialing: AtomicBool,
    dialed: Notify,
    /// Dials since Redis last answered.
    attempts: AtomicU32,
    /// Connections so far; only the one task that dials counts them.
    generation: AtomicU64,
    failures: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has asked yet.
    Fresh,
    Up,
    Away,
}

impl Phase {
    const fn code(self) -> u8 {
        match self {
            Phase::Fresh => 0,
            Phase::Up => 1,
            Phase::Away => 2,
        }
    }

    const fn of(code: u8) -> Phase {
        match code {
            0 => Phase::Fresh,
            1 => Phase::Up,
            _ => Phase::Away,
        }
    }
}

impl Link {
    pub(crate) fn new(
        client: redis::Client,
        patience: Duration,
        memory_key: String,
        started: u64,
    ) -> Link {
        Link {
            client,
            patience,
            memory_key,
            started,
            phase: AtomicU8::new(Phase::Fresh.code()),
            connection: Mutex::new(None),
            dialing: AtomicBool::new(false),
            dialed: Notify::new(),
            attempts: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The longest that one question may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Is the circuit open? Sees to it that somebody dials.
    pub(crate) fn is_away(self: &Arc<Self>) -> bool {
        let away = self.phase() == Phase::Away;
        if away {
            self.dial();
        }
        away
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase() == Phase::Up
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// One round trip. Safe to cancel; Redis may have acted all the same.
    pub(crate) async fn query<T: FromRedisValue>(
        self: &Arc<Self>,
        pipeline: &Pipeline,
    ) -> Result<T, Away> {
        let Connection {
            mut redis,
            generation,
        } = self.connection().await?;
        match timeout(self.patience, pipeline.query_async(&mut redis)).await {
            Ok(Ok(answer)) => {
                self.attempts.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.lost(generation, &reason(&error))),
            Err(_) => Err(self.lost(generation, "no answer in time")),
        }
    }

    async fn connection(self: &Arc<Self>) -> Result<Connection, Away> {
        if self.phase() == Phase::Fresh {
            self.await_first_dial().await;
        }
        match self.phase() {
            Phase::Up => self.held().ok_or(Away),
            Phase::Away => {
                self.dial();
                Err(Away)
            }
            Phase::Fresh => Err(Away),
        }
    }

    async fn await_first_dial(self: &Arc<Self>) {
        let dialed = self.dialed.notified();
        tokio::pin!(dialed);
        dialed.as_mut().enable();
        self.dial();
        if self.phase() == Phase::Fresh && timeout(self.patience, dialed).await.is_err() {
            self.went_away(Phase::Fresh, "no connection in time");
        }
    }

    /// Starts the one task that dials, if there is none. It ends with the
    /// first success, or with the link.
    fn dial(self: &Arc<Self>) {
        if self.dialing.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !self.dialing.swap(true, Ordering::AcqRel) {
            runtime.spawn(dial_until_up(Dialing(Arc::downgrade(self))));
        }
    }

    async fn dial_once(&self) -> Result<(), RedisError> {
        // Whoever asks has a time-out; one more would be one more timer for
        // each question.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let mut redis = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let first = (generation == 1).then_some(self.started);
        SCRIPT.load_async(&mut redis).await?;
        memory::establish(&mut redis, &self.memory_key, first).await?;
        self.generation.store(generation, Ordering::Relaxed);
        self.hold(Some(Connection { redis, generation }));
        if self.phase.swap(Phase::Up.code(), Ordering::AcqRel) == Phase::Away.code() {
            tracing::info!("redis answers again: limits are shared");
        }
        self.dialed.notify_waiters();
        Ok(())
    }

    /// The pause after a loss or a failed dial: doubles, and varies by a
    /// quarter so that instances do not come back all at once.
    fn pause(&self) -> Duration {
        let attempts = self.attempts.fetch_add(1, Ordering::Relaxed);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << attempts.min(10))
            .min(LONGEST_PAUSE);
        let dice = u32::try_from(RandomState::new().hash_one(()) % 256).unwrap_or(0);
        pause + pause * dice / 1_024
    }

    fn lost(self: &Arc<Self>, generation: u64, why: &str) -> Away {
        let current = self.held().map(|connection| connection.generation);
        if current == Some(generation) {
            self.hold(None);
            self.went_away(Phase::Up, why);
            self.dial();
        }
        Away
    }

    fn went_away(&self, from: Phase, why: &str) {
        let changed = self.phase.compare_exchange(
            from.code(),
            Phase::Away.code(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if changed.is_ok() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                why,
                "redis is away: limits fall back to this instance's share, signed requests with replay protection are refused"
            );
        }
        self.dialed.notify_waiters();
    }

    fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Acquire))
    }

    fn held(&self) -> Option<Connection> {
        let held = self.connection.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, connection: Option<Connection>) {
        let held = self.connection.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

/// The dialing task's hold on the link: weak, so that it does not keep it alive,
/// and released even when its runtime ends.
struct Dialing(Weak<Link>);

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.dialing.store(false, Ordering::Release);
        }
    }
}

async fn dial_until_up(dialing: Dialing) {
    while let Some(link) = dialing.0.upgrade() {
        if link.phase() == Phase::Away {
            let pause = link.pause();
            drop(link);
            tokio::time::sleep(pause).await;
        } else {
            drop(link);
        }
        let Some(link) = dialing.0.upgrade() else {
            return;
        };
        match timeout(link.patience.max(LEAST_DIAL_TIMEOUT), link.dial_once()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => link.went_away(Phase::Fresh, &reason(&error)),
            Err(_) => link.went_away(Phase::Fresh, "no connection in time"),
        }
    }
}

/// What went wrong, without what was sent or where to.
fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
