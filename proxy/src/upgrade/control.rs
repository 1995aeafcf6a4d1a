//! The Unix socket at which a successor meets the running process: only its
//! own user may connect. It is handed over with the others, so its file stays
//! in its place through any number of upgrades.

use std::env;
use std::fs::symlink_metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::geteuid;

use crate::reason;

/// Successors that come at the same time.
const BACKLOG: i32 = 8;
const FILE: &str = "upgrade.sock";

/// Where the socket is, and whether somebody has asked for just that place.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
    is_asked_for: bool,
}

#[derive(Debug)]
pub struct Control {
    pub listener: UnixListener,
    path: PathBuf,
    ownership: Ownership,
}

/// Whether the file is this process's to remove. While the process before still
/// serves, it is that one's: another successor is to find it there.
#[derive(Clone, Debug, Default)]
pub struct Ownership(Arc<AtomicBool>);

impl Ownership {
    pub fn take(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Place {
    pub fn asked_for(path: PathBuf) -> Self {
        Self {
            path,
            is_asked_for: true,
        }
    }

    /// The folder for sockets that systemd has made for the unit, or the one of
    /// the user's session, or the system's if somebody has made it. `None`:
    /// there is none.
    pub fn usual() -> Option<Self> {
        let of_unit = env::var_os("RUNTIME_DIRECTORY").and_then(|folders| {
            let first = env::split_paths(&folders).next()?;
            Some(first.join(FILE))
        });
        let of_session = || {
            let folder = PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?);
            Some(folder.join(format!("knoxcall-{FILE}")))
        };
        let of_system = || Some(Path::new("/run/knoxcall")).filter(|folder| folder.is_dir());
        let path = of_unit
            .or_else(of_session)
            .or_else(|| of_system().map(|folder| folder.join(FILE)))?;
        Some(Self {
            path,
            is_asked_for: false,
        })
    }
}

impl Control {
    /// `None`: this process can be stopped, but not succeeded. An error where a
    /// place was asked for that cannot be had.
    pub fn open(place: Option<&Place>) -> anyhow::Result<Option<Self>> {
        let Some(place) = place else {
            return Ok(None);
        };
        match Self::bind(&place.path) {
            Ok(control) => Ok(Some(control)),
            Err(error) if place.is_asked_for => Err(error),
            Err(error) => {
                let path = place.path.display();
                tracing::warn!("no upgrade without a stop: --upgrade-socket {path}: {error:#}");
                Ok(None)
            }
        }
    }

    /// As it came from the process before, whose file it is until that has
    /// given up its place.
    pub fn inherited(listener: OwnedFd, path: PathBuf, ownership: Ownership) -> Self {
        Self {
            listener: listener.into(),
            path,
            ownership,
        }
    }

    fn bind(path: &Path) -> anyhow::Result<Self> {
        if meet(path).is_ok() {
            bail!("another process is there; take its place with --upgrade, or name another path");
        }
        // What a process left that was killed.
        remove_socket(path);
        let open = || -> io::Result<OwnedFd> {
            let socket = socket()?;
            // The file's mode from its first moment on.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            bind(&socket, &SocketAddrUnix::new(path)?)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        let socket = open()
            .map_err(|error| anyhow::anyhow!(reason::of_io(&error)))
            .context("cannot be bound")?;
        let ownership = Ownership::default();
        ownership.take();
        Ok(Self::inherited(socket, path.to_owned(), ownership))
    }

    /// Nobody is to be succeeded here any more.
    pub fn remove(self) {
        if self.ownership.is_taken() {
            remove_socket(&self.path);
        }
    }
}

/// Connects to the process that waits there. It is our own user's, as is the
/// file that it has bound.
pub fn meet(path: &Path) -> io::Result<UnixStream> {
    if !is_ours(symlink_metadata(path)?.uid()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let socket = socket()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

pub fn is_ours(user: u32) -> bool {
    geteuid().as_raw() == user
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

/// Nothing but a socket: a path may be mistyped.
fn remove_socket(path: &Path) {
    if symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.sock");
        (folder, path)
    }

    #[test]
    fn only_its_user_may_connect() {
        let (_folder, path) = place();
        let _control = Control::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_place_of_a_living_process_is_refused() {
        let (_folder, path) = place();
        let control = Control::bind(&path).unwrap();
        let refusal = Control::bind(&path).unwrap_err();
        assert!(refusal.to_string().contains("another process"), "{refusal}");
        control.remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_process_that_still_serves_is_not_removed() {
        let (_folder, path) = place();
        let control = Control::bind(&path).unwrap();
        let inherited = |ownership| {
            let listener = control.listener.try_clone().unwrap();
            Control::inherited(listener.into(), path.clone(), ownership)
        };
        let ownership = Ownership::default();
        inherited(ownership.clone()).remove();
        assert!(path.exists());
        ownership.take();
        inherited(ownership).remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let (_folder, path) = place();
        drop(Control::bind(&path).unwrap());
        assert!(path.exists());
        Control::bind(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_kept() {
        let (_folder, path) = place();
        std::fs::write(&path, "precious").unwrap();
        assert!(Control::open(Some(&Place::asked_for(path.clone()))).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
