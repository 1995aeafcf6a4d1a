//! Compiles a bundle into a [`RouteTable`]. A bundle is valid, so this cannot
//! fail; a reference that leads nowhere all the same grants nothing.
//!
//! What is equal among routes (targets, address sets, methods, injectors, sets
//! of clients) is kept once: many routes differ in their names alone.

mod intern;
mod leak_guard;
mod limits;
mod tenant;

use hashbrown::HashMap;
use ipnet::IpNet;
use knoxcall_bundle::{Bundle, Tenant};

use self::intern::Targets;
use self::limits::Limits;
use self::tenant::TenantCompiler;
use crate::cidr::CidrMap;
use crate::table::{HostEntry, RouteTable, TrustedProxies};

/// What the deployment, not the bundle, says of the way to us.
#[derive(Clone, Debug, Default)]
pub struct EdgeRules {
    /// With each: does this proxy set `CF-Connecting-IP`?
    pub trusted_proxies: Vec<(IpNet, bool)>,
}

impl RouteTable {
    pub fn compile(bundle: &Bundle, edge: &EdgeRules) -> Self {
        let mut hosts = HashMap::new();
        let mut limits = Limits::default();
        let mut targets = Targets::default();
        let tenants = bundle.tenants.iter().enumerate().map(|(index, tenant)| {
            add_hosts(&mut hosts, index, tenant);
            TenantCompiler::new(tenant, &mut limits, &mut targets).compile()
        });
        Self {
            tenants: tenants.collect(),
            hosts,
            trusted_proxies: TrustedProxies {
                by_address: CidrMap::new(edge.trusted_proxies.iter().copied()),
            },
            limits: limits.into_specs(),
            targets: targets.into_list(),
        }
    }
}

/// A host that two forms would claim belongs to the first.
fn add_hosts(hosts: &mut HashMap<Box<str>, HostEntry>, index: usize, tenant: &Tenant) {
    let plain = HostEntry {
        tenant: index,
        strips_api: false,
        sandbox: false,
        valid_until: None,
    };
    let mut add = |host: String, entry: HostEntry| {
        hosts
            .entry(host.to_ascii_lowercase().into())
            .or_insert(entry);
    };
    for host in &tenant.hosts.extra {
        add(host.to_string(), plain);
    }
    let Some(base) = &tenant.hosts.base_domain else {
        return;
    };
    let slug = &tenant.slug;
    add(
        format!("{slug}.{base}"),
        HostEntry {
            strips_api: true,
            ..plain
        },
    );
    add(
        format!("sandbox-{slug}.{base}"),
        HostEntry {
            strips_api: true,
            sandbox: true,
            ..plain
        },
    );
    if let Some(hash) = &tenant.hosts.subdomain_hash {
        add(format!("{hash}.{slug}.{base}"), plain);
    }
    if let Some(previous) = &tenant.hosts.previous_hash {
        let valid_until = Some(previous.valid_until);
        add(
            format!("{}.{slug}.{base}", previous.hash),
            HostEntry {
                valid_until,
                ..plain
            },
        );
    }
}

#[cfg(test)]
mod tests;
