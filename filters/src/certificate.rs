//! A client's certificate as a credential: its names, and until when it holds.
//! Whoever builds one has verified it; what it stands for is decided here, by
//! the clients that are assigned to a route.

use std::sync::Arc;

use hashbrown::HashMap;
use knoxcall_bundle::{CertificateName, UnixSeconds};

use crate::table::ClientEntry;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// All of them, whether or not anybody has configured one.
    names: Box<[CertificateName]>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl ClientCertificate {
    pub fn new(
        names: impl IntoIterator<Item = CertificateName>,
        (not_before, not_after): (UnixSeconds, UnixSeconds),
    ) -> Self {
        Self {
            names: names.into_iter().collect(),
            not_before,
            not_after,
        }
    }

    /// One that stands for nobody: presented, and no longer believed.
    pub fn nobody() -> Self {
        Self {
            names: Box::default(),
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(u64::MAX),
        }
    }

    /// A connection may outlive the certificate that it was made with.
    pub(crate) fn holds_at(&self, now: UnixSeconds) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Every name is looked up, also behind one that is found.
    pub(crate) fn find<'t>(
        &self,
        known: &'t HashMap<CertificateName, Arc<ClientEntry>>,
        lookups: &mut u32,
    ) -> Option<&'t Arc<ClientEntry>> {
        let mut found = None;
        for name in &self.names {
            *lookups += 1;
            found = found.or(known.get(name));
        }
        found
    }
}
