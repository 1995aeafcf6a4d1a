//! Where a standalone gateway finds secrets and certificates. Nothing that is
//! said here quotes a name or path: either may be a secret in the wrong field.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::LoadOptions;
use crate::secret::SecretValue;
use crate::settings::TicketKey;
use crate::validate::{Origin, Sources, Unavailable};

/// Bytes of a secret file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// Bytes of a file of certificates.
const MAX_CERTIFICATES_BYTES: u64 = 4 * 1024 * 1024;

/// Others may do nothing with a secret's file, its group may only read it.
const FORBIDDEN_MODE: u32 = 0o027;

pub(super) struct FileSources<'a> {
    directory: PathBuf,
    options: &'a LoadOptions<'a>,
    watched: BTreeSet<PathBuf>,
    certificates: HashMap<String, Result<Arc<str>, Unavailable>>,
}

impl<'a> FileSources<'a> {
    pub(super) fn new(config: &Path, options: &'a LoadOptions<'a>) -> Self {
        Self {
            directory: config.parent().map(Path::to_owned).unwrap_or_default(),
            options,
            watched: BTreeSet::from([config.to_owned()]),
            certificates: HashMap::new(),
        }
    }

    pub(super) fn into_watched(self) -> Vec<PathBuf> {
        self.watched.into_iter().collect()
    }

    fn environment(&self, name: &str) -> Result<SecretValue, Unavailable> {
        match (self.options.env)(name) {
            Some(value) if !is_blank(&value) => Ok(SecretValue::new(value)),
            Some(_) => Err(Unavailable::new(
                "the environment variable is empty or blank",
                "give it a value",
            )),
            None => Err(Unavailable::new(
                "the environment variable is not set",
                "set it where the gateway is started",
            )),
        }
    }

    fn inline(&self, value: &str) -> Result<SecretValue, Unavailable> {
        if !self.options.allow_inline_secrets {
            return Err(Unavailable::new(
                "a secret in clear is refused",
                "use from_env or from_file, or start with --allow-inline-secrets",
            ));
        }
        if is_blank(value) {
            return Err(Unavailable::new("is empty or blank", "give it a value"));
        }
        Ok(SecretValue::new(value.to_owned()))
    }

    fn file(&mut self, path: &str) -> Result<SecretValue, Unavailable> {
        let path = self.resolve(path);
        self.watched.insert(path.clone());
        let mut text = read_secret(&path)?;
        if text.ends_with('\n') {
            text.pop();
        }
        if is_blank(&text) {
            return Err(Unavailable::new(
                "the file is empty or blank",
                "write the value into it",
            ));
        }
        Ok(SecretValue::new(text))
    }
}

impl Sources for FileSources<'_> {
    fn secret(&mut self, origin: Origin<'_>) -> Result<SecretValue, Unavailable> {
        match origin {
            Origin::Environment(name) => self.environment(name),
            Origin::File(path) => self.file(path),
            Origin::Inline(value) => self.inline(value),
        }
    }

    fn certificates(&mut self, file: &str) -> Result<Arc<str>, Unavailable> {
        if let Some(known) = self.certificates.get(file) {
            return known.clone();
        }
        let path = self.resolve(file);
        self.watched.insert(path.clone());
        let read = read_certificates(&path);
        self.certificates.insert(file.to_owned(), read.clone());
        read
    }

    fn private_key(&mut self, file: &str) -> Result<SecretValue, Unavailable> {
        let path = self.resolve(file);
        self.watched.insert(path.clone());
        read_secret(&path).map(SecretValue::new)
    }

    fn ticket_key(&mut self, file: &str) -> Result<TicketKey, Unavailable> {
        let path = self.resolve(file);
        self.watched.insert(path.clone());
        let material = bounded(open_secret(&path)?, MAX_SECRET_BYTES)?;
        TicketKey::new(Zeroizing::new(material)).ok_or_else(|| {
            let [short, long] = TicketKey::LENGTHS;
            let message = format!("the file holds neither {short} nor {long} bytes");
            Unavailable::new(message, format!("openssl rand -out FILE {long}"))
        })
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }
}

/// White space alone would be sent as an empty credential: servers strip it
/// from header values (RFC 9110, 5.5).
fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

/// Permissions are those of the opened file, so that no other can be put in
/// its place between the look and the reading. Links are followed: Kubernetes
/// mounts secrets as links.
fn open_secret(path: &Path) -> Result<File, Unavailable> {
    let file = open_regular(path)?;
    let mode = file.metadata().map_err(|error| unreadable(&error))?.mode();
    if mode & FORBIDDEN_MODE & 0o007 != 0 {
        return Err(Unavailable::new(
            format!("others may use the file (mode {:04o})", mode & 0o7777),
            "chmod o-rwx",
        ));
    }
    if mode & FORBIDDEN_MODE != 0 {
        return Err(Unavailable::new(
            format!("the group may write the file (mode {:04o})", mode & 0o7777),
            "chmod g-w",
        ));
    }
    Ok(file)
}

fn read_secret(path: &Path) -> Result<String, Unavailable> {
    text(bounded(open_secret(path)?, MAX_SECRET_BYTES)?)
}

fn read_certificates(path: &Path) -> Result<Arc<str>, Unavailable> {
    let text = text(bounded(open_regular(path)?, MAX_CERTIFICATES_BYTES)?)?;
    match boring::x509::X509::stack_from_pem(text.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => Ok(text.into()),
        Ok(_) | Err(_) => Err(Unavailable::new(
            "the file holds no certificates in PEM",
            "it begins with -----BEGIN CERTIFICATE-----",
        )),
    }
}

fn open_regular(path: &Path) -> Result<File, Unavailable> {
    // Asked before opening as well: opening a pipe would wait for its writer.
    let is_file = |metadata: std::fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(Unavailable::new("is not a regular file", "name a file")),
    };
    is_file(std::fs::metadata(path).map_err(|error| unreadable(&error))?)?;
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    is_file(file.metadata().map_err(|error| unreadable(&error))?)?;
    Ok(file)
}

fn bounded(file: File, limit: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit {
        return Err(Unavailable::new(
            format!("the file is larger than {} KiB", limit / 1024),
            "is it the right one?",
        ));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, Unavailable> {
    String::from_utf8(bytes)
        .map_err(|_| Unavailable::new("the file is not UTF-8 text", "is it the right one?"))
}

fn unreadable(error: &std::io::Error) -> Unavailable {
    Unavailable::new(
        format!("the file cannot be read: {}", error.kind()),
        "relative paths begin at the configuration file's folder",
    )
}
