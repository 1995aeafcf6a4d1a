//! Takes records from the queue, makes lines of them, and writes these. One
//! batch at a time: a batch that cannot be written is kept and tried again,
//! while the queue fills up and then drops what is new. Knows no threads and
//! no clock but for how often to speak of drops.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use memchr::{memchr_iter, memrchr};

use crate::line::Encoder;
use crate::record::RequestRecord;
use crate::sink::{Output, Refreshed};

/// A batch is closed when it has this many bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// What the queue may keep on average: a caller that makes its texts long must
/// not make the queue so much larger.
pub(crate) const WEIGHT_PER_RECORD: usize = 1024;
/// Bytes encoded in one go. Requests on the same core wait so long.
const AT_ONCE: usize = 8 * 1024;
/// While less of the queue than one in so many is in use, requests go first.
const CALM: usize = 16;
/// Drops are told at most this often.
const DROPS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Counted since the start. `written + dropped + queued` (and what is in the
/// writer's hands just now) is what was submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records that are in the sink.
    pub written: u64,
    /// Records that are lost: the queue was full, or the sink could not take
    /// them before the ledger closed.
    pub dropped: u64,
    /// Records that wait.
    pub queued: u64,
    /// Failed attempts to write.
    pub errors: u64,
    /// Bytes that are in the sink.
    pub bytes: u64,
}

/// What the request path and the writer share.
pub(crate) struct Shared {
    /// Boxed: a slot is a pointer, and a record is moved by eight bytes.
    queue: ArrayQueue<Box<RequestRecord>>,
    /// Bytes that the queued records keep beside their own size.
    weight: AtomicUsize,
    /// With so many of them, no more records are taken.
    most_weight: usize,
    /// No more records are taken; the writer empties the queue and ends.
    pub(crate) closing: AtomicBool,
    /// The writer is gone: what is pushed now is lost.
    pub(crate) finished: AtomicBool,
    /// The writer was woken and has not come round yet.
    pub(crate) woken: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

pub(crate) struct Writer<O> {
    output: O,
    batch: Batch,
    failing: bool,
    told: Told,
}

/// Lines that are to be written.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    /// Bytes of it that are written.
    done: usize,
    encoder: Encoder,
}

/// What of the drops was said in the log.
struct Told {
    dropped: u64,
    at: Option<Instant>,
}

