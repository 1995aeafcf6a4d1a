//! A name in `clients[].certificates` says nothing of who has issued the
//! certificate. So where clients are known by certificates, all listeners that
//! ask for one believe the same CAs: else those of one listener could make
//! themselves the clients of another.

use crate::document::{ClientAuthName, ProcessDocument, TenantDocument};
use crate::problem::{At, Problems};

use super::context::place;

pub(crate) fn client_authorities(
    tenant: &TenantDocument,
    process: &ProcessDocument,
    problems: &mut Problems,
) {
    let mut clients = tenant.clients.iter();
    if clients.all(|client| client.certificates.is_empty()) {
        return;
    }
    let mut files = files(process);
    let Some((first, authorities)) = files.next() else {
        return;
    };
    let section = At::ROOT.key("listeners");
    for (index, _) in files.filter(|(_, file)| *file != authorities) {
        let listener = section.index(index);
        let tls = listener.key("tls");
        let message = "is another one than that of";
        let remedy = "a CA of either could make itself any client of clients.certificates: give \
                      all listeners the same client_ca_file, or start a gateway for each";
        let other = place("listeners", first);
        problems.add_clash(&tls.key("client_ca_file"), message, other, remedy);
    }
}

/// By listener, where certificates are asked for.
fn files(process: &ProcessDocument) -> impl Iterator<Item = (usize, &str)> {
    let listeners = process.listeners.iter().enumerate();
    listeners.filter_map(|(index, listener)| {
        let tls = listener.tls.as_ref()?;
        match tls.client_auth_or_default() {
            ClientAuthName::None => None,
            ClientAuthName::Optional => Some((index, tls.client_ca_file.as_deref()?)),
        }
    })
}
