//! The standalone source: one YAML file, with secrets from environment
//! variables and files. It is accepted whole or refused whole, with every
//! mistake at once.

mod numbers;
mod redact;
mod secrets;
mod show;
mod unrenderable;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::document::{Document, ProcessDocument, TenantDocument};
use crate::model::Bundle;
use crate::problem::{Problem, Problems};
use crate::report::Report;
use crate::settings::Settings;
use crate::structure::{self, Sound};
use crate::validate;
use crate::yaml::{self, Node};

use secrets::FileSources;

pub use show::effective;
pub use unrenderable::{Unrenderable, unrenderable};

/// Bytes of a configuration file.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// What the file may use.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Accept `value:` for secrets, in clear.
    pub allow_inline_secrets: bool,
    /// Environment variables, as `std::env::var(name).ok()` tells them.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it was read.
    pub file: PathBuf,
    pub settings: Settings,
    pub bundle: Bundle,
    /// Files whose change is a reload: the configuration, secrets, CAs.
    pub watched: Vec<PathBuf>,
}

/// Reads and checks a configuration file.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, Report> {
    Ok(read(path, options)?.loaded)
}

/// A configuration that holds, and the document that it comes from.
struct Read {
    loaded: Loaded,
    process: ProcessDocument,
    tenant: TenantDocument,
}

fn read(path: &Path, options: &LoadOptions<'_>) -> Result<Read, Report> {
    let file = path.display().to_string();
    let text = text_of(path)
        .map_err(|error| Report::of_file(&file, format!("cannot be read: {error}"), ""))?;
    let parsed = yaml::parse(&text);
    let root = parsed.root;
    let mut problems = parsed.problems;
    if !parsed.complete {
        return Err(Report::new(&file, &root, problems));
    }
    let mut document = root.to_json();
    numbers::make_whole(&mut document);
    let (misfits, pruned) = structure::check(document);
    problems.extend(misfits);
    problems.extend(numbers::respelled(&root));
    let sound = pruned.finish();
    let mut sources = FileSources::new(path, options);
    let judged = judge(&sound, &mut sources, &mut problems);
    match judged {
        Some((process, tenant, settings, bundle)) if problems.is_empty() => Ok(Read {
            loaded: Loaded {
                file: path.to_owned(),
                settings,
                bundle,
                watched: sources.into_watched(),
            },
            process,
            tenant,
        }),
        Some(_) | None => Err(refused(&file, &root, problems)),
    }
}

type Judged = (ProcessDocument, TenantDocument, Settings, Bundle);

/// What the document means, as far as its shape allows to tell.
fn judge(
    sound: &Sound,
    sources: &mut FileSources<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Judged> {
    let document = Document::deserialize(&sound.value).ok()?;
    let (process, tenant) = document.split();
    let mut found = Problems::default();
    let settings = validate::process(&process, sources, &mut found);
    let bundle = validate::tenant(&tenant, sources, &mut found).map(|tenant| Bundle {
        tenants: vec![tenant],
    });
    validate::client_authorities(&tenant, &process, &mut found);
    if let Some(settings) = &settings {
        validate::own_listeners(&tenant, settings, &mut found);
    }
    let told = found.into_vec().into_iter().map(|problem| Problem {
        path: sound.places.original(&problem.path),
        other: problem
            .other
            .as_ref()
            .map(|other| sound.places.original(other)),
        ..problem
    });
    problems.extend(told.filter(|problem| !sound.places.explains(problem)));
    Some((process, tenant, settings?, bundle?))
}

fn refused(file: &str, root: &Node, problems: Vec<Problem>) -> Report {
    if problems.is_empty() {
        // Only a value that its type cannot hold gets here.
        return Report::of_file(
            file,
            "a value does not fit its field".to_owned(),
            "see `knoxcall config schema`",
        );
    }
    Report::new(file, root, problems)
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 256 MiB"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