/// How a turn of the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everything that was queued is written.
    Empty,
    /// The sink refused; the batch is kept.
    Failed,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(queue: usize) -> Self {
        Self {
            queue: ArrayQueue::new(queue),
            weight: AtomicUsize::new(0),
            most_weight: queue.saturating_mul(WEIGHT_PER_RECORD),
            closing: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            queued: self.queue.len() as u64,
            errors: self.errors.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    fn is_calm(&self) -> bool {
        let is_open = !self.closing.load(Ordering::Relaxed);
        is_open && self.queue.len() < self.queue.capacity() / CALM
    }

    /// Takes a record, or drops and counts it. One may be heavier than what is
    /// left; those that come at the same moment as well.
    pub(crate) fn push(&self, record: Box<RequestRecord>) -> bool {
        let weight = record.weight();
        let has_room = self.weight.load(Ordering::Relaxed) < self.most_weight;
        // Counted before it is there to be popped, so that it never wraps.
        self.weight.fetch_add(weight, Ordering::Relaxed);
        let taken = has_room && self.queue.push(record).is_ok();
        if !taken {
            self.weight.fetch_sub(weight, Ordering::Relaxed);
            self.drop_record();
        }
        taken
    }

    /// Is it time to wake the writer: do `many` wait, or is half of the memory
    /// for what they keep in use?
    pub(crate) fn presses(&self, many: usize) -> bool {
        self.queue.len() >= many || self.weight.load(Ordering::Relaxed) >= self.most_weight / 2
    }

    fn pop(&self) -> Option<Box<RequestRecord>> {
        let record = self.queue.pop()?;
        self.weight.fetch_sub(record.weight(), Ordering::Relaxed);
        Some(record)
    }

    pub(crate) fn drop_record(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts as dropped what nobody will take from the queue any more.
    pub(crate) fn drop_queued(&self) {
        while self.pop().is_some() {
            self.drop_record();
        }
    }
}

// === impl Writer ===

impl<O: Output> Writer<O> {
    pub(crate) fn new(output: O) -> Self {
        Self {
            output,
            batch: Batch::default(),
            failing: false,
            told: Told {
                dropped: 0,
                at: None,
            },
        }
    }

    /// Writes what is queued, until the queue is empty or the sink refuses.
    pub(crate) fn turn(&mut self, shared: &Shared) -> Turn {
        let turn = self.write_queued(shared);
        self.tell_drops(shared, Instant::now());
        turn
    }

    /// The last turn. What cannot be written now is dropped.
    pub(crate) fn finish(&mut self, shared: &Shared) {
        let _ = self.write_queued(shared);
        let lost = self.batch.records_left();
        shared.dropped.fetch_add(lost, Ordering::Relaxed);
        shared.finished.store(true, Ordering::SeqCst);
        shared.drop_queued();
        self.told.at = None;
        self.tell_drops(shared, Instant::now());
    }

    fn write_queued(&mut self, shared: &Shared) -> Turn {
        if self.batch.is_done() && shared.queue.is_empty() {
            return Turn::Empty;
        }
        let mut result = self.refresh();
        while result.is_ok() {
            if self.batch.is_done() && !self.batch.fill(shared) {
                break;
            }
            result = self.write_batch(shared);
        }
        self.report(shared, result)
    }

    fn refresh(&mut self) -> io::Result<()> {
        match self.output.refresh()? {
            Refreshed::Same => {}
            Refreshed::New => self.batch.begin_line_again(),
        }
        Ok(())
    }

    fn write_batch(&mut self, shared: &Shared) -> io::Result<()> {
        while !self.batch.is_done() {
            let rest = self.batch.rest();
            let written = match self.output.write(rest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            let lines = memchr_iter(b'\n', rest.get(..written).unwrap_or(rest)).count();
            self.batch.done += written;
            shared.written.fetch_add(lines as u64, Ordering::Relaxed);
            shared.bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Says in the log when writing begins to fail and when it works again, and
    /// nothing between.
    fn report(&mut self, shared: &Shared, result: io::Result<()>) -> Turn {
        let was_failing = std::mem::replace(&mut self.failing, result.is_err());
        match result {
            Ok(()) => {
                if was_failing {
                    tracing::info!("request records are written again");
                }
                Turn::Empty
            }
            Err(error) => {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                if !was_failing {
                    tracing::error!(%error, "request records cannot be written; they are kept while the queue holds them");
                }
                Turn::Failed
            }
        }
    }

    fn tell_drops(&mut self, shared: &Shared, now: Instant) {
        let total = shared.dropped.load(Ordering::Relaxed);
        let due = self
            .told
            .at
            .is_none_or(|at| now.duration_since(at) >= DROPS_TOLD_EVERY);
        if total > self.told.dropped && due {
            let dropped = total - self.told.dropped;
            tracing::warn!(dropped, total, "request records were dropped");
            self.told = Told {
                dropped: total,
                at: Some(now),
            };
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Takes records from the queue; false if there were none.
    fn fill(&mut self, shared: &Shared) -> bool {
        self.lines.clear();
        self.done = 0;
        let mut go_ends = AT_ONCE;
        while self.lines.len() < BATCH_BYTES
            && let Some(record) = shared.pop()
        {
            self.push(&record, shared);
            if self.lines.len() >= go_ends && shared.is_calm() {
                go_ends = self.lines.len() + AT_ONCE;
                thread::yield_now();
            }
        }
        !self.lines.is_empty()
    }

    /// A defect in encoding costs one record, not the ledger.
    fn push(&mut self, record: &RequestRecord, shared: &Shared) {
        let start = self.lines.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            self.encoder.encode(record, &mut self.lines);
        }));
        if encoded.is_err() {
            self.lines.truncate(start);
            shared.drop_record();
            tracing::error!(request_id = %record.request_id, "request record not encoded");
        }
    }

    fn is_done(&self) -> bool {
        self.done >= self.lines.len()
    }

    fn rest(&self) -> &[u8] {
        self.lines.get(self.done..).unwrap_or_default()
    }

    fn records_left(&self) -> u64 {
        memchr_iter(b'\n', self.rest()).count() as u64
    }

    fn begin_line_again(&mut self) {
        let written = self.lines.get(..self.done).unwrap_or_default();
        self.done = memrchr(b'\n', written).map_or(0, |at| at + 1);
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
