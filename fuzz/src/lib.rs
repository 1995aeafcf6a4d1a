//! What the fuzz targets share: requests written as text, so that people can
//! read the seeds and the findings, and a gateway of one route that serves
//! them. A target checks what must hold of every input, not just that nothing
//! panics.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use knoxcall_bundle::{RouteEnvironment, SecretValue};
use knoxcall_filters::plan::{Proto, RequestFacts};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::trace_context::Span;
use knoxcall_filters::{Admitted, Head, RouteTable};

pub const REQUEST_ID: &str = "0192f0c1-2b3c-7d4e-8f50-617283940a1b";
static REQUEST_ID_VALUE: HeaderValue = HeaderValue::from_static(REQUEST_ID);

/// What the proxy knows of each request.
pub const FACTS: RequestFacts<'static> = RequestFacts {
    request_id: &REQUEST_ID_VALUE,
    now: sample::NOW,
    proto: Proto::Http,
    span: Span::Absent,
};

/// A request as its text says it: `METHOD target`, lines of headers, an empty
/// line, the body. Lines end with a line feed.
pub struct Sent<'d> {
    pub method: Method,
    pub target: &'d [u8],
    pub host: &'d [u8],
    pub headers: HeaderMap,
    pub body: &'d [u8],
}

impl<'d> Sent<'d> {
    /// `None` for what no parser of HTTP would let through.
    pub fn read(text: &'d [u8]) -> Option<Self> {
        let end = memchr::memmem::find(text, b"\n\n").unwrap_or(text.len());
        let (head, body) = text.split_at(end);
        let (line, lines) = cut(head, b'\n');
        let (method, target) = cut(line, b' ');
        let host = fields(lines).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
        Some(Self {
            method: Method::from_bytes(method).ok()?,
            target,
            host: host.map_or(b"", |(_, value)| value),
            headers: headers(lines)?,
            body: body.strip_prefix(b"\n\n").unwrap_or_default(),
        })
    }

    pub fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            target: self.target,
            host: self.host,
            version: Version::HTTP_11,
            headers: &self.headers,
        }
    }

    pub fn value(&self, name: &str) -> &[u8] {
        self.headers.get(name).map_or(b"", HeaderValue::as_bytes)
    }
}

/// Lines of `name: value`. `None` where HTTP could not carry one of them.
pub fn headers(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields(lines) {
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.map(|line| {
        let (name, value) = cut(line, b':');
        (name, value.trim_ascii())
    })
}

/// Lets panics unwind, where libFuzzer ends the process on the first one: the
/// product catches those of Liquid's filters. Any other one still ends it, as it
/// cannot leave the target. To be called first.
pub fn let_panics_unwind() {
    std::panic::set_hook(Box::new(|panic| {
        let of_liquid = |file: &str| file.contains("/liquid") || file.contains("core/src/num");
        if !panic.location().is_some_and(|at| of_liquid(at.file())) {
            eprintln!("{panic}");
        }
    }));
}

/// Before and after the first `at`; all and nothing where there is none.
pub fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(at, text) {
        Some(found) => (&text[..found], &text[found + 1..]),
        None => (text, b""),
    }
}

pub fn contains(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

/// A gateway with one route, `route-0`, that does what `environment` says. The
/// client of the sample is assigned to it.
pub fn gateway(environment: RouteEnvironment) -> RouteTable {
    gateway_with(Vec::new(), Vec::new(), environment)
}

/// With further secrets and variables.
pub fn gateway_with(
    secrets: Vec<knoxcall_bundle::Secret>,
    variables: Vec<knoxcall_bundle::Variable>,
    environment: RouteEnvironment,
) -> RouteTable {
    let mut tenant = sample::tenant();
    tenant.secrets.extend(secrets);
    tenant.variables.extend(variables);
    tenant.clients[0].assignments.push(sample::assignment(None));
    tenant.routes.push(knoxcall_bundle::Route {
        environments: vec![environment],
        ..sample::route(0)
    });
    sample::table(tenant)
}

/// A secret with a value in `production`.
pub fn secret(number: usize, name: &str, value: &str) -> knoxcall_bundle::Secret {
    knoxcall_bundle::Secret {
        id: knoxcall_bundle::ids::SecretId(sample::id(3, number)),
        name: sample::name(name),
        values: [(
            sample::name("production"),
            SecretValue::new(value.to_owned()),
        )]
        .into(),
    }
}

/// Served by [`gateway`], for the client's address.
pub fn request(method: &Method) -> Request {
    Request::get("/a").by(method.clone()).route("route-0")
}

pub fn admitted<'t, 'h>(table: &'t RouteTable, request: &'h Request) -> Admitted<'t, 'h> {
    let (admitted, _) = sample::decide(table, request, sample::client_address());
    admitted.unwrap()
}
