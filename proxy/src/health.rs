//! `/healthz` (may traffic come here?) and `/livez` (does the process answer?).

use http::Method;
use knoxcall_filters::{Head, names};

use crate::edge::answer::Answer;
use crate::gateway::Gateway;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Ready,
    Live,
}

impl Probe {
    /// The probe that exactly this path and method ask for.
    pub fn of(method: &Method, path: &[u8]) -> Option<Self> {
        let asks = *method == Method::GET || *method == Method::HEAD;
        match path {
            b"/healthz" if asks => Some(Self::Ready),
            b"/livez" if asks => Some(Self::Live),
            _ => None,
        }
    }

    /// On the traffic listeners: a request that names a route is a request for
    /// that route, whatever its path is.
    pub fn of_request(head: &Head) -> Option<Self> {
        let probe = Self::of(head.method, head.target)?;
        (!head.headers.contains_key(names::ROUTE)).then_some(probe)
    }

    pub fn answer(self, gateway: &Gateway) -> Answer {
        let (status, body) = match self {
            Self::Live => (200, serde_json::json!({ "status": "ok" })),
            Self::Ready if gateway.is_stopping() && !gateway.is_succeeded() => {
                (503, serde_json::json!({ "status": "stopping" }))
            }
            Self::Ready => (200, ready(gateway)),
        };
        Answer {
            status,
            headers: Vec::new(),
            body: body.to_string().into(),
        }
    }
}

fn ready(gateway: &Gateway) -> serde_json::Value {
    let sample = gateway.sample();
    serde_json::json!({
        "status": "ok",
        "routes": sample.routes,
        "bundle_age_seconds": sample.bundle_age_seconds,
        "connections": sample.connections_open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_exact_paths_only() {
        assert_eq!(Probe::of(&Method::GET, b"/healthz"), Some(Probe::Ready));
        assert_eq!(Probe::of(&Method::HEAD, b"/livez"), Some(Probe::Live));
        for path in [
            &b"/healthz/"[..],
            b"/healthz?x",
            b"/HEALTHZ",
            b"//healthz",
            b"/",
        ] {
            assert_eq!(Probe::of(&Method::GET, path), None);
        }
        assert_eq!(Probe::of(&Method::POST, b"/healthz"), None);
    }
}
