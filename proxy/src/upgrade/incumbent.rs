//! The running process's side: waits for successors, and hands over to one
//! that asks for it, or to the one that waits when SIGQUIT comes. Until its
//! successor has said that it serves, nothing has changed here.

use std::future::{Future, pending};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::Signal;

use super::channel::{self, Message};
use super::control::is_ours;
use super::{Control, word};
use crate::gateway::Gateway;
use crate::reason;

/// For a word that the other side has at hand.
const PROMPT: Duration = Duration::from_secs(5);
/// From the sockets to the successor's `ready`: it reads its configuration in
/// this time once more, and starts.
const START: Duration = Duration::from_secs(60);
/// After an `accept` that failed.
const REST: Duration = Duration::from_secs(1);

pub struct Incumbent {
    gateway: Arc<Gateway>,
    /// `None`: nobody can come.
    control: Option<Control>,
    sockets: Vec<TcpListener>,
}

/// A process that has checked its configuration.
struct Successor {
    stream: UnixStream,
    /// 0 where it is out of our sight, in another container.
    pid: i32,
    waits_for_quit: bool,
}

#[derive(Debug, Error)]
enum Failure {
    #[error("{}", reason::of_io(.0))]
    Io(#[from] io::Error),
    #[error("it has not said {expected} in {limit:?}")]
    Late {
        expected: &'static str,
        limit: Duration,
    },
    #[error("it says {0:?}, which this version does not know")]
    Unknown(String),
}

impl Incumbent {
    /// `sockets` are all that the gateway listens on.
    pub fn new(gateway: Arc<Gateway>, control: Option<Control>, sockets: Vec<TcpListener>) -> Self {
        Self {
            gateway,
            control,
            sockets,
        }
    }

    /// The gateway stops: nobody is to come any more.
    pub fn close(&mut self) {
        self.sockets.clear();
        if let Some(control) = self.control.take() {
            control.remove();
        }
    }

    /// All of it is the successor's from here on.
    pub fn leave(&mut self) {
        self.sockets.clear();
        self.control = None;
    }

    /// Ends when a successor serves in our place.
    pub async fn succeeded(&self, quit: &mut Signal) {
        let listener = match self.listen() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "no upgrade: nobody can be heard at the socket for it");
                None
            }
        };
        let mut waiting: Option<Successor> = None;
        loop {
            let chosen = tokio::select! {
                accepted = accept(listener.as_ref()) => greet(accepted).await,
                _ = quit.recv() => {
                    if waiting.is_none() {
                        self.refuse_quit();
                    }
                    waiting.take().map(|successor| Successor { waits_for_quit: false, ..successor })
                }
                () = gone(waiting.as_ref()) => {
                    tracing::info!("the successor that waited for SIGQUIT has gone");
                    waiting = None;
                    None
                }
            };
            match chosen {
                None => {}
                Some(successor) if successor.waits_for_quit => {
                    tracing::info!(pid = successor.pid, "a successor waits for SIGQUIT");
                    waiting = Some(successor);
                }
                Some(successor) if self.try_hand_over(&successor).await => return,
                Some(_) => {}
            }
        }
    }

    /// The socket stays ours: it is what a successor gets.
    fn listen(&self) -> io::Result<Option<UnixListener>> {
        let Some(control) = &self.control else {
            return Ok(None);
        };
        let listener = control.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Some)
    }

    fn refuse_quit(&self) {
        match self.control {
            Some(_) => tracing::warn!(
                "SIGQUIT refused: no successor waits that has checked its configuration; \
                 `knoxcall serve --upgrade` takes over, SIGTERM stops"
            ),
            None => tracing::warn!(
                "SIGQUIT refused: without --upgrade-socket nobody can take over; SIGTERM stops"
            ),
        }
    }

    async fn try_hand_over(&self, successor: &Successor) -> bool {
        let pid = successor.pid;
        tracing::info!(pid, "handing over");
        match self.hand_over(&successor.stream).await {
            Ok(()) => {
                tracing::info!(pid, "handed over");
                true
            }
            Err(error) => {
                self.gateway.keep_remembering();
                tracing::error!(pid, "not handed over, this process goes on: {error}");
                false
            }
        }
    }

    async fn hand_over(&self, successor: &UnixStream) -> Result<(), Failure> {
        for socket in &self.sockets {
            say(successor, word::LISTENER, Some(socket.as_fd())).await?;
        }
        if let Some(control) = &self.control {
            say(successor, word::CONTROL, Some(control.listener.as_fd())).await?;
        }
        // Before the successor's memory begins: see there.
        self.gateway.remember_until_now();
        let end = format!("{}{}", word::END, std::process::id());
        say(successor, &end, None).await?;
        let answer = hear(successor, word::READY, START).await?;
        if answer.text != word::READY {
            return Err(Failure::Unknown(answer.text));
        }
        say(successor, word::YOURS, None).await?;
        // It closes when its supervisor knows it; ours must not see us end
        // before.
        let _ = hear(successor, "goodbye", PROMPT).await;
        Ok(())
    }
}

/// For ever where nobody can come.
async fn accept(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => pending().await,
    }
}

/// `None`: it is none that may take over.
async fn greet(accepted: io::Result<UnixStream>) -> Option<Successor> {
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a successor cannot be accepted");
            tokio::time::sleep(REST).await;
            return None;
        }
    };
    let peer = stream.peer_cred().ok()?;
    let pid = peer.pid().unwrap_or_default();
    if !is_ours(peer.uid()) {
        tracing::warn!(pid, "refused: a successor of another user");
        return None;
    }
    // Who says nothing has only looked whether somebody is here.
    let greeting = hear(&stream, "what it wants", PROMPT).await.ok()?;
    let waits_for_quit = match greeting.text.as_str() {
        word::NOW => false,
        word::ON_QUIT => true,
        other => {
            tracing::warn!(pid, "refused: a successor that says {other:?}");
            let refusal = format!("{}another version of the upgrade runs here", word::NO);
            let _ = say(&stream, &refusal, None).await;
            return None;
        }
    };
    Some(Successor {
        stream,
        pid,
        waits_for_quit,
    })
}

/// It has nothing to say while it waits, so that whatever comes is its end.
async fn gone(waiting: Option<&Successor>) {
    match waiting {
        Some(successor) => {
            let stream = &successor.stream;
            let _ = stream
                .async_io(Interest::READABLE, || channel::receive(stream))
                .await;
        }
        None => pending().await,
    }
}

async fn say(to: &UnixStream, text: &str, socket: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    let sent = to.async_io(Interest::WRITABLE, || channel::send(to, text, socket));
    within(PROMPT, "that it takes our words", sent).await
}

async fn hear(
    from: &UnixStream,
    expected: &'static str,
    limit: Duration,
) -> Result<Message, Failure> {
    let received = from.async_io(Interest::READABLE, || channel::receive(from));
    within(limit, expected, received).await
}

async fn within<T>(
    limit: Duration,
    expected: &'static str,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::Late { expected, limit }),
    }
}
