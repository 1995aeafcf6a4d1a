use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http::Method;
use knoxcall_bundle::{Bundle, Loaded, Route, RouteEnvironment, Tenant};
use knoxcall_filters::table::ServiceTarget;

use super::switch;
use crate::source::{Overrides, Source};
use crate::upstream::Upstreams;
use crate::upstream::checkup::{Step, Wish};

/// Try a route's upstream: resolve, connect, TLS, a request
///
/// Every address of every target is tried, and each step told with its time; the first that fails
/// names the reason. The request carries no credential: an answer such as 401 is an answer. Exit
/// code 1: a step failed.
#[derive(Args)]
pub struct Check {
    /// The route, by slug, id or name
    #[arg(value_name = "ROUTE")]
    route: String,

    /// The configuration, in YAML
    #[arg(long, env = "KNOXCALL_CONFIG", value_name = "FILE")]
    config: PathBuf,

    /// Accept secrets written into the configuration (`value:`)
    #[arg(long, env = "KNOXCALL_ALLOW_INLINE_SECRETS", value_parser = switch)]
    allow_inline_secrets: bool,

    /// The environment [default: the route's base]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,

    /// What is asked for [default: the target's path]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// How it is asked for
    #[arg(long, value_enum, default_value_t = Asked::Head)]
    method: Asked,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Asked {
    Head,
    Get,
}

impl Check {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source {
            file: self.config.clone(),
            allow_inline_secrets: self.allow_inline_secrets,
            overrides: Overrides::default(),
        };
        let loaded = source.load()?;
        let (tenant, route) = find(&loaded.bundle, &self.route)?;
        let here = environment(route, self.environment.as_deref())?;
        let wish = self.wish(&here.target.path)?;
        println!("{:<9}{} in {}", "route", route.name, here.environment);
        Ok(match try_out(&loaded, tenant, here, &wish)? {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    fn wish(&self, base: &str) -> anyhow::Result<Wish> {
        let path = match self.path.as_deref().unwrap_or(base) {
            "" => "/",
            path => path,
        };
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("--path: write what begins with /, percent-encoded");
        }
        Ok(Wish {
            method: match self.method {
                Asked::Head => Method::HEAD,
                Asked::Get => Method::GET,
            },
            path: path.to_owned(),
        })
    }
}

/// As requests name routes: by slug, else by id, else by name.
fn find<'b>(bundle: &'b Bundle, text: &str) -> anyhow::Result<(&'b Tenant, &'b Route)> {
    let routes = || {
        let tenants = bundle.tenants.iter();
        tenants.flat_map(|tenant| tenant.routes.iter().map(move |route| (tenant, route)))
    };
    let by_slug = |route: &Route| {
        route
            .slug
            .as_ref()
            .is_some_and(|slug| slug.as_str() == text)
    };
    routes()
        .find(|(_, route)| by_slug(route))
        .or_else(|| routes().find(|(_, route)| route.id.to_string() == text))
        .or_else(|| routes().find(|(_, route)| route.name.as_str() == text))
        .with_context(|| format!("no route is called `{}`", text.escape_debug()))
}

fn environment<'r>(route: &'r Route, named: Option<&str>) -> anyhow::Result<&'r RouteEnvironment> {
    let name = named.unwrap_or(route.base_environment.as_str());
    let mut served = route.environments.iter();
    let found = served.find(|here| here.environment.as_str() == name);
    found.with_context(|| {
        let served = route.environments.iter();
        let names: Vec<&str> = served.map(|here| here.environment.as_str()).collect();
        format!("--environment: the route serves {}", names.join(", "))
    })
}

/// Whether every step went well.
fn try_out(
    loaded: &Loaded,
    tenant: &Tenant,
    here: &RouteEnvironment,
    wish: &Wish,
) -> anyhow::Result<bool> {
    let settings = &loaded.settings;
    let listeners = settings.listeners.iter().map(|listener| listener.address);
    let admin = settings.admin.iter().map(|admin| admin.address);
    let upstreams = Upstreams::new(listeners.chain(admin).collect(), &settings.upstream);
    let prepared = upstreams.prepare(&ServiceTarget {
        tenant: tenant.id,
        environment: here.environment.clone(),
        target: here.target.clone(),
        upstream: here.upstream.clone(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut all_well = true;
    let mut last = String::new();
    let mut tell = |step: Step| {
        all_well &= step.result.is_ok();
        print_step(&step, &mut last);
    };
    runtime.block_on(upstreams.check_up(&prepared, wish, &mut tell));
    Ok(all_well)
}

fn print_step(step: &Step, last: &mut String) {
    if *last != step.place {
        println!("{:<9}{}", "at", step.place);
        last.clone_from(&step.place);
    }
    let took = step.took.as_secs_f64() * 1_000.0;
    let (verdict, text) = match &step.result {
        Ok(found) => ("ok", found),
        Err(reason) => ("FAILED", reason),
    };
    let line = format!("  {:<9}{verdict:<8}{took:>8.1} ms  {text}", step.name);
    println!("{}", line.trim_end());
}
