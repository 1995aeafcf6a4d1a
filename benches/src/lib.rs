//! What the benchmarks share: tables of many routes, requests that these admit,
//! and limits that never run out. `make bench` runs all of them;
//! `cargo bench -p knoxcall-benches --bench admit` runs one.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that is set up wrongly measures nothing, and must stop"
)]

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::{IpNet, Ipv4Net};
use knoxcall_bundle::template::Template;
use knoxcall_bundle::{RouteEnvironment, SignatureVersion};
use knoxcall_counters::{Bucket, Clock, Config, Counters, Limit, Taken};
use knoxcall_filters::plan::{Proto, RequestFacts};
use knoxcall_filters::sample::{self, Request};
use knoxcall_filters::signature::{Message, Scope};
use knoxcall_filters::trace_context::Span;
use knoxcall_filters::{
    Admitted, EdgeRules, Refusal, RouteTable, Site, Trail, admit, locate, rate_limit,
};
use smallvec::SmallVec;

/// How many of a table's routes are asked for in turn: enough to leave the
/// processor's caches, as traffic does.
const DRAWN: usize = 4_096;

const NONCE: &[u8] = b"bench-nonce-0001";

pub const REQUEST_ID: &str = "0192f0c1-2b3c-7d4e-8f50-617283940a1b";
static REQUEST_ID_VALUE: HeaderValue = HeaderValue::from_static(REQUEST_ID);

/// What the proxy knows of each request.
pub const FACTS: RequestFacts<'static> = RequestFacts {
    request_id: &REQUEST_ID_VALUE,
    now: sample::NOW,
    proto: Proto::Http,
    span: Span::Absent,
};

/// `routes` routes that ask for the whole chain.
pub fn table(routes: usize) -> RouteTable {
    RouteTable::compile(&sample::bundle(routes), &EdgeRules::default())
}

/// One route, `route-0`, that does what `environment` says.
pub fn table_of(environment: RouteEnvironment) -> RouteTable {
    let mut tenant = sample::tenant();
    for client in &mut tenant.clients {
        client.assignments.push(sample::assignment(None));
    }
    tenant.routes.push(knoxcall_bundle::Route {
        environments: vec![environment],
        ..sample::route(0)
    });
    sample::table(tenant)
}

/// As a small client sends it, to `route-{route}`.
pub fn request(route: usize) -> Request {
    Request::get("/v1/orders/4711?expand=lines")
        .route(&format!("route-{route}"))
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, br")
        .header("user-agent", "warehouse/2.4")
        .header("x-request-id", "a7f3c2")
}

/// [`request`] as a POST of JSON, with a key.
pub fn post() -> Request {
    request(0)
        .by(Method::POST)
        .key(sample::LIVE_KEY)
        .header("content-type", "application/json")
}

/// Requests to routes drawn evenly from `routes`, never two neighbours in turn.
pub fn requests(routes: usize, make: impl Fn(Request) -> Request) -> Vec<Request> {
    let count = routes.min(DRAWN);
    let step = routes / count;
    let order = (0..count).map(|turn| (turn * 1_789) % count);
    order.map(|drawn| make(request(drawn * step))).collect()
}

/// A request whose tenant and client address are known: what is left is the
/// second step of the decision, from route to allowlist. The benchmarks of
/// single filters measure it, with one filter on and nothing else.
pub struct Arrived<'t> {
    site: Site<'t>,
    request: &'t Request,
}

impl<'t> Arrived<'t> {
    pub fn at(table: &'t RouteTable, request: &'t Request, peer: IpAddr) -> Self {
        let site = locate(table, &request.head(), peer, sample::NOW);
        Self {
            site: site.expect("the host is one of the table's"),
            request,
        }
    }

    /// Why it is refused, if it is.
    pub fn admit(&self) -> Option<Refusal> {
        let head = self.request.head();
        admit(&self.site, &head, sample::NOW, &mut Trail::default()).err()
    }
}

/// Every other /24 from 11.0.0.0 on, so that none merges with the next.
pub fn blocks(count: u32) -> impl Iterator<Item = IpNet> {
    (0..count).map(|number| {
        let bits = (11 << 24) + (number << 9);
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), 24))
    })
}

/// Inside of the last of so many [`blocks`].
pub fn last_inside(count: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((11 << 24) + ((count - 1) << 9) + 7))
}

/// With the headers that sign it and `body`, for a route of the whole chain.
pub fn signed(request: Request, version: SignatureVersion, body: &[u8]) -> Request {
    let environment = sample::name("production");
    let now = sample::NOW.0.to_string();
    let message = Message {
        timestamp: now.as_bytes(),
        method: request.method.as_str(),
        target: request.target.as_bytes(),
        body,
        scope: match version {
            SignatureVersion::V1 => None,
            SignatureVersion::V2 => Some(Scope {
                host: request.host.as_bytes(),
                route: sample::route_id(0),
                environment: &environment,
                nonce: NONCE,
            }),
        },
    };
    let headers = message.sign(
        &sample::signature(version),
        sample::SIGNING_SECRET.as_bytes(),
    );
    let mut request = request;
    request.headers.extend(headers);
    request
}

/// The request from the sample client's address.
pub fn admitted<'t, 'h>(table: &'t RouteTable, request: &'h Request) -> Admitted<'t, 'h> {
    let (admitted, _) = sample::decide(table, request, sample::client_address());
    admitted.expect("the request is one that the table serves")
}

pub fn template(text: &str) -> Template {
    Template::parse(text).expect("a constant template is valid")
}

/// A JSON object of about `length` bytes.
pub fn json_body(length: usize) -> Vec<u8> {
    let mut body = String::from(r#"{"auth":{"user":"u-1"},"lines":["#);
    while body.len() + 64 < length {
        body.push_str(r#"{"sku":"A-1002","quantity":3,"price":12.50},"#);
    }
    body.push_str(r#"{}],"note":"leave at the door"}"#);
    body.into_bytes()
}

/// The result of a future that does not wait.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
    .expect("without Redis nothing waits")
}

pub fn counters() -> Counters {
    Counters::new(Config::default()).expect("a configuration without a URL is valid")
}

/// A table's limits, in its order. They count like any other, and regain more
/// than a benchmark can take.
pub struct Limits {
    counters: Counters,
    clock: Clock,
    buckets: Vec<Arc<Bucket>>,
}

const AMPLE: Limit = Limit {
    requests: NonZeroU32::MAX,
    window: Duration::from_secs(1),
    burst: u32::MAX,
};

impl Limits {
    pub fn of(table: &RouteTable) -> Self {
        let counters = counters();
        let specs = table.limits.iter();
        Self {
            buckets: specs
                .map(|spec| counters.bucket(&spec.name, AMPLE))
                .collect(),
            clock: Clock::start(),
            counters,
        }
    }

    /// One token from each limit that the request is subject to.
    pub fn take(&self, admitted: &Admitted<'_, '_>) -> Taken {
        let buckets: SmallVec<[&Arc<Bucket>; 5]> = rate_limit::limits(admitted)
            .filter_map(|index| self.buckets.get(index.0))
            .collect();
        ready(self.counters.take(&buckets, self.clock.now()))
    }

    /// One token from each of the first `count` limits.
    pub fn take_first(&self, count: usize) -> Taken {
        let buckets = self
            .buckets
            .get(..count)
            .expect("the table has as many limits");
        ready(self.counters.take(buckets, self.clock.now()))
    }
}
