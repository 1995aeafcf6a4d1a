//! The program's log and the request log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The program's log and the request log.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingDocument {
    /// What the program's log holds; it goes to standard error.
    pub level: LogLevel,
    /// How the program's log is written.
    pub format: LogFormat,
    /// One JSON line for each request.
    pub requests: RequestLogDocument,
    /// What is masked in request records, beside what always is.
    pub obfuscate: ObfuscateDocument,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `human` on a terminal, else `json`.
    #[default]
    Auto,
    Json,
    Human,
}

/// Where request records go.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestLogDocument {
    /// `stdout`, `none`, or the path of a file (relative to this file).
    pub path: String,
    /// Bytes after which the file is rotated.
    #[schemars(range(min = 65_536, max = 1_099_511_627_776_u64))]
    pub rotate_bytes: u64,
    /// Rotated files that are kept.
    #[schemars(range(min = 0, max = 10_000))]
    pub keep_files: u32,
    /// Records that wait to be written; beyond it they are dropped and counted.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub queue: u32,
    /// Milliseconds a record waits at most before it is written.
    #[schemars(range(min = 1, max = 60_000))]
    pub flush_interval_ms: u64,
    /// Request headers that are recorded; credentials among them are masked.
    pub capture_headers: Vec<String>,
    /// Record request bodies that were read whole.
    pub capture_body: bool,
}

impl Default for RequestLogDocument {
    fn default() -> Self {
        Self {
            path: "stdout".to_owned(),
            rotate_bytes: 104_857_600,
            keep_files: 10,
            queue: 65_536,
            flush_interval_ms: 200,
            capture_headers: Vec::new(),
            capture_body: false,
        }
    }
}

/// What is masked in request records, beside credentials and every secret.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObfuscateDocument {
    /// Header names.
    pub headers: Vec<String>,
    /// Names of query parameters.
    pub query: Vec<String>,
    /// Places in JSON bodies: `$.user.ssn`, `$.items[*].card`, `$['a b']`, `$..pin`.
    pub json_paths: Vec<String>,
    /// Regular expressions; what they match is masked wherever it stands.
    pub patterns: Vec<String>,
}
