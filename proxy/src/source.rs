//! Where the configuration comes from, and what the deployment says beside it:
//! flags and `KNOXCALL_*` variables win over the file, at the start and at
//! every reload alike.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Instant;

use knoxcall_bundle::settings::{Admin, Listener, MOST_LISTENERS, Overlap, Settings, overlapping};
use knoxcall_bundle::{LoadOptions, Loaded, Report, load};
use serde_json::{Value, json};
use thiserror::Error;

use crate::reason;
use crate::watch::{Watch, YOUNG};

#[derive(Clone, Debug)]
pub struct Source {
    pub file: PathBuf,
    pub allow_inline_secrets: bool,
    pub overrides: Overrides,
}

/// What differs from one deployment of the same file to another.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Listen here, may be given several times [default: the file's, 127.0.0.1:8080]
    #[arg(
        long = "listen",
        env = "KNOXCALL_LISTEN",
        value_name = "ADDRESS:PORT",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,

    /// Serve health and metrics here [default: the file's, 127.0.0.1:9901]
    #[arg(long, env = "KNOXCALL_ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// Worker threads [default: the file's, one per core]
    #[arg(long, env = "KNOXCALL_WORKERS", value_name = "THREADS")]
    pub workers: Option<NonZeroUsize>,

    /// How many instances share the rate limits [default: the file's, 1]
    #[arg(long, env = "KNOXCALL_INSTANCES", value_name = "COUNT")]
    pub instances: Option<NonZeroU32>,
}

/// Why a configuration is refused, with the flags that go with it.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not its own source: the report would be told twice.
    #[error("{}", Shown(.0))]
    File(Report),
    #[error("{0}")]
    Overlap(Overlap),
    /// Nobody can say which of them keeps its TLS.
    #[error(
        "--listen names {given} addresses, but the file has {written} listeners, \
         some with tls, proxy_protocol or http2: name an address for each, in their order"
    )]
    Listeners { given: usize, written: usize },
    #[error("--listen names {0} addresses, of {MOST_LISTENERS} at most: start several gateways")]
    TooMany(usize),
}

impl Source {
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let mut loaded = load(&self.file, &self.options())?;
        self.overrides.apply(&mut loaded.settings)?;
        refuse_overlaps(&loaded.settings)?;
        Ok(loaded)
    }

    /// With a watch from before the files were read: what is written meanwhile
    /// is a change to it. `watch`: of the files that there were last.
    pub fn load_under(&self, mut watch: Watch) -> Result<(Loaded, Watch), LoadError> {
        loop {
            let loaded = self.load()?;
            if loaded.watched == watch.files() {
                return Ok((loaded, watch));
            }
            // Which files there are is known once they have been read.
            watch = Watch::new(loaded.watched);
        }
    }

    /// As [`Self::load_under`], of what has been loaded since: read once more
    /// only where somebody may have written meanwhile.
    pub fn settle(&self, loaded: Loaded, since: Instant) -> Result<(Loaded, Watch), LoadError> {
        let watch = Watch::new(loaded.watched.clone());
        match watch.is_older_than(since.elapsed() + YOUNG) {
            true => Ok((loaded, watch)),
            false => self.load_under(watch),
        }
    }

    /// The configuration in effect, for people to read.
    pub fn effective(&self) -> Result<Value, LoadError> {
        self.load()?;
        let mut shown = knoxcall_bundle::effective(&self.file, &self.options())?;
        self.overrides.show(&mut shown);
        Ok(shown)
    }

    fn options(&self) -> LoadOptions<'static> {
        LoadOptions {
            allow_inline_secrets: self.allow_inline_secrets,
            env: &|name| std::env::var(name).ok(),
        }
    }
}

impl Overrides {
    fn apply(&self, settings: &mut Settings) -> Result<(), LoadError> {
        if !self.listen.is_empty() {
            settings.listeners = self.listeners(&settings.listeners)?;
        }
        if let Some(address) = self.admin_listen {
            settings.admin = Some(Admin { address });
        }
        if let Some(workers) = self.workers {
            settings.workers = workers;
        }
        if let Some(instances) = self.instances {
            settings.counters.instances = instances;
        }
        Ok(())
    }

