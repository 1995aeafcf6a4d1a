mod request;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use knoxcall_bundle::settings::Settings;
use knoxcall_bundle::{TargetHost, UnixSeconds};
use knoxcall_filters::hygiene::HeadBudget;
use knoxcall_filters::plan::{
    BodyNeed, BodyState, Proto, RequestFacts, body_need, plan, plan_body,
};
use knoxcall_filters::rate_limit::limits;
use knoxcall_filters::signature::{presented, verify};
use knoxcall_filters::trace_context::Span;
use knoxcall_filters::{
    Admitted, EdgeRules, Head, Refusal, RouteTable, Trail, admit, hygiene, locate,
};

use super::switch;
use crate::health::Probe;
use crate::source::{Overrides, Source};
use request::Request;

/// Say what would become of a request, without sending anything
///
/// The request is written as for curl, after `--`; of curl's flags -X, -H, -d, --data-raw,
/// --data-binary and --json are understood, -i, -k, -L, -s, -S and -v are passed over. The path is
/// taken as it is written, as by --path-as-is. Rate limits and replay are named, not counted. A
/// caller that is known by a client certificate alone cannot be tried: the request comes without.
#[derive(Args)]
#[command(
    override_usage = "knoxcall explain --config <FILE> [--from <IP>] -- [-X METHOD] [-H 'NAME: VALUE']... [-d BODY] URL"
)]
pub struct Explain {
    /// The configuration, in YAML
    #[arg(long, env = "KNOXCALL_CONFIG", value_name = "FILE")]
    config: PathBuf,

    /// Accept secrets written into the configuration (`value:`)
    #[arg(long, env = "KNOXCALL_ALLOW_INLINE_SECRETS", value_parser = switch)]
    allow_inline_secrets: bool,

    /// The address the connection comes from
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,

    /// [-X METHOD] [-H 'NAME: VALUE']... [-d BODY] URL
    #[arg(
        last = true,
        required = true,
        allow_hyphen_values = true,
        value_name = "REQUEST"
    )]
    request: Vec<String>,
}

