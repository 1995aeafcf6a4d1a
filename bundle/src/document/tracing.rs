//! Spans of requests, for a collector that speaks OTLP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Spans of requests, exported by OTLP over HTTP (protobuf).
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracingDocument {
    /// The collector's base URL, for example `http://127.0.0.1:4318`; spans are
    /// posted to `/v1/traces` below it. Default: none, and no spans are made.
    pub otlp_endpoint: Option<String>,
    /// The `service.name` that spans are shown under.
    pub service_name: String,
    /// Of the traces that begin here, the share whose spans are exported, from
    /// 0 to 1. A trace that a client has begun goes by its own sampled flag.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample_ratio: f64,
    /// Headers that are sent to the collector, by name; the value is the name
    /// of the environment variable that holds the header's value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_from_env: BTreeMap<String, String>,
    /// Milliseconds for one export, from connecting to the collector's answer.
    #[schemars(range(min = 1, max = 600_000))]
    pub timeout_ms: u64,
    /// Spans that wait to be exported; beyond it they are dropped and counted.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub queue: u32,
}

impl Default for TracingDocument {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            service_name: "knoxcall".to_owned(),
            sample_ratio: 1.0,
            headers_from_env: BTreeMap::new(),
            timeout_ms: 10_000,
            queue: 8_192,
        }
    }
}
