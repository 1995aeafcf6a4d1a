//! Where spans of requests go, and of which requests.

use std::time::Duration;

use http::{HeaderName, Uri};

use crate::secret::SecretValue;

#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Absolute, `http` or `https`, without user and query.
    pub traces_url: Uri,
    pub service_name: String,
    /// From 0 to 1.
    pub sample_ratio: f64,
    /// The values are sound as those of headers.
    pub headers: Vec<(HeaderName, SecretValue)>,
    pub timeout: Duration,
    /// Spans that wait to be exported.
    pub queue: usize,
}
