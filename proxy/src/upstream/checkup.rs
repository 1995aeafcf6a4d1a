//! Tries a route's upstream step by step, for the operator: resolve, connect,
//! TLS, a request. Nothing is injected; no secret is used but the route's
//! client certificate.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use pingora::Error;
use pingora::protocols::Digest;

use super::members::Member;
use super::probe::{Prober, Question, Reached, knock};
use super::{Prepared, Upstreams};

/// What is asked for at last.
pub struct Wish {
    pub method: Method,
    pub path: String,
}

/// One step at one place.
pub struct Step {
    /// A target, or one of its addresses.
    pub place: String,
    pub name: StepName,
    pub took: Duration,
    /// What was found, or why not.
    pub result: Result<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepName {
    Resolve,
    Connect,
    Tls,
    Request,
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Request => "request",
        })
    }
}

impl Upstreams {
    /// Every endpoint of every target; tells each step as it is over.
    pub async fn check_up(&self, prepared: &Prepared, wish: &Wish, tell: &mut dyn FnMut(Step)) {
        for target in &prepared.targets {
            let begun = Instant::now();
            let found = self.book.addresses(&target.addresses, begun).await;
            let result = match found {
                Ok(addresses) => Ok(listed(&addresses)),
                Err(error) => Err(error.reason),
            };
            tell(step(&target.authority, StepName::Resolve, begun, result));
        }
        let members = prepared.refresh(&self.reserved);
        if prepared.unavailable.is_some() {
            let why = "a secret of the client certificate has no value here".to_owned();
            let now = Instant::now();
            tell(step(&prepared.authority, StepName::Tls, now, Err(why)));
            return;
        }
        for target in &prepared.targets {
            for address in target.addresses.last().iter().flat_map(|list| list.iter()) {
                if !prepared.allow_reserved && self.reserved.contains(*address) {
                    let why = "is reserved: allow_reserved_target: true permits it".to_owned();
                    let now = Instant::now();
                    tell(step(address, StepName::Connect, now, Err(why)));
                }
            }
        }
        let prober = Prober::new();
        for member in &members.list {
            let visit = Visit {
                prober: &prober,
                member,
                prepared,
            };
            visit.make(wish, tell).await;
        }
    }
}

/// To one endpoint.
struct Visit<'v> {
    prober: &'v Prober,
    member: &'v Member,
    prepared: &'v Prepared,
}

impl Visit<'_> {
    async fn make(&self, wish: &Wish, tell: &mut dyn FnMut(Step)) {
        let place = self.member.endpoint.address;
        let begun = Instant::now();
        let knocked = knock(place, self.prepared.timeouts.connect).await;
        let is_open = knocked.is_ok();
        let result = knocked
            .map(|()| String::new())
            .map_err(|error| error.to_string());
        tell(step(&place, StepName::Connect, begun, result));
        if !is_open {
            return;
        }
        let begun = Instant::now();
        let reached = self.prober.reach(&self.member.peer, self.longest()).await;
        if self.member.peer.is_tls() {
            let result = match &reached {
                Ok(reached) => Ok(self.tls_found(reached.digest())),
                Err(error) => Err(why(error)),
            };
            tell(step(&place, StepName::Tls, begun, result));
        } else if let Err(error) = &reached {
            tell(step(&place, StepName::Connect, begun, Err(why(error))));
        }
        if let Ok(reached) = reached {
            tell(self.ask(reached, wish).await);
        }
    }

    async fn ask(&self, reached: Reached, wish: &Wish) -> Step {
        let question = Question {
            method: wish.method.clone(),
            path: &wish.path,
            host: &self.member.host,
        };
        let begun = Instant::now();
        let answered = reached.ask(&question).await;
        let asked = format!("{} {}", wish.method, wish.path);
        let result = match answered {
            Ok(status) => Ok(format!("{asked} was answered {status}")),
            Err(error) => Err(format!("{asked}: {}", why(&error))),
        };
        let place = self.member.endpoint.address;
        step(&place, StepName::Request, begun, result)
    }

    fn tls_found(&self, digest: Option<&Digest>) -> String {
        let version = digest.and_then(|digest| digest.ssl_digest.as_ref());
        let version = version.map_or("", |tls| tls.version.as_ref());
        let shown = match self.member.peer.client_cert_key {
            Some(_) => ", client certificate at hand",
            None => "",
        };
        format!("{version} as {}{shown}", self.member.peer.sni)
    }

    fn longest(&self) -> Duration {
        let timeouts = &self.prepared.timeouts;
        (timeouts.connect * 2).max(timeouts.first_byte)
    }
}

fn step(
    place: &impl ToString,
    name: StepName,
    begun: Instant,
    result: Result<String, String>,
) -> Step {
    Step {
        place: place.to_string(),
        name,
        took: begun.elapsed(),
        result,
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
    texts.join(", ")
}

/// The kind of failure and what the library says of it; no request is in it.
fn why(error: &Error) -> String {
    let kind = error.etype().as_str();
    match &error.context {
        Some(context) => format!("{kind}: {}", context.as_str()),
        None => match &error.cause {
            Some(cause) => format!("{kind}: {cause}"),
            None => kind.to_owned(),
        },
    }
}
