use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http::HeaderName;
use knoxcall_bundle::ids::{EnvironmentName, RouteId};
use knoxcall_bundle::{SecretValue, Signature, SignatureVersion};
use knoxcall_filters::signature::{Message, Scope, is_nonce};
use uuid::Uuid;

/// The year 5138. Milliseconds of our days are later.
const LAST_SECOND: u64 = 99_999_999_999;

/// Make the headers of a signed request, one `-H` argument for curl a line
///
/// docs/signing.md defines what is signed. The secret is taken from an
/// environment variable or a file, never from the command line, where other
/// users could read it.
#[derive(Args)]
pub struct Sign {
    /// The environment variable that holds the signing secret, taken as it is
    #[arg(long, value_name = "NAME", required_unless_present = "secret_file")]
    secret_env: Option<String>,

    /// The file that holds the signing secret: nobody else may read it; one newline at its end is
    /// not part of it
    #[arg(long, value_name = "FILE", conflicts_with = "secret_env")]
    secret_file: Option<PathBuf>,

    /// What is signed
    #[arg(long, value_enum, default_value_t = Version::V1)]
    version: Version,

    /// The request's method
    #[arg(short = 'X', long, default_value = "GET", value_parser = method)]
    method: http::Method,

    /// The path and query, exactly as they are sent
    #[arg(long, value_name = "/PATH?QUERY", value_parser = target)]
    target: String,

    /// The request's body [default: none]
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,

    /// The file that holds the request's body
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,

    /// v2: the Host header as it is sent, port included
    #[arg(long, value_name = "HOST", required_if_eq("version", "v2"))]
    host: Option<String>,

    /// v2: the route's id
    #[arg(long, value_name = "UUID", required_if_eq("version", "v2"))]
    route_id: Option<Uuid>,

    /// v2: the environment that serves the request
    #[arg(long, value_name = "NAME", required_if_eq("version", "v2"))]
    environment: Option<String>,

    /// v2: 16 to 128 of A-Z, a-z, 0-9, - and _, never used before [default: random]
    #[arg(long)]
    nonce: Option<String>,

    /// Unix seconds [default: now]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LAST_SECOND))]
    timestamp: Option<u64>,

    /// The header of the signature, if the route names another
    #[arg(long, value_name = "NAME", default_value = "x-signature")]
    signature_header: HeaderName,

    /// The header of the timestamp, if the route names another
    #[arg(long, value_name = "NAME", default_value = "x-timestamp")]
    timestamp_header: HeaderName,

    /// v2: the header of the nonce, if the route names another
    #[arg(long, value_name = "NAME", default_value = "x-nonce")]
    nonce_header: HeaderName,
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    /// Timestamp, method, target, body
    V1,
    /// Also host, route, environment and a nonce
    V2,
}

impl Sign {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let secret = self.secret()?;
        let body = self.body()?;
        let environment = self.environment()?;
        let nonce = self
            .nonce
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        if !is_nonce(nonce.as_bytes()) {
            bail!("--nonce must be 16 to 128 of A-Z, a-z, 0-9, - and _");
        }
        let scope = match (self.version, &self.host, self.route_id, &environment) {
            (Version::V2, Some(host), Some(route), Some(environment)) => Some(Scope {
                host: host.as_bytes(),
                route: RouteId(route),
                environment,
                nonce: nonce.as_bytes(),
            }),
            (Version::V2, ..) => bail!("v2 needs --host, --route-id and --environment"),
            (Version::V1, ..) => None,
        };
        let timestamp = self.timestamp.map_or_else(now, Ok)?.to_string();
        let message = Message {
            timestamp: timestamp.as_bytes(),
            method: self.method.as_str(),
            target: self.target.as_bytes(),
            body: &body,
            scope,
        };
        for (name, value) in message.sign(&self.rule(), secret.expose().as_bytes()) {
            println!("-H '{name}: {}'", value.to_str()?);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn secret(&self) -> anyhow::Result<SecretValue> {
        let text = match (&self.secret_env, &self.secret_file) {
            (Some(name), _) => {
                std::env::var(name).with_context(|| format!("--secret-env: {name} is not set"))?
            }
            (None, Some(path)) => {
                secret_in(path).with_context(|| format!("--secret-file: {}", path.display()))?
            }
            (None, None) => bail!("--secret-env or --secret-file is needed"),
        };
        if text.is_empty() {
            bail!("the signing secret is empty");
        }
        Ok(SecretValue::new(text))
    }

    fn body(&self) -> anyhow::Result<Vec<u8>> {
        match &self.body_file {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("--body-file: {}", path.display()))
            }
            None => Ok(self.body.clone().unwrap_or_default().into_bytes()),
        }
    }

    fn environment(&self) -> anyhow::Result<Option<EnvironmentName>> {
        self.environment
            .as_deref()
            .map(|name| EnvironmentName::try_from(name).context("--environment"))
            .transpose()
    }

    fn rule(&self) -> Signature {
        Signature {
            version: match self.version {
                Version::V1 => SignatureVersion::V1,
                Version::V2 => SignatureVersion::V2,
            },
            tolerance: std::time::Duration::ZERO,
            signature_header: self.signature_header.clone(),
            timestamp_header: self.timestamp_header.clone(),
            nonce_header: self.nonce_header.clone(),
        }
    }
}

/// By the rules of `from_file`.
fn secret_in(path: &Path) -> anyhow::Result<String> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o027 != 0 {
        bail!(
            "others may use the file, or its group may write it (mode {:04o}): chmod 600",
            mode & 0o7777
        );
    }
    let mut text = std::fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn method(word: &str) -> Result<http::Method, &'static str> {
    // They are told apart by case, and every one that is known is in capitals.
    if word.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("write it in capitals, as it is sent");
    }
    word.parse().map_err(|_| "it is not a method")
}

fn target(text: &str) -> Result<String, &'static str> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("it begins with /"),
    }
}

fn now() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(since.as_secs())
}
