//! The new process's side. It comes with a checked configuration, and blocks:
//! nothing is running here yet.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;

use super::channel::{self, Message};
use super::control::{Ownership, Place, meet};
use super::{Control, word};
use crate::reason;

/// For a word that the other side has at hand, and may still have to finish
/// with another successor for.
const PATIENCE: Duration = Duration::from_secs(70);

/// When a successor takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// As soon as the configuration is checked
    Now,
    /// Once the running process gets SIGQUIT
    Quit,
}

/// What the incumbent has handed over, and the line to it.
pub struct Succession {
    incumbent: UnixStream,
    pid: String,
    pub sockets: Vec<TcpListener>,
    pub control: Option<Control>,
    /// Of the control's file.
    ownership: Ownership,
}

impl Succession {
    /// Blocks until the running process has handed over its sockets.
    pub fn ask(place: Option<&Place>, when: When) -> anyhow::Result<Self> {
        let Some(Place { path, .. }) = place else {
            bail!("--upgrade needs --upgrade-socket: where the running process waits");
        };
        Self::ask_at(path, when)
            .with_context(|| format!("nothing is taken over: --upgrade-socket {}", path.display()))
    }

    fn ask_at(path: &Path, when: When) -> anyhow::Result<Self> {
        let incumbent =
            meet(path).map_err(|error| anyhow!("no process: {}", reason::of_io(&error)))?;
        let greeting = match when {
            When::Now => word::NOW,
            When::Quit => word::ON_QUIT,
        };
        if when == When::Now {
            set_patience(&incumbent)?;
        }
        say(&incumbent, greeting)?;
        tracing::info!(socket = %path.display(), "the configuration is sound; asking to take over");
        Self::gather(incumbent, path)
    }

    fn gather(incumbent: UnixStream, path: &Path) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        let mut control = None;
        let ownership = Ownership::default();
        loop {
            let Message { text, socket } = hear(&incumbent)?;
            match (text.as_str(), socket) {
                (word::LISTENER, Some(socket)) => sockets.push(TcpListener::from(socket)),
                (word::CONTROL, Some(socket)) => {
                    let path = path.to_owned();
                    control = Some(Control::inherited(socket, path, ownership.clone()));
                }
                (end, None) if end.starts_with(word::END) => {
                    set_patience(&incumbent)?;
                    let pid = end.strip_prefix(word::END).unwrap_or_default().to_owned();
                    return Ok(Self {
                        incumbent,
                        pid,
                        sockets,
                        control,
                        ownership,
                    });
                }
                _ => return Err(refused(&text)),
            }
        }
    }

    /// We serve. Once this returns, the running process drains.
    pub fn serve(&self) -> anyhow::Result<()> {
        say(&self.incumbent, word::READY)?;
        match hear(&self.incumbent)?.text.as_str() {
            word::YOURS => {
                self.ownership.take();
                tracing::info!(from = self.pid, "taken over");
                Ok(())
            }
            other => Err(refused(other)),
        }
    }
}

fn set_patience(incumbent: &UnixStream) -> anyhow::Result<()> {
    incumbent.set_read_timeout(Some(PATIENCE))?;
    incumbent.set_write_timeout(Some(PATIENCE))?;
    Ok(())
}

fn say(to: &UnixStream, text: &str) -> anyhow::Result<()> {
    channel::send(to, text, None).map_err(|error| {
        anyhow!(
            "the running process does not listen: {}",
            reason::of_io(&error)
        )
    })
}

fn hear(from: &UnixStream) -> anyhow::Result<Message> {
    use std::io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    channel::receive(from).map_err(|error| match error.kind() {
        WouldBlock | TimedOut => anyhow!("the running process says nothing for {PATIENCE:?}"),
        UnexpectedEof | ConnectionReset => anyhow!("the running process has broken it off"),
        _ => anyhow!(reason::of_io(&error)),
    })
}

fn refused(text: &str) -> anyhow::Error {
    match text.strip_prefix(word::NO) {
        Some(why) => anyhow!("the running process refuses: {why}"),
        None => anyhow!("the running process says {text:?}, which this version does not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_ours_once_we_are_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.sock");
        for (answer, is_ours) in [("no: not yet", false), (word::YOURS, true)] {
            let place = Place::asked_for(path.clone());
            let bound = Control::open(Some(&place)).unwrap().unwrap();
            let (incumbent, other) = UnixStream::pair().unwrap();
            let ownership = Ownership::default();
            let control =
                Control::inherited(bound.listener.into(), path.clone(), ownership.clone());
            let succession = Succession {
                incumbent,
                pid: String::new(),
                sockets: Vec::new(),
                control: None,
                ownership,
            };
            channel::send(&other, answer, None).unwrap();
            assert_eq!(succession.serve().is_ok(), is_ours);
            control.remove();
            assert_eq!(path.exists(), !is_ours, "{answer}");
            let _ = std::fs::remove_file(&path);
        }
    }
}
