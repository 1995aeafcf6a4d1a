use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use knoxcall_bundle::{TargetHost, UnixSeconds};
use knoxcall_filters::plan::{BodyState, Proto, RequestFacts, plan, plan_body};
use knoxcall_filters::rate_limit::limits;
use knoxcall_filters::signature::verify;
use knoxcall_filters::{
    Admitted, EdgeRules, Head, Refusal, RouteTable, Trail, admit, hygiene, locate,
};

use crate::source::{Overrides, Source};

/// Say what would become of a request, without sending anything
///
/// The request is written as for curl, after `--`. Rate limits and replay are
/// named, not counted.
#[derive(Args)]
#[command(
    override_usage = "knoxcall explain --config <FILE> [--from <IP>] -- [-X METHOD] [-H 'NAME: VALUE']... [-d BODY] URL"
)]
pub struct Explain {
    /// The configuration, in YAML
    #[arg(long, env = "KNOXCALL_CONFIG", value_name = "FILE")]
    config: PathBuf,

    /// Accept secrets written into the configuration (`value:`)
    #[arg(long, env = "KNOXCALL_ALLOW_INLINE_SECRETS")]
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

/// A request as it would arrive.
struct Request {
    method: Method,
    target: String,
    host: String,
    headers: HeaderMap,
    body: Bytes,
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
        let mut trail = Trail::default();
        let verdict = judge(&table, &request, self.from, &mut trail);
        print_trail(&trail);
        match verdict {
            Ok(()) => {
                println!("verdict       would be sent");
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

fn judge<'t>(
    table: &'t RouteTable,
    request: &Request,
    from: IpAddr,
    trail: &mut Trail<'t>,
) -> Result<(), Refusal> {
    let head = Head {
        method: &request.method,
        target: request.target.as_bytes(),
        host: request.host.as_bytes(),
        version: Version::HTTP_11,
        headers: &request.headers,
    };
    let now = unix_now();
    hygiene::check_parsed(&head, &hygiene::HeadBudget::default())?;
    let site = locate(table, &head, from, now)?;
    let admitted = admit(&site, &head, now, trail)?;
    print_limits(table, &admitted);
    verify(&admitted, &head, &request.body, now)?;
    if admitted.service.signature.is_some() {
        println!("signature     valid (whether it was used before is not told)");
    }
    print_plan(&admitted, &head, &request.body, now)
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
    println!("sets          {}", names_beyond(&plan.headers, head.headers));
    println!("removes       {}", names_beyond(head.headers, &plan.headers));
    println!("secrets       {}", plan.secrets_used.join(", "));
    if let Some(new) = rewritten {
        println!("body          rewritten, {} bytes", new.content.len());
    }
    Ok(())
}

/// The names in one map that the other has not, or has with other values.
fn names_beyond(these: &HeaderMap, those: &HeaderMap) -> String {
    let differs = |name: &&HeaderName| !these.get_all(*name).iter().eq(those.get_all(*name));
    let names: Vec<&str> = these.keys().filter(differs).map(HeaderName::as_str).collect();
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

impl Request {
    fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut words = words.iter().map(String::as_str);
        let (mut method, mut url, mut headers) = (None, None, HeaderMap::new());
        let mut body = None;
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word {
                "-X" | "--request" => method = Some(Method::from_bytes(value()?.as_bytes())?),
                "-H" | "--header" => add_header(&mut headers, value()?)?,
                "-d" | "--data" | "--data-raw" => body = Some(value()?.to_owned()),
                "curl" | "-s" | "-i" | "-v" => {}
                other if other.starts_with('-') => bail!("{other}: use -X, -H, -d and a URL"),
                other if url.is_none() => url = Some(other.parse::<Uri>().context("URL")?),
                other => bail!("{other}: one URL only"),
            }
        }
        let url =
            url.context("a URL is needed, such as http://acme.localhost:8080/api/v1/things")?;
        let default = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        Ok(Self {
            method: method.unwrap_or(default),
            host: host_of(&url, &headers)?,
            target: url
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            headers,
            body: body.unwrap_or_default().into(),
        })
    }
}

fn add_header(headers: &mut HeaderMap, line: &str) -> anyhow::Result<()> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("-H {line:?}: write NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).context("-H: name")?;
    headers.append(
        name,
        HeaderValue::from_str(value.trim()).context("-H: value")?,
    );
    Ok(())
}

fn host_of(url: &Uri, headers: &HeaderMap) -> anyhow::Result<String> {
    if let Some(host) = headers.get(HOST) {
        return Ok(host.to_str()?.to_owned());
    }
    let authority = url.authority().context("the URL needs a host")?;
    Ok(authority.as_str().to_owned())
}

fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixSeconds(since.map(|elapsed| elapsed.as_secs()).unwrap_or_default())
}
