//! Where the configuration comes from, and what the deployment says beside it:
//! flags and `KNOXCALL_*` variables win over the file, at the start and at
//! every reload alike.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use knoxcall_bundle::settings::{Admin, Listener, Settings};
use knoxcall_bundle::{LoadOptions, Loaded, Report, load};

#[derive(Clone, Debug)]
pub struct Source {
    pub file: PathBuf,
    pub allow_inline_secrets: bool,
    pub overrides: Overrides,
}

/// What differs from one deployment of the same file to another.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Listen here instead of where the file says; may be given several times
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

impl Source {
    pub fn load(&self) -> Result<Loaded, Report> {
        let mut loaded = load(&self.file, &self.options())?;
        self.overrides.apply(&mut loaded.settings);
        Ok(loaded)
    }

    pub fn options(&self) -> LoadOptions<'static> {
        LoadOptions {
            allow_inline_secrets: self.allow_inline_secrets,
            env: &|name| std::env::var(name).ok(),
        }
    }
}

impl Overrides {
    fn apply(&self, settings: &mut Settings) {
        if !self.listen.is_empty() {
            settings.listeners = self
                .listen
                .iter()
                .map(|address| Listener { address: *address })
                .collect();
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
    }
}
