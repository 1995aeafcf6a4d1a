//! The decision about a request: pure functions of a compiled bundle and the
//! request. No sockets, no clock, no Pingora.

pub mod admit;
pub mod caller;
pub mod certificate;
pub mod cidr;
pub mod client_address;
mod compile;
pub mod digest;
pub mod environment;
pub mod head;
pub mod hygiene;
pub mod inject;
pub mod ip_allowlist;
pub mod leak_guard;
pub mod method;
pub mod names;
pub mod path;
pub mod placeholders;
pub mod plan;
pub mod proxy_protocol;
pub mod rate_limit;
pub mod refusal;
pub mod response_rules;
pub mod route;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod signature;
pub mod table;
pub mod tenant;
#[cfg(test)]
mod testing;
pub mod trace_context;
pub mod upstream_headers;
pub mod websocket;

pub use admit::{Admitted, Caller, ClientAddress, Site, Trail, admit, admit_with, locate};
pub use certificate::ClientCertificate;
pub use compile::EdgeRules;
pub use head::Head;
pub use refusal::Refusal;
pub use table::{FailingTemplate, RouteTable};
