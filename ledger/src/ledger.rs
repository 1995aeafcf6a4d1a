//! The ledger: a bounded queue between the request path and one thread.
//!
//! Submitting wakes nobody: the thread looks at the queue once per flush
//! interval, and is woken early only when many records wait. It is a
//! thread and not a task, because it outlives every runtime of the process.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::record::RequestRecord;
use crate::sink::{OpenSink, Output, Sink};
use crate::writer::{Shared, Stats, Turn, Writer};

/// How long closing waits for a sink that neither takes nor refuses, such as a
/// pipe that nobody reads.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_FLUSH_INTERVAL: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct Config {
    pub sink: Sink,
    /// Records that may wait: about 600 bytes each, and what clients sent, of
    /// which all together may keep 1 KiB for each place.
    pub queue: usize,
    /// The longest that a record waits before it is written; an hour at most.
    pub flush_interval: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("request log {} cannot be opened: {source}", path.display())]
    OpenFile { path: PathBuf, source: io::Error },
    #[error("request log on standard output cannot be opened: {0}")]
    OpenStdout(io::Error),
    #[error("request log queue must hold at least 2 records")]
    QueueTooSmall,
    #[error("request log flush interval must be longer than 0 ms")]
    ZeroFlushInterval,
    #[error("request log thread cannot be started: {0}")]
    Thread(io::Error),
}

/// So few records are still in the processor's caches when the writer comes,
/// and so many are worth waking it.
const WAKE_AT: usize = 256;

/// Share it by `Arc`. Dropping the last one closes it.
pub struct Ledger {
    shared: Arc<Shared>,
    /// The writer is woken when so many records wait.
    wake_at: usize,
    /// The sink keeps nothing: nothing is queued, encoded or counted for it.
    discards: bool,
    writer: Thread,
    running: Mutex<Option<Running>>,
}

struct Running {
    handle: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

impl Ledger {
    pub fn start(config: Config) -> Result<Self, Error> {
        if config.queue < 2 {
            return Err(Error::QueueTooSmall);
        }
        if config.flush_interval.is_zero() {
            return Err(Error::ZeroFlushInterval);
        }
        let output = open(&config.sink)?;
        let mut ledger = Self::start_with(output, config.queue, config.flush_interval)?;
        ledger.discards = matches!(config.sink, Sink::Null);
        Ok(ledger)
    }

    fn start_with<O>(output: O, queue: usize, flush_interval: Duration) -> Result<Self, Error>
    where
        O: Output + Send + 'static,
    {
        let shared = Arc::new(Shared::new(queue));
        let (ending, ended) = channel();
        let thread = WriterThread {
            writer: Writer::new(output),
            shared: Arc::clone(&shared),
            flush_interval: flush_interval.min(LONGEST_FLUSH_INTERVAL),
            _ending: ending,
        };
        let handle = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || thread.run())
            .map_err(Error::Thread)?;
        Ok(Self {
            shared,
            wake_at: queue.div_ceil(2).min(WAKE_AT),
            discards: false,
            writer: handle.thread().clone(),
            running: Mutex::new(Some(Running { handle, ended })),
        })
    }

    /// Whether a submitted record is written anywhere. Where it is not, there is
    /// no need to make one.
    pub fn keeps_records(&self) -> bool {
        !self.discards
    }

    /// Never waits. A record for which there is no room is dropped and counted.
    pub fn submit(&self, record: impl Into<Box<RequestRecord>>) {
        let record = record.into();
        if self.discards {
            return;
        }
        if self.shared.finished.load(Ordering::SeqCst) {
            self.shared.drop_record();
            return;
        }
        if !self.shared.push(record) {
            return;
        }
        // The writer may have ended since: then nobody takes the record.
        if self.shared.finished.load(Ordering::SeqCst) {
            self.shared.drop_queued();
        }
        if self.shared.presses(self.wake_at) && !self.shared.woken.swap(true, Ordering::AcqRel) {
            self.writer.unpark();
        }
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// [`Ledger::close_within`] five seconds.
    pub fn close(&self) {
        self.close_within(CLOSE_WITHIN);
    }

    /// Writes everything that was submitted before, and ends the thread. What
    /// is submitted after is dropped and counted. Blocks, no longer than
    /// `limit`; calling it again does nothing.
    pub fn close_within(&self, limit: Duration) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { handle, ended }) = running.take() else {
            return;
        };
        self.shared.closing.store(true, Ordering::SeqCst);
        self.writer.unpark();
        match ended.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => {
                let queued = self.shared.queued();
                tracing::error!(
                    queued,
                    "request log did not close in time; its sink is stuck"
                );
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if handle.join().is_err() {
                    tracing::error!("request log thread panicked");
                }
            }
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn open(sink: &Sink) -> Result<OpenSink, Error> {
    OpenSink::open(sink).map_err(|source| match sink {
        Sink::File { path, .. } => Error::OpenFile {
            path: path.clone(),
            source,
        },
        Sink::Stdout | Sink::Null => Error::OpenStdout(source),
    })
}

struct WriterThread<O> {
    writer: Writer<O>,
    shared: Arc<Shared>,
    flush_interval: Duration,
    _ending: Sender<()>,
}

impl<O: Output> WriterThread<O> {
    fn run(mut self) {
        while !self.is_closing() {
            self.shared.woken.store(false, Ordering::Release);
            let turn = self.writer.turn(&self.shared);
            self.rest(turn);
        }
        self.writer.finish(&self.shared);
    }

    /// Until the next flush is due, many records wait, or the ledger
    /// closes. While the sink refuses, a full queue is no reason to hurry.
    fn rest(&self, turn: Turn) {
        let until = Instant::now() + self.flush_interval;
        loop {
            let hurry = turn == Turn::Empty && self.shared.woken.load(Ordering::Acquire);
            let left = until.saturating_duration_since(Instant::now());
            if hurry || left.is_zero() || self.is_closing() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
