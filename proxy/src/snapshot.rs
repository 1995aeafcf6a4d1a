//! What requests read: one configuration, compiled, immutable, published whole.

mod redis_password;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use knoxcall_bundle::Loaded;
use knoxcall_bundle::settings::Settings;
use knoxcall_bundle::template::MAX_VALUE_BYTES;
use knoxcall_bundle::{Bundle, RateLimit, Report, Unrenderable, unrenderable};
use knoxcall_counters::{Bucket, Counters, Limit};
use knoxcall_filters::hygiene::HeadBudget;
use knoxcall_filters::table::{FailingTemplate, LimitIndex, TargetIndex};
use knoxcall_filters::{EdgeRules, RouteTable};
use knoxcall_ledger::{Obfuscator, RuleError, Rules};
use thiserror::Error;

use crate::downstream::ListenerRules;
use crate::downstream::tls::TlsError;
use crate::upstream::trust::TrustError;
use crate::upstream::{Prepared, Upstreams};

pub struct Snapshot {
    pub table: RouteTable,
    pub settings: Settings,
    pub head_budget: HeadBudget,
    /// In the order of the settings' listeners.
    pub listeners: Box<[Arc<ListenerRules>]>,
    /// In the order of the table's targets.
    pub upstreams: Box<[Prepared]>,
    /// In the order of the table's limits.
    buckets: Box<[Arc<Bucket>]>,
    pub obfuscator: Arc<Obfuscator>,
    pub routes: usize,
    pub loaded_at: Instant,
}

#[derive(Debug, Error)]
pub enum CompileError {
    #[error("{target}: {error}")]
    Trust { target: String, error: TrustError },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("logging.obfuscate: {0}")]
    Obfuscation(#[from] RuleError),
    /// With the values that they have here.
    #[error("{0}")]
    Templates(Report),
}

impl Snapshot {
    pub fn compile(
        loaded: Loaded,
        counters: &Counters,
        upstreams: &Upstreams,
    ) -> Result<Self, CompileError> {
        let Loaded {
            file,
            settings,
            bundle,
            ..
        } = loaded;
        let table = RouteTable::compile(&bundle, &edge_rules(&settings));
        let failing = table.failing_templates();
        if !failing.is_empty() {
            return Err(CompileError::Templates(report(&file, &failing)));
        }
        let prepared = prepare(&table, upstreams)?;
        let buckets = table
            .limits
            .iter()
            .map(|spec| counters.bucket(&spec.name, counted(spec.rate)))
            .collect();
        Ok(Self {
            obfuscator: Arc::new(obfuscator(&settings, &bundle)?),
            routes: bundle
                .tenants
                .iter()
                .map(|tenant| tenant.routes.len())
                .sum(),
            head_budget: HeadBudget {
                bytes: settings.limits.head_bytes,
                fields: settings.limits.head_fields,
            },
            listeners: ListenerRules::compile(&settings)?,
            upstreams: prepared,
            buckets,
            table,
            settings,
            loaded_at: Instant::now(),
        })
    }

    /// What need not be new: see [`ListenerRules::keep`].
    pub fn keep_listeners(&mut self, old: &Self) {
        ListenerRules::keep(
            (&mut self.listeners, &self.settings),
            (&old.listeners, &old.settings),
        );
    }

    pub fn bucket(&self, index: LimitIndex) -> Option<&Bucket> {
        self.buckets.get(index.0).map(AsRef::as_ref)
    }

    pub fn upstream(&self, target: Option<TargetIndex>) -> Option<&Prepared> {
        self.upstreams.get(target?.0)
    }
}

/// Each on a line, with its place and what to do about it.
fn report(file: &Path, failing: &[FailingTemplate]) -> Report {
    let most = MAX_VALUE_BYTES / 1024;
    let remedy = format!(
        "mend it, or the values that it reads there: a filter fails on them, \
         or they make a text of more than {most} KiB"
    );
    let templates = failing.iter().map(|template| {
        let (route, environment, field) = template.place();
        Unrenderable {
            route,
            environment,
            field,
        }
    });
    unrenderable(file, templates, &remedy)
}

fn prepare(table: &RouteTable, upstreams: &Upstreams) -> Result<Box<[Prepared]>, CompileError> {
    table
        .targets
        .iter()
        .map(|target| {
            upstreams
                .prepare(target)
                .map_err(|error| CompileError::Trust {
                    target: format!("{:?}", target.target.host),
                    error,
                })
        })
        .collect()
}

fn edge_rules(settings: &Settings) -> EdgeRules {
    EdgeRules {
        trusted_proxies: settings
            .trusted_proxies
            .iter()
            .map(|proxy| (proxy.cidr, proxy.cf_connecting_ip))
            .collect(),
    }
}

fn counted(rate: RateLimit) -> Limit {
    Limit {
        requests: rate.requests,
        window: rate.window,
        burst: rate.burst,
    }
}

/// Masks by rule, and every value of every secret, the process's own among
/// them, wherever it turns up.
fn obfuscator(settings: &Settings, bundle: &Bundle) -> Result<Obfuscator, RuleError> {
    let rules = &settings.logging.obfuscate;
    let rules = Rules {
        headers: rules.headers.iter().map(ToString::to_string).collect(),
        query: rules.query.clone(),
        json_paths: rules.json_paths.clone(),
        patterns: rules
            .patterns
            .iter()
            .map(|pattern| pattern.0.to_string())
            .collect(),
    };
    let redis_url = settings.counters.redis_url.as_ref();
    let own = redis_url.and_then(redis_password::of);
    let values = bundle
        .tenants
        .iter()
        .flat_map(|tenant| &tenant.secrets)
        .flat_map(|secret| secret.values.values())
        .chain(&own)
        .map(|value| value.expose());
    Obfuscator::new(&rules, values)
}

/// Compiles and throws away: what `serve` would do with a configuration that
/// is sound in itself.
pub fn rehearse(loaded: Loaded) -> anyhow::Result<()> {
    let counters = Counters::new(knoxcall_counters::Config {
        redis_url: None,
        instances: loaded.settings.counters.instances,
        nonce_capacity: 1,
        unauthorized_per_minute: 1,
        key_prefix: String::new(),
    })?;
    let upstreams = Upstreams::new(Vec::new(), &loaded.settings.upstream);
    Snapshot::compile(loaded, &counters, &upstreams)?;
    Ok(())
}
