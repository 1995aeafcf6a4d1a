//! What tests of upstreams have in common.

use std::num::NonZeroU32;
use std::time::Duration;

use knoxcall_bundle::ids::{EnvironmentName, HostName, TenantId};
use knoxcall_bundle::{
    HealthCheck, HealthProbe, Pool, Scheme, Target, TargetHost, Timeouts, Upstream,
    UpstreamProtocol, WeightedTarget,
};
use knoxcall_filters::table::ServiceTarget;
use uuid::Uuid;

/// At `SCHEME://HOST[:PORT]`, with defaults.
pub fn service(url: &str) -> ServiceTarget {
    let second = Duration::from_secs(1);
    ServiceTarget {
        tenant: TenantId(Uuid::nil()),
        environment: EnvironmentName::try_from("production").unwrap(),
        target: target(url),
        upstream: Upstream {
            custom_ca: None,
            server_name: None,
            client_certificate: None,
            allow_reserved_target: false,
            protocol: UpstreamProtocol::Http1,
            timeouts: Timeouts {
                connect: second,
                first_byte: second,
                read: second,
                write: second,
                idle: second,
                total: None,
            },
            pool: Pool::default(),
        },
    }
}

/// With several targets, and their weights.
pub fn pool(targets: &[(&str, u32)]) -> ServiceTarget {
    let mut service = service(targets[0].0);
    service.upstream.pool.targets = targets
        .iter()
        .map(|(url, weight)| WeightedTarget {
            target: target(url),
            weight: (*weight).try_into().unwrap(),
        })
        .collect();
    service
}

pub fn health_check() -> HealthCheck {
    HealthCheck {
        probe: HealthProbe::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy_after: NonZeroU32::MIN,
        unhealthy_after: NonZeroU32::MIN,
    }
}

fn target(url: &str) -> Target {
    let (scheme, authority) = url.split_once("://").unwrap();
    let (host, port) = match authority.rsplit_once(':') {
        Some(parts) if !authority.ends_with(']') => parts,
        _ => (authority, ""),
    };
    let host = host.trim_matches(['[', ']']);
    let (scheme, default_port) = match scheme {
        "http" => (Scheme::Http, 80),
        _ => (Scheme::Https, 443),
    };
    Target {
        scheme,
        host: match host.parse() {
            Ok(address) => TargetHost::Address(address),
            Err(_) => TargetHost::Name(HostName::try_from(host).unwrap()),
        },
        port: port.parse().unwrap_or(default_port),
        path: String::new(),
    }
}
