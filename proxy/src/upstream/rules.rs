//! What holds for all requests of one pool, and the state they share. Rules
//! are the snapshot's; endpoints, health and budgets outlive it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use knoxcall_bundle::ids::{EnvironmentName, TenantId};
use knoxcall_bundle::{Balance, Ejection, HealthCheck, Pool, Target};
use knoxcall_filters::table::ServiceTarget;

use super::endpoint::Endpoint;
use super::health::Health;
use super::registry::Registry;
use super::retry_budget::RetryBudget;

pub struct Rules {
    pub balance: Balance,
    pub health_check: Option<Arc<HealthCheck>>,
    pub ejection: Option<Ejection>,
    pub places: Option<NonZeroU32>,
    pub most_pending: u32,
    /// How long a request waits for a place.
    pub patience: Duration,
    pub retry_percent: u32,
    pub budget: Arc<RetryBudget>,
    pub states: Arc<States>,
}

/// Whatever outlives snapshots.
pub struct States {
    started: Instant,
    pub endpoints: Registry<EndpointName, Endpoint>,
    pub health: Registry<(EndpointName, Arc<HealthCheck>), Health>,
    budgets: Registry<PoolName, RetryBudget>,
    pub tally: Tally,
}

/// What is one endpoint and no other. In clear the group says nothing of the
/// host: behind one address several may be served, one of them badly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointName {
    /// See [`super::pool_key`].
    pub group: u64,
    /// `host:port` of the target.
    pub authority: Arc<str>,
    pub address: SocketAddr,
}

/// Whose pool it is, and its targets.
type PoolName = (TenantId, EnvironmentName, Box<[Target]>);

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Tally {
    pub ejections: AtomicU64,
    pub overloads: AtomicU64,
    pub retries_denied: AtomicU64,
}

impl Rules {
    pub fn new(service: &ServiceTarget, states: &Arc<States>) -> Self {
        let pool = &service.upstream.pool;
        Self {
            balance: pool.balance.clone(),
            health_check: pool.health_check.clone().map(Arc::new),
            ejection: pool.ejection.clone(),
            places: pool.max_connections,
            most_pending: pool.max_pending,
            patience: service.upstream.timeouts.connect,
            retry_percent: pool.retry_budget_percent,
            budget: states.budget(service),
            states: states.clone(),
        }
    }

    pub fn endpoint(&self, name: &EndpointName) -> Arc<Endpoint> {
        let states = &self.states;
        let make = || Endpoint::new(name.address, states.started);
        states.endpoints.get(name.clone(), make)
    }

    pub fn health(&self, name: EndpointName) -> Option<Arc<Health>> {
        let check = self.health_check.clone()?;
        Some(self.states.health.get((name, check), Health::default))
    }
}

impl Default for States {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            endpoints: Registry::default(),
            health: Registry::default(),
            budgets: Registry::default(),
            tally: Tally::default(),
        }
    }
}

impl States {
    fn budget(&self, service: &ServiceTarget) -> Arc<RetryBudget> {
        let targets = targets(service).map(|(target, _)| target.clone()).collect();
        let name = (service.tenant, service.environment.clone(), targets);
        self.budgets.get(name, || RetryBudget::new(self.started))
    }
}

/// Every target and its weight.
pub fn targets(service: &ServiceTarget) -> impl Iterator<Item = (&Target, u32)> {
    let Pool { targets, .. } = &service.upstream.pool;
    let alone = targets.is_empty().then_some((&service.target, 1));
    let listed = targets.iter();
    alone
        .into_iter()
        .chain(listed.map(|target| (&target.target, target.weight.get())))
}