    /// Other addresses; what a listener of the file asks of connections, the
    /// one in its place asks as well.
    fn listeners(&self, written: &[Listener]) -> Result<Vec<Listener>, LoadError> {
        let given = self.listen.iter();
        if given.len() > MOST_LISTENERS {
            return Err(LoadError::TooMany(given.len()));
        }
        if !written.iter().any(Listener::has_rules) {
            return Ok(given.map(|address| Listener::plain(*address)).collect());
        }
        if given.len() != written.len() {
            return Err(LoadError::Listeners {
                given: given.len(),
                written: written.len(),
            });
        }
        let moved = given.zip(written).map(|(address, listener)| Listener {
            address: *address,
            ..listener.clone()
        });
        Ok(moved.collect())
    }

    /// As [`Self::apply`], in the document that is shown.
    fn show(&self, shown: &mut Value) {
        let listeners = self.shown_listeners(shown.pointer("/listeners"));
        let mut put = |pointer: &str, value: Value| {
            if let Some(place) = shown.pointer_mut(pointer) {
                *place = value;
            }
        };
        if !self.listen.is_empty() {
            put("/listeners", listeners);
        }
        if let Some(address) = self.admin_listen {
            put("/admin/address", json!(address.to_string()));
            put("/admin/enabled", json!(true));
        }
        if let Some(workers) = self.workers {
            put("/workers", json!(workers.get()));
        }
        if let Some(instances) = self.instances {
            put("/counters/instances", json!(instances.get()));
        }
    }
}

impl Overrides {
    fn shown_listeners(&self, written: Option<&Value>) -> Value {
        let written = written.and_then(Value::as_array).into_iter().flatten();
        let written = written.map(Some).chain(std::iter::repeat(None));
        let listeners = self.listen.iter().zip(written);
        listeners
            .map(|(address, written)| {
                let mut shown = written.and_then(Value::as_object).cloned();
                let fields = shown.get_or_insert_default();
                fields.insert("address".to_owned(), json!(address.to_string()));
                json!(shown)
            })
            .collect()
    }
}

/// The file's own addresses have been compared; flags may bring others.
fn refuse_overlaps(settings: &Settings) -> Result<(), LoadError> {
    let overlaps = overlapping(&settings.listeners, settings.admin.as_ref());
    overlaps
        .first()
        .map_or(Ok(()), |first| Err(LoadError::Overlap(*first)))
}

impl From<Report> for LoadError {
    fn from(report: Report) -> Self {
        Self::File(report)
    }
}

/// A report on the file as a whole has one mistake and no line: then it is one
/// line, without a count.
struct Shown<'a>(&'a Report);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.problems.as_slice() {
            [only] if only.line.is_none() => {
                let message = reason::without_number(&only.message);
                write!(f, "{}: {message}", self.0.file)?;
                match &only.remedy {
                    Some(remedy) => write!(f, " ({remedy})"),
                    None => Ok(()),
                }
            }
            _ => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const CONFIG: &str = "\
listeners: [{address: 127.0.0.1:0}]
tenant: {slug: acme, base_domain: knox.test}
environments: [{name: production}]
";

    fn write(file: &Path, routes: &str) {
        std::fs::write(file, format!("{CONFIG}{routes}")).unwrap();
    }

    fn source() -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        let source = Source {
            file: folder.path().join("gateway.yaml"),
            allow_inline_secrets: true,
            overrides: Overrides::default(),
        };
        write(&source.file, "");
        (folder, source)
    }

    const LIMITS: &str = "limits: {head_bytes: 2048}";

    #[test]
    fn what_is_written_while_the_process_starts_is_not_missed() {
        let (_folder, source) = source();
        let began = Instant::now();
        let loaded = source.load().unwrap();
        write(&source.file, LIMITS);
        let (loaded, mut watch) = source.settle(loaded, began).unwrap();
        assert_eq!(loaded.settings.limits.head_bytes, 2048);
        assert!(!watch.has_changed());
    }

    #[test]
    fn other_files_are_read_under_a_watch_of_their_own() {
        let (folder, source) = source();
        let began = Instant::now();
        let loaded = source.load().unwrap();
        let (_, watch) = source.settle(loaded, began).unwrap();
        let secret = folder.path().join("token");
        std::fs::write(&secret, "one").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        write(&source.file, "secrets: [{name: token, from_file: token}]");
        let (_, mut watch) = source.load_under(watch).unwrap();
        assert!(!watch.has_changed());
        std::fs::write(&secret, "two").unwrap();
        assert!(watch.has_changed());
    }
}
