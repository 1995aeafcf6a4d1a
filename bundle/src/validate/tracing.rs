//! `tracing`: the collector's URL, and the headers that it wants to see. What
//! would be sent to it in the URL itself could be seen by anybody who sees the
//! configuration, so credentials come from the environment.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};

use crate::document::TracingDocument;
use crate::problem::{At, Problems};
use crate::secret::SecretValue;
use crate::settings::Tracing;

use super::{Origin, Sources, header};

const PATH: &str = "/v1/traces";
const EXAMPLE: &str = "write http://HOST:PORT or https://HOST:PORT";

pub(super) fn tracing(
    document: &TracingDocument,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<Tracing> {
    let section = At::ROOT.key("tracing");
    let endpoint = document.otlp_endpoint.as_deref()?;
    if document.service_name.trim().is_empty() {
        problems.add(&section.key("service_name"), "is empty", "");
    }
    let headers = headers(document, &section, sources, problems);
    let traces_url = traces_url(endpoint)
        .map_err(|(message, remedy)| problems.add(&section.key("otlp_endpoint"), message, remedy));
    Some(Tracing {
        traces_url: traces_url.ok()?,
        service_name: document.service_name.clone(),
        sample_ratio: document.sample_ratio,
        headers,
        timeout: Duration::from_millis(document.timeout_ms),
        queue: document.queue as usize,
    })
}

type Wrong = (&'static str, &'static str);

fn traces_url(endpoint: &str) -> Result<Uri, Wrong> {
    let base: Uri = endpoint.parse().map_err(|_| ("is not a URL", EXAMPLE))?;
    let is_known = base.scheme() == Some(&Scheme::HTTP) || base.scheme() == Some(&Scheme::HTTPS);
    let has_host = base.host().is_some_and(|host| !host.is_empty());
    if !is_known || !has_host {
        return Err(("is not an http or https URL", EXAMPLE));
    }
    if base
        .authority()
        .is_some_and(|name| name.as_str().contains('@'))
    {
        return Err(("holds a user or password", "use headers_from_env"));
    }
    if base.query().is_some() || endpoint.contains('#') {
        return Err(("holds a query or fragment", "the base URL alone"));
    }
    if base.path().ends_with(PATH) {
        return Err(("ends in /v1/traces", "leave it out: it is added"));
    }
    let whole = format!("{}{PATH}", endpoint.trim_end_matches('/'));
    whole.parse().map_err(|_| ("is not a URL", EXAMPLE))
}

fn headers(
    document: &TracingDocument,
    section: &At<'_>,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Vec<(HeaderName, SecretValue)> {
    let at = section.key("headers_from_env");
    let mut headers = Vec::with_capacity(document.headers_from_env.len());
    for (name, variable) in &document.headers_from_env {
        let at = at.key(name);
        let name = name_of(name, &at, problems);
        let value = value_of(variable, &at, sources, problems);
        headers.extend(name.zip(value));
    }
    headers
}

fn name_of(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<HeaderName> {
    let name = header::injectable(text, at, problems)?;
    if name == CONTENT_TYPE || name == CONTENT_ENCODING {
        problems.add(at, "cannot be set", "it says how spans are written");
        return None;
    }
    Some(name)
}

fn value_of(
    variable: &str,
    at: &At<'_>,
    sources: &mut dyn Sources,
    problems: &mut Problems,
) -> Option<SecretValue> {
    match sources.secret(Origin::Environment(variable)) {
        Ok(value) if HeaderValue::from_str(value.expose()).is_ok() => Some(value),
        Ok(_) => {
            let remedy = "visible characters and spaces, in one line";
            problems.add(at, "has a value that no header may have", remedy);
            None
        }
        Err(unavailable) => {
            problems.add(at, unavailable.message, unavailable.remedy);
            None
        }
    }
}
