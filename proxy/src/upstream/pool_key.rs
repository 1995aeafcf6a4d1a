//! Which connections may be shared. Pingora keys its pool by address, SNI and
//! a few options; it ignores the CA set, so a peer that trusts only one
//! authority could be handed a connection verified against another's. Every
//! peer therefore carries a group key: a number that stands for all that makes
//! a connection different.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use knoxcall_bundle::Scheme;
use knoxcall_bundle::ids::{EnvironmentName, HostName, TenantId};
use knoxcall_filters::table::ServiceTarget;

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    tenant: TenantId,
    environment: EnvironmentName,
    scheme: Scheme,
    custom_ca: Option<Arc<str>>,
    server_name: Option<HostName>,
}

/// Numbers are never given twice, so an identity that comes back after a
/// reload finds its own connections and nobody else's.
#[derive(Default)]
pub struct PoolKeys {
    given: Mutex<HashMap<Identity, u64>>,
}

impl PoolKeys {
    pub fn key(&self, service: &ServiceTarget) -> u64 {
        let identity = Identity {
            tenant: service.tenant,
            environment: service.environment.clone(),
            scheme: service.target.scheme,
            custom_ca: service.upstream.custom_ca.clone(),
            server_name: service.upstream.server_name.clone(),
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        // Zero is Pingora's "no group".
        let next = given.len() as u64 + 1;
        *given.entry(identity).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knoxcall_bundle::{Target, TargetHost, Timeouts, Upstream};
    use std::time::Duration;
    use uuid::Uuid;

    fn service() -> ServiceTarget {
        let second = Duration::from_secs(1);
        ServiceTarget {
            tenant: TenantId(Uuid::nil()),
            environment: EnvironmentName::try_from("production").unwrap(),
            target: Target {
                scheme: Scheme::Https,
                host: TargetHost::Name(HostName::try_from("api.test").unwrap()),
                port: 443,
                path: String::new(),
            },
            upstream: Upstream {
                custom_ca: None,
                server_name: None,
                allow_reserved_target: false,
                timeouts: Timeouts {
                    connect: second,
                    read: second,
                    write: second,
                    idle: second,
                },
            },
        }
    }

    #[test]
    fn the_same_identity_has_the_same_key() {
        let keys = PoolKeys::default();
        assert_eq!(keys.key(&service()), keys.key(&service()));
        assert_ne!(keys.key(&service()), 0);
    }

    #[test]
    fn tenants_environments_and_trust_never_share() {
        let keys = PoolKeys::default();
        let mut other_tenant = service();
        other_tenant.tenant = TenantId(Uuid::from_u128(1));
        let mut other_environment = service();
        other_environment.environment = EnvironmentName::try_from("staging").unwrap();
        let mut other_ca = service();
        other_ca.upstream.custom_ca = Some("another authority".into());
        let mut clear = service();
        clear.target.scheme = Scheme::Http;
        let mut other_name = service();
        other_name.upstream.server_name = Some(HostName::try_from("b.test").unwrap());

        let mut all: Vec<u64> = [
            service(),
            other_tenant,
            other_environment,
            other_ca,
            clear,
            other_name,
        ]
        .iter()
        .map(|service| keys.key(service))
        .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
