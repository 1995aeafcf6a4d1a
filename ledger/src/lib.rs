//! What must not be lost: one record a request, and the sink it goes to.
//!
//! The request path hands a [`RequestRecord`] to [`Ledger::submit`], which
//! never waits, never allocates and never fails the request. A thread of the
//! ledger's own masks what must not be seen ([`Obfuscator`]) and writes one
//! line of JSON a record. This crate knows nothing of HTTP libraries, bundles
//! or async runtimes: it outlives all of them.

mod json;
mod ledger;
mod line;
mod obfuscate;
mod record;
#[cfg(test)]
mod sample;
mod sink;
mod writer;

pub use ledger::{Config, Error, Ledger};
pub use line::Encoder;
pub use obfuscate::{MASK, Obfuscator, RuleError, Rules};
pub use record::{Body, BodyKind, EndedBy, Masked, RequestRecord, Text};
pub use sink::Sink;
pub use writer::Stats;
