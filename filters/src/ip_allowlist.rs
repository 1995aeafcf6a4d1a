//! From which addresses a route may be called. It asks for where from, not
//! for who; a request without a valid client address comes from nowhere.

use crate::client_address::ClientAddress;
use crate::refusal::Refusal;
use crate::table::Service;

pub(crate) fn check(service: &Service, address: ClientAddress) -> Result<(), Refusal> {
    let Some(allowed) = &service.ip_allowlist else {
        return Ok(());
    };
    match address.client {
        Some(client) if allowed.contains(client) => Ok(()),
        Some(_) | None => Err(Refusal::IpNotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::RouteTable;
    use crate::compile::EdgeRules;
    use crate::refusal::Refusal;
    use crate::sample::{self, LIVE_KEY, Request};

    fn table(allowlist: Option<&[&str]>) -> RouteTable {
        let mut tenant = sample::tenant();
        let mut route = sample::route(1);
        route.environments[0].ip_allowlist =
            allowlist.map(|blocks| blocks.iter().map(|block| block.parse().unwrap()).collect());
        tenant.routes.push(route);
        let bundle = knoxcall_bundle::Bundle {
            tenants: vec![tenant],
        };
        let trusted_proxies = vec![("10.0.0.0/8".parse().unwrap(), false)];
        RouteTable::compile(&bundle, &EdgeRules { trusted_proxies })
    }

    fn decided(allowlist: Option<&[&str]>, peer: &str) -> Result<(), Refusal> {
        let request = Request::get("/").route("route-1").key(LIVE_KEY);
        let peer: IpAddr = peer.parse().unwrap();
        sample::decide(&table(allowlist), &request, peer)
            .0
            .map(drop)
    }

    #[test]
    fn without_a_list_every_address_may_call() {
        assert_eq!(decided(None, "198.51.100.9"), Ok(()));
        assert_eq!(decided(None, "10.0.0.1"), Ok(()));
    }

    #[test]
    fn serves_listed_addresses_only() {
        let list = Some(["192.0.2.0/24", "2001:db8::/32"].as_slice());
        for peer in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::9"] {
            assert_eq!(decided(list, peer), Ok(()), "{peer}");
        }
        for peer in ["192.0.3.1", "2001:db9::9", "::1"] {
            assert_eq!(decided(list, peer), Err(Refusal::IpNotAllowed), "{peer}");
        }
    }

    #[test]
    fn a_request_without_client_address_comes_from_nowhere() {
        let everywhere = Some(["0.0.0.0/0", "::/0"].as_slice());
        assert_eq!(decided(everywhere, "10.0.0.1"), Err(Refusal::IpNotAllowed));
    }

    #[test]
    fn an_empty_list_serves_nobody() {
        assert_eq!(decided(Some(&[]), "192.0.2.1"), Err(Refusal::IpNotAllowed));
    }
}
