//! Whose address a request comes from. The first line is the socket's peer,
//! the rest are headers. Nobody but a trusted proxy is believed, a trusted
//! proxy is never the client, and nothing that a client could have written
//! before the proxy did changes the answer.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, Version};
use ipnet::IpNet;
use knoxcall_bundle::Bundle;
use knoxcall_filters::refusal::Malformation;
use knoxcall_filters::{
    ClientAddress, EdgeRules, Head, Refusal, RouteTable, locate, names, sample,
};
use knoxcall_fuzz::{cut, headers};
use libfuzzer_sys::fuzz_target;

/// With each: does it set `CF-Connecting-IP`?
static TRUSTED: LazyLock<Vec<(IpNet, bool)>> = LazyLock::new(|| {
    [
        ("10.0.0.0/8", false),
        ("2001:db8:ffff::/48", false),
        ("173.245.48.0/20", true),
    ]
    .map(|(net, cloudflare)| (net.parse().unwrap(), cloudflare))
    .into()
});

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let bundle = Bundle {
        tenants: vec![sample::tenant()],
    };
    RouteTable::compile(
        &bundle,
        &EdgeRules {
            trusted_proxies: TRUSTED.clone(),
        },
    )
});

fn trusted(address: IpAddr) -> Option<bool> {
    let found = TRUSTED
        .iter()
        .find(|(net, _)| net.contains(&address.to_canonical()));
    found.map(|(_, cloudflare)| *cloudflare)
}

fuzz_target!(|data: &[u8]| {
    let (peer, lines) = cut(data, b'\n');
    let peer = std::str::from_utf8(peer)
        .ok()
        .and_then(|text| text.parse().ok());
    let (Some(peer), Some(headers)) = (peer, headers(lines)) else {
        return;
    };
    let address = match resolve(peer, &headers) {
        Ok(address) => address,
        Err(refusal) => {
            assert_eq!(refusal, Refusal::Malformed(Malformation::DuplicateHeader));
            assert!(headers.get_all(names::CF_CONNECTING_IP).iter().count() > 1);
            return;
        }
    };
    assert_eq!(address.peer, peer.to_canonical());
    assert_eq!(address.via_trusted_proxy, trusted(peer).is_some());
    assert!(
        address
            .client
            .is_none_or(|client| client == client.to_canonical())
    );
    check_budget(&address);
    match trusted(peer) {
        None => assert_eq!(address.client, Some(address.peer)),
        Some(true) => {
            let said = headers
                .get(names::CF_CONNECTING_IP)
                .and_then(|value| value.to_str().ok());
            let said = said.and_then(|text| text.parse::<IpAddr>().ok());
            assert_eq!(address.client, said.map(|said| said.to_canonical()));
        }
        Some(false) => {
            assert!(
                address
                    .client
                    .is_none_or(|client| trusted(client).is_none())
            );
            check_forgery(peer, &headers, &address);
        }
    }
});

fn resolve(peer: IpAddr, headers: &HeaderMap) -> Result<ClientAddress, Refusal> {
    let head = Head {
        method: &Method::GET,
        target: b"/",
        host: sample::HOST.as_bytes(),
        version: Version::HTTP_11,
        headers,
    };
    Ok(locate(&TABLE, &head, peer, sample::NOW)?.address)
}

/// An IPv6 client answers for all of its /64.
fn check_budget(address: &ClientAddress) {
    match (address.client, address.budget()) {
        (Some(IpAddr::V6(client)), Some(IpAddr::V6(budget))) => {
            assert_eq!(budget.segments()[..4], client.segments()[..4]);
            assert_eq!(budget.segments()[4..], [0; 4]);
        }
        (client, budget) => assert_eq!(client, budget),
    }
}

/// The client's own line comes before those of the proxies.
fn check_forgery(peer: IpAddr, headers: &HeaderMap, before: &ClientAddress) {
    let mut forged = HeaderMap::new();
    forged.append(
        names::X_FORWARDED_FOR,
        HeaderValue::from_static("203.0.113.66"),
    );
    forged.append(
        names::X_FORWARDED_FOR,
        HeaderValue::from_static("not an address"),
    );
    for value in headers.get_all(names::X_FORWARDED_FOR) {
        forged.append(names::X_FORWARDED_FOR, value.clone());
    }
    let after = resolve(peer, &forged).expect("many lines are one list");
    assert_eq!(after.client, before.client);
}
