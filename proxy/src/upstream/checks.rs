//! Asks the endpoints of pools with a health check whether they can serve: one
//! task for each, none for pools without.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::Method;
use knoxcall_bundle::{HealthCheck, HealthProbe};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::{AbortHandle, JoinSet};

use super::balance::scatter;
use super::health::Health;
use super::members::Member;
use super::probe::{Prober, Question, knock};
use crate::gateway::Gateway;

/// How often it is looked which endpoints there are.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub struct Checks {
    gateway: Arc<Gateway>,
    prober: Arc<Prober>,
}

/// Those at work, by what they watch over: each holds it, so that no other can
/// be at its address.
#[derive(Default)]
struct Watches {
    tasks: JoinSet<()>,
    by_health: HashMap<usize, AbortHandle>,
}

/// An endpoint and how it is asked.
struct Watch {
    member: Arc<Member>,
    health: Arc<Health>,
    check: Arc<HealthCheck>,
    prober: Arc<Prober>,
}

impl Checks {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            prober: Arc::new(Prober::new()),
        }
    }

    /// Begins to watch what is new, and leaves what is gone.
    fn look(&self, watches: &mut Watches) {
        let snapshot = self.gateway.snapshot.load();
        let upstreams = &self.gateway.upstreams;
        let now = Instant::now();
        let mut seen = HashMap::new();
        for prepared in &snapshot.upstreams {
            let Some(check) = &prepared.rules.health_check else {
                continue;
            };
            let members = upstreams.watched(prepared, now);
            for member in &members.list {
                let Some(health) = &member.health else {
                    continue;
                };
                let id = Arc::as_ptr(health).addr();
                seen.insert(id, (member.clone(), health.clone(), check.clone()));
            }
        }
        watches.leave_all_but(&seen);
        for (id, (member, health, check)) in seen {
            let prober = self.prober.clone();
            watches.begin(id, || Watch {
                member,
                health,
                check,
                prober,
            });
        }
    }
}

#[async_trait]
impl BackgroundService for Checks {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut watches = Watches::default();
        loop {
            self.look(&mut watches);
            tokio::select! {
                _ = shutdown.changed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

impl Watches {
    fn leave_all_but<T>(&mut self, seen: &HashMap<usize, T>) {
        self.by_health.retain(|id, task| {
            let stays = seen.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        // What has ended is let go of.
        while self.tasks.try_join_next().is_some() {}
    }

    fn begin(&mut self, id: usize, watch: impl FnOnce() -> Watch) {
        let tasks = &mut self.tasks;
        self.by_health
            .entry(id)
            .or_insert_with(|| tasks.spawn(watch().keep()));
    }
}

impl Watch {
    async fn keep(self) {
        let interval = self.check.interval;
        let mut random = scatter(Arc::as_ptr(&self.health).addr() as u64);
        // Not all at once after a start.
        tokio::time::sleep(part_of(interval / 10, random)).await;
        loop {
            self.check_once().await;
            random = scatter(random);
            let rest = interval - interval / 10 + part_of(interval / 5, random);
            tokio::time::sleep(rest).await;
        }
    }

    async fn check_once(&self) {
        let check = &self.check;
        let result = self.ask().await;
        let changed = self
            .health
            .learn(result.is_ok(), check.healthy_after, check.unhealthy_after);
        if !changed {
            return;
        }
        let upstream = &self.member.authority;
        let address = self.member.endpoint.address;
        match result {
            Ok(()) => tracing::info!(%upstream, %address, "upstream endpoint healthy again"),
            Err(reason) => {
                tracing::warn!(%upstream, %address, reason, "upstream endpoint unhealthy");
            }
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let patience = self.check.timeout;
        match &self.check.probe {
            HealthProbe::Tcp => knock(self.member.endpoint.address, patience)
                .await
                .map_err(|error| error.kind().to_string()),
            HealthProbe::Http { path, expected } => {
                let question = Question {
                    method: Method::GET,
                    path,
                    host: &self.member.host,
                };
                let answer = async {
                    let reached = self.prober.reach(&self.member.peer, patience).await?;
                    reached.ask(&question).await
                };
                // One patience for all of it.
                let status = pingora_timeout::timeout(patience, answer)
                    .await
                    .map_err(|_| "no answer in time".to_owned())?
                    .map_err(|error| error.etype().as_str().to_owned())?;
                let passes = match expected.is_empty() {
                    true => status.is_success(),
                    false => expected.contains(&status.as_u16()),
                };
                passes.then_some(()).ok_or_else(|| status.to_string())
            }
        }
    }
}

/// Some of it, as a random number says.
fn part_of(whole: Duration, random: u64) -> Duration {
    whole.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}
