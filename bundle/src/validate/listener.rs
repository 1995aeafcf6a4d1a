//! Listeners: their addresses, and who speaks the PROXY protocol to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::document::{ListenerDocument, ProcessDocument, ProxyProtocolDocument};
use crate::problem::{At, Problems};
use crate::settings::{Listener, MOST_LISTENERS};

use super::{Sources, address, listener_tls};

const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The listeners, and the place of each in the document.
pub(super) fn listeners(
    document: &ProcessDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> (Vec<Listener>, Vec<usize>) {
    if document.listeners.is_empty() {
        return (vec![Listener::plain(DEFAULT)], vec![0]);
    }
    let section = At::ROOT.key("listeners");
    tell_too_many(document.listeners.len(), &section, problems);
    let listeners = document.listeners.iter().enumerate();
    listeners
        .filter_map(|(index, document)| {
            let at = section.index(index);
            Some((listener(document, sources, &at, problems)?, index))
        })
        .unzip()
}

fn tell_too_many(count: usize, section: &At<'_>, problems: &mut Problems) {
    if count > MOST_LISTENERS {
        let message = format!("has {count} entries, of {MOST_LISTENERS} at most");
        let remedy = "an upgrade hands all sockets over at once; start several gateways";
        problems.add(section, message, remedy);
    }
}

fn listener(
    document: &ListenerDocument,
    sources: &mut dyn Sources,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Listener> {
    let address = address::socket(&document.address, &at.key("address"), problems);
    let proxies = document.proxy_protocol.as_ref();
    let proxy_protocol = proxies.map(|proxies| from(proxies, &at.key("proxy_protocol"), problems));
    let tls = match &document.tls {
        None => None,
        // In no case in clear where TLS is asked for.
        Some(tls) => Some(listener_tls::tls(tls, sources, &at.key("tls"), problems)?),
    };
    Some(Listener {
        address: address?,
        http2: document.http2.unwrap_or(true),
        proxy_protocol,
        tls,
    })
}

fn from(document: &ProxyProtocolDocument, at: &At<'_>, problems: &mut Problems) -> Vec<IpNet> {
    let at = at.key("from");
    if document.from.is_empty() {
        let remedy = "name the proxies' own addresses or ranges";
        problems.add(&at, "names nobody: all would be refused", remedy);
    }
    let ranges = address::ranges(&document.from, &at, problems);
    for (index, range) in ranges.iter().enumerate() {
        if range.prefix_len() == 0 {
            let remedy = "everybody could then choose the address it comes from: \
                          name the proxies' own ranges";
            problems.add(&at.index(index), "trusts every address", remedy);
        }
    }
    ranges
}
