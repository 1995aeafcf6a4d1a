//! The edge proxy: from an accepted connection to a finished record.
//!
//! [`connection`] reads and judges raw heads; [`exchange`] serves one request:
//! [`decision`] decides it, [`attempt`] tries its upstream, [`relay`] carries
//! request and answer. [`websocket`] is for connections that become one.

pub mod answer;
mod answer_head;
mod attempt;
pub mod body;
pub mod buffered;
mod client_stream;
pub mod connection;
pub mod connections;
pub mod connector;
pub mod context;
mod deadline;
pub mod decision;
mod exchange;
pub mod failure;
mod findings;
mod grpc;
mod head_reader;
mod header_edit;
mod http2;
mod malformed;
mod outgoing;
mod pace;
mod passage;
mod patience;
mod relay;
#[cfg(test)]
mod tests;
mod to_client;
mod upstream_session;
mod upstream_stream;
pub mod websocket;
mod wrapped;
