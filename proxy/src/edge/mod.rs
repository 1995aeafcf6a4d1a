//! The edge proxy: from an accepted connection to a finished record.
//!
//! [`connection`] reads and judges raw heads, [`phases`] is Pingora's view of a
//! request, [`decision`] the five calls that decide it.

pub mod answer;
pub mod body;
pub mod connection;
pub mod connections;
pub mod context;
mod deadline;
pub mod decision;
pub mod failure;
mod findings;
mod head_reader;
mod header_edit;
mod malformed;
pub mod phases;
mod replay;
#[cfg(test)]
mod tests;
