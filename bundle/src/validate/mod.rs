//! From the document as written to what the data plane reads, with every
//! mistake told. What cannot be understood is left out: the result is only
//! used where there is no problem at all.

mod address;
mod api_key;
mod body;
mod callers;
mod client;
mod client_authorities;
mod context;
mod defaults;
mod header;
mod header_value;
mod injection;
mod leak_guard;
mod limit;
mod listener;
mod listener_tls;
mod masking;
mod match_rule;
mod own_listeners;
mod pool;
mod process;
mod redis_url;
mod response;
mod route;
mod secret;
mod settings_merge;
mod signature;
mod target;
mod templates;
mod tenant;
mod time;
mod tracing;
mod upstream;
mod upstream_certificate;

use std::path::PathBuf;
use std::sync::Arc;

use crate::secret::SecretValue;
use crate::settings::TicketKey;

pub(crate) use client_authorities::client_authorities;
pub(crate) use defaults::fill_route_defaults;
pub(crate) use own_listeners::own_listeners;
pub(crate) use process::process;
pub use target::is_reserved;
pub(crate) use tenant::tenant;

/// Where a secret's value is, as the document says.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    Environment(&'a str),
    File(&'a str),
    Inline(&'a str),
}

/// What the document only names.
pub(crate) trait Sources {
    fn secret(&mut self, origin: Origin<'_>) -> Result<SecretValue, Unavailable>;

    /// Certificates in PEM: at least one.
    fn certificates(&mut self, file: &str) -> Result<Arc<str>, Unavailable>;

    /// A private key in PEM, under the same rules as a secret.
    fn private_key(&mut self, file: &str) -> Result<SecretValue, Unavailable>;

    /// The key material of session tickets, under the same rules as a secret.
    fn ticket_key(&mut self, file: &str) -> Result<TicketKey, Unavailable>;

    /// A path of the document as the process sees it.
    fn resolve(&self, path: &str) -> PathBuf;
}

/// Why something that the document names is not to be had. Quotes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Unavailable {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}