impl Explain {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source {
            file: self.config,
            allow_inline_secrets: self.allow_inline_secrets,
            overrides: Overrides::default(),
        };
        let loaded = source.load()?;
        let edge = EdgeRules {
            trusted_proxies: loaded
                .settings
                .trusted_proxies
                .iter()
                .map(|proxy| (proxy.cidr, proxy.cf_connecting_ip))
                .collect(),
        };
        let table = RouteTable::compile(&loaded.bundle, &edge);
        let request = Request::parse(&self.request)?;
        let bounds = Bounds::of(&loaded.settings);
        let mut trail = Trail::default();
        let verdict = judge(&table, bounds, &request, self.from, &mut trail);
        print_trail(&trail);
        match verdict {
            Ok(Verdict::Sent) => {
                println!("verdict       would be sent");
                Ok(ExitCode::SUCCESS)
            }
            Ok(Verdict::Health) => {
                println!("verdict       answered by the gateway: health");
                Ok(ExitCode::SUCCESS)
            }
            Err(refusal) => {
                println!(
                    "verdict       refused: {} {}: {}",
                    refusal.status().as_u16(),
                    refusal.code(),
                    refusal.message()
                );
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// What becomes of a request that is not refused.
enum Verdict {
    Sent,
    Health,
}

/// How large a request may be.
#[derive(Clone, Copy)]
struct Bounds {
    head: HeadBudget,
    inspected_body: usize,
}

impl Bounds {
    fn of(settings: &Settings) -> Self {
        Self {
            head: HeadBudget {
                bytes: settings.limits.head_bytes,
                fields: settings.limits.head_fields,
            },
            inspected_body: settings.limits.max_inspected_body,
        }
    }
}

fn judge<'t>(
    table: &'t RouteTable,
    bounds: Bounds,
    request: &Request,
    from: IpAddr,
    trail: &mut Trail<'t>,
) -> Result<Verdict, Refusal> {
    let head = Head {
        method: &request.method,
        target: request.target.as_bytes(),
        host: request.host.as_bytes(),
        version: Version::HTTP_11,
        headers: &request.headers,
    };
    let now = unix_now();
    hygiene::check_parsed(&head, &bounds.head)?;
    if Probe::of_request(&head).is_some() {
        return Ok(Verdict::Health);
    }
    let site = locate(table, &head, from, now)?;
    let admitted = admit(&site, &head, now, trail)?;
    print_limits(table, &admitted);
    judge_body(&admitted, &head, bounds, &request.body, now)?;
    print_plan(&admitted, &head, &request.body, now)?;
    Ok(Verdict::Sent)
}

fn judge_body(
    admitted: &Admitted,
    head: &Head,
    bounds: Bounds,
    body: &Bytes,
    now: UnixSeconds,
) -> Result<(), Refusal> {
    let signed = admitted.service.signature.is_some();
    if signed {
        presented(admitted, head, now)?;
    }
    match body_need(admitted, head.method) {
        BodyNeed::Whole if body.len() > bounds.inspected_body => {
            return Err(Refusal::BodyTooLarge);
        }
        BodyNeed::Whole | BodyNeed::Stream => {}
    }
    if signed {
        verify(admitted, head, body, now)?;
        println!("signature     valid (whether it was used before is not told)");
    }
    Ok(())
}

fn print_limits(table: &RouteTable, admitted: &Admitted) {
    for spec in limits(admitted).filter_map(|index| table.limits.get(index.0)) {
        println!(
            "limit         {}: {} in {} s, burst {}",
            spec.scope,
            spec.rate.requests,
            spec.rate.window.as_secs(),
            spec.rate.burst
        );
    }
}

/// Names of headers, never their values: one may be a secret.
fn print_plan(
    admitted: &Admitted,
    head: &Head,
    body: &Bytes,
    now: UnixSeconds,
) -> Result<(), Refusal> {
    let facts = RequestFacts {
        request_id: &HeaderValue::from_static("00000000-0000-7000-8000-000000000000"),
        now,
        proto: Proto::Http,
        span: Span::Absent,
    };
    let rewritten = plan_body(admitted, head, body, &facts)?;
    let plan = plan(
        admitted,
        head,
        BodyState::of(body, rewritten.as_ref()),
        &facts,
    )?;
    let target = &admitted.rules.target.target;
    let host = match &target.host {
        TargetHost::Name(name) => name.to_string(),
        TargetHost::Address(address) => address.to_string(),
    };
    println!("upstream      {host} port {}", target.port);
    println!("path          {}", plan.path_and_query.escape_ascii());
    println!(
        "sets          {}",
        names_beyond(&plan.headers, head.headers)
    );
    println!(
        "removes       {}",
        names_beyond(head.headers, &plan.headers)
    );
    println!("secrets       {}", plan.secrets_used.join(", "));
    if let Some(new) = rewritten {
        println!("body          rewritten, {} bytes", new.content.len());
    }
    Ok(())
}

/// The names in one map that the other has not, or has with other values.
fn names_beyond(these: &HeaderMap, those: &HeaderMap) -> String {
    let differs = |name: &&HeaderName| !these.get_all(*name).iter().eq(those.get_all(*name));
    let names: Vec<&str> = these
        .keys()
        .filter(differs)
        .map(HeaderName::as_str)
        .collect();
    names.join(", ")
}

fn print_trail(trail: &Trail) {
    if let Some(tenant) = trail.tenant {
        println!("tenant        {}", tenant.slug);
    }
    if let Some(address) = trail.address {
        match address.client {
            Some(client) => println!("client from   {client}"),
            None => println!("client from   unknown: the trusted proxy named no valid address"),
        }
    }
    if let Some(route) = trail.route {
        println!("route         {} ({})", route.name, route.id);
    }
    if let Some(service) = trail.service {
        println!("environment   {}", service.environment);
    }
    if let Some(key) = trail.key {
        println!("key           {}", key.id);
    }
    if let Some(client) = trail.client {
        println!("client        {}", client.name);
    }
    if let Some(how) = trail.identification {
        println!("known by      {how}");
    }
    if let Some(why) = trail.unrecognised {
        println!("unrecognised  {why:?} (the caller is told only 401)");
    }
}

fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixSeconds(since.map(|elapsed| elapsed.as_secs()).unwrap_or_default())
}
