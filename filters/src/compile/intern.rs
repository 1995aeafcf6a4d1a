//! Keeps one copy of what many routes have in common.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use http::{HeaderName, Method};
use ipnet::IpNet;
use knoxcall_bundle::ResponseSettings;
use knoxcall_bundle::ids::{EnvironmentName, VariableKey};
use knoxcall_bundle::template::{Builtin, SecretRef, Segment, Template};

use crate::cidr::CidrSet;
use crate::inject::Injector;
use crate::response_rules::ResponseRules;
use crate::table::{LimitIndex, MethodRules, ServiceTarget, TargetIndex};

/// Every target of every tenant, once.
#[derive(Default)]
pub(super) struct Targets {
    known: HashMap<Arc<ServiceTarget>, TargetIndex>,
    /// Those that differ in more than their path.
    pathless: Vec<Arc<ServiceTarget>>,
    by_pathless: HashMap<Arc<ServiceTarget>, TargetIndex>,
}

impl Targets {
    pub(super) fn into_list(self) -> Box<[Arc<ServiceTarget>]> {
        self.pathless.into()
    }

    fn add(&mut self, target: ServiceTarget) -> (Arc<ServiceTarget>, TargetIndex) {
        if let Some((same, index)) = self.known.get_key_value(&target) {
            return (same.clone(), *index);
        }
        let index = self.index(without_path(&target));
        let target = Arc::new(target);
        self.known.insert(target.clone(), index);
        (target, index)
    }

    fn index(&mut self, pathless: ServiceTarget) -> TargetIndex {
        if let Some(index) = self.by_pathless.get(&pathless) {
            return *index;
        }
        let (pathless, index) = (Arc::new(pathless), TargetIndex(self.pathless.len()));
        self.pathless.push(pathless.clone());
        self.by_pathless.insert(pathless, index);
        index
    }
}

fn without_path(target: &ServiceTarget) -> ServiceTarget {
    let mut target = target.clone();
    target.target.path = String::new();
    let pool = &mut target.upstream.pool;
    let members = pool.targets.iter().cloned().map(|mut member| {
        member.target.path = String::new();
        member
    });
    pool.targets = members.collect();
    target
}

/// What the routes of one tenant share.
#[derive(Default)]
pub(super) struct Interner {
    addresses: HashSet<Arc<CidrSet>>,
    environments: HashSet<EnvironmentName>,
    methods: HashSet<Arc<[Method]>>,
    injectors: HashMap<InjectorKey, Arc<Injector>>,
    response_rules: HashMap<ResponseSettings, Arc<ResponseRules>>,
    /// By the addresses of target and injector, which the entry keeps alive.
    rules: HashMap<(usize, usize, Option<LimitIndex>), Arc<MethodRules>>,
}

impl Interner {
    pub(super) fn addresses(&mut self, blocks: &[IpNet]) -> Arc<CidrSet> {
        let set = CidrSet::new(blocks.iter().copied());
        match self.addresses.get(&set) {
            Some(same) => same.clone(),
            None => {
                let set = Arc::new(set);
                self.addresses.insert(set.clone());
                set
            }
        }
    }

    /// One text for all routes: it is in the processor's caches then.
    pub(super) fn environment(&mut self, name: &EnvironmentName) -> EnvironmentName {
        self.environments
            .get_or_insert_with(name, Clone::clone)
            .clone()
    }

    pub(super) fn methods(&mut self, methods: &[Method]) -> Arc<[Method]> {
        match self.methods.get(methods) {
            Some(same) => same.clone(),
            None => {
                let methods: Arc<[Method]> = methods.into();
                self.methods.insert(methods.clone());
                methods
            }
        }
    }

    pub(super) fn response_rules(
        &mut self,
        settings: &ResponseSettings,
    ) -> Option<Arc<ResponseRules>> {
        if let Some(same) = self.response_rules.get(settings) {
            return Some(same.clone());
        }
        let rules = Arc::new(ResponseRules::compile(settings)?);
        self.response_rules.insert(settings.clone(), rules.clone());
        Some(rules)
    }

    /// `compile` is called where no equal injector is known, or where it
    /// cannot be told (`key` is `None`).
    pub(super) fn injector(
        &mut self,
        key: Option<InjectorKey>,
        compile: impl FnOnce() -> Injector,
    ) -> Arc<Injector> {
        match key {
            Some(key) => self
                .injectors
                .entry(key)
                .or_insert_with(|| Arc::new(compile()))
                .clone(),
            None => Arc::new(compile()),
        }
    }

    pub(super) fn rules(
        &mut self,
        targets: &mut Targets,
        target: ServiceTarget,
        injector: Arc<Injector>,
        limit: Option<LimitIndex>,
    ) -> Arc<MethodRules> {
        let (target, target_index) = targets.add(target);
        let addresses = (Arc::as_ptr(&target).addr(), Arc::as_ptr(&injector).addr());
        let key = (addresses.0, addresses.1, limit);
        let host = crate::plan::host(&target.target);
        let rules = MethodRules {
            target,
            target_index,
            host,
            injector,
            limit,
        };
        self.rules
            .entry(key)
            .or_insert_with(|| Arc::new(rules))
            .clone()
    }
}

/// Equal keys, equal injectors: plain header templates that say nothing of
/// their route. Others are compiled for each route.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct InjectorKey {
    environment: EnvironmentName,
    headers: Vec<(HeaderName, Vec<Piece>)>,
}

#[derive(PartialEq, Eq, Hash)]
enum Piece {
    Text(Arc<str>),
    Secret(SecretRef),
    Variable(VariableKey),
    Builtin(Builtin),
}

impl InjectorKey {
    pub(super) fn new(
        environment: &EnvironmentName,
        headers: &[(HeaderName, Template)],
    ) -> Option<Self> {
        let headers = headers
            .iter()
            .map(|(name, template)| Some((name.clone(), pieces(template)?)))
            .collect::<Option<_>>()?;
        Some(Self {
            environment: environment.clone(),
            headers,
        })
    }
}

fn pieces(template: &Template) -> Option<Vec<Piece>> {
    match template {
        Template::Segments(segments) => segments.iter().map(piece).collect(),
        Template::Liquid(_) => None,
    }
}

fn piece(segment: &Segment) -> Option<Piece> {
    match segment {
        Segment::Text(text) => Some(Piece::Text(text.clone())),
        Segment::Secret(secret) => Some(Piece::Secret(secret.clone())),
        Segment::Variable(key) => Some(Piece::Variable(key.clone())),
        Segment::Builtin(Builtin::RouteId | Builtin::RouteName | Builtin::RouteSlug) => None,
        Segment::Builtin(
            builtin @ (Builtin::ClientId
            | Builtin::ClientName
            | Builtin::Environment
            | Builtin::Timestamp
            | Builtin::RequestId
            | Builtin::TenantId
            | Builtin::TenantSlug),
        ) => Some(Piece::Builtin(*builtin)),
    }
}
