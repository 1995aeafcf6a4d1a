use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tracing::span;

use super::*;
use crate::sample;

/// Does what its script says, then takes everything.
#[derive(Clone, Default)]
struct Scripted {
    steps: Rc<RefCell<VecDeque<Step>>>,
    text: Rc<RefCell<Vec<u8>>>,
}

enum Step {
    Take(usize),
    Refuse(io::ErrorKind),
    /// At the next flush the file is another one.
    Moved,
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let scripted = Self::default();
        scripted.steps.borrow_mut().extend(steps);
        scripted
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.borrow().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn paths(&self) -> Vec<String> {
        let path = |line: &String| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["path"].as_str().unwrap().to_owned()
        };
        self.lines().iter().map(path).collect()
    }
}

impl Output for Scripted {
    fn refresh(&mut self) -> io::Result<Refreshed> {
        let mut steps = self.steps.borrow_mut();
        if matches!(steps.front(), Some(Step::Moved)) {
            steps.pop_front();
            return Ok(Refreshed::New);
        }
        Ok(Refreshed::Same)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let taken = match self.steps.borrow_mut().pop_front() {
            Some(Step::Take(bytes)) => bytes.min(lines.len()),
            Some(Step::Refuse(kind)) => return Err(kind.into()),
            Some(Step::Moved) => unreachable!("moved between two writes of a flush"),
            None => lines.len(),
        };
        self.text.borrow_mut().extend_from_slice(&lines[..taken]);
        Ok(taken)
    }
}

fn queued(numbers: std::ops::Range<usize>) -> Shared {
    let shared = Shared::new(10_000);
    queue(&shared, numbers);
    shared
}

fn queue(shared: &Shared, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert!(shared.push(Box::new(sample::numbered(number))));
    }
}

fn paths(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("/{number}")).collect()
}

/// Counts log events by level.
#[derive(Clone, Default)]
struct Said {
    errors: Arc<AtomicUsize>,
    warnings: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl Said {
    fn counts(&self) -> [usize; 3] {
        [&self.errors, &self.warnings, &self.others].map(|count| count.load(Ordering::Relaxed))
    }
}

impl tracing::Subscriber for Said {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let count = match *event.metadata().level() {
            tracing::Level::ERROR => &self.errors,
            tracing::Level::WARN => &self.warnings,
            _ => &self.others,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn writes_records_in_the_order_of_the_queue() {
    let (output, shared) = (Scripted::default(), queued(0..1000));
    assert_eq!(Writer::new(output.clone()).turn(&shared), Turn::Empty);
    assert_eq!(output.paths(), paths(0..1000));
    let bytes = output.text.borrow().len() as u64;
    assert_eq!(
        shared.stats(),
        Stats {
            written: 1000,
            bytes,
            ..Stats::default()
        }
    );
}

#[test]
fn goes_on_where_a_short_write_ended() {
    let steps = [
        Step::Take(7),
        Step::Refuse(io::ErrorKind::Interrupted),
        Step::Take(1000),
    ];
    let (output, shared) = (Scripted::new(steps), queued(0..5));
    assert_eq!(Writer::new(output.clone()).turn(&shared), Turn::Empty);
    assert_eq!(output.paths(), paths(0..5));
    assert_eq!((shared.stats().written, shared.stats().errors), (5, 0));
}

#[test]
fn keeps_the_batch_while_the_sink_refuses_and_writes_it_later() {
    let full = || Step::Refuse(io::ErrorKind::StorageFull);
    let (output, shared) = (
        Scripted::new([Step::Take(900), full(), full()]),
        queued(0..3),
    );
    let mut writer = Writer::new(output.clone());
    assert_eq!(writer.turn(&shared), Turn::Failed);
    queue(&shared, 3..6);
    assert_eq!(writer.turn(&shared), Turn::Failed);
    assert_eq!((shared.stats().errors, shared.stats().queued), (2, 3));
    assert_eq!(writer.turn(&shared), Turn::Empty);
    assert_eq!(output.paths(), paths(0..6));
    assert_eq!((shared.stats().written, shared.stats().dropped), (6, 0));
}

#[test]
fn begins_a_line_again_in_a_file_that_took_the_place_of_another() {
    let first = {
        let (output, shared) = (Scripted::default(), queued(0..1));
        Writer::new(output.clone()).turn(&shared);
        output.text.borrow().len()
    };
    let refusal = Step::Refuse(io::ErrorKind::StorageFull);
    let (output, shared) = (
        Scripted::new([Step::Take(first + 9), refusal, Step::Moved]),
        queued(0..2),
    );
    let mut writer = Writer::new(output.clone());
    assert_eq!(writer.turn(&shared), Turn::Failed);
    output.text.borrow_mut().clear();
    assert_eq!(writer.turn(&shared), Turn::Empty);
    assert_eq!(output.paths(), paths(1..2));
    assert_eq!(shared.stats().written, 2);
}

#[test]
fn counts_what_it_cannot_write_at_the_end_as_dropped() {
    let refusals = (0..3).map(|_| Step::Refuse(io::ErrorKind::StorageFull));
    let (output, shared) = (Scripted::new(refusals), queued(0..500));
    let mut writer = Writer::new(output);
    writer.turn(&shared);
    writer.finish(&shared);
    let stats = shared.stats();
    assert_eq!((stats.written, stats.dropped, stats.queued), (0, 500, 0));
}

#[test]
fn says_once_that_writing_fails_and_once_that_it_works_again() {
    let said = Said::default();
    let refusals = (0..5).map(|_| Step::Refuse(io::ErrorKind::StorageFull));
    let (output, shared) = (Scripted::new(refusals), queued(0..1));
    tracing::subscriber::with_default(said.clone(), || {
        let mut writer = Writer::new(output);
        for _ in 0..5 {
            assert_eq!(writer.turn(&shared), Turn::Failed);
        }
        assert_eq!(said.counts(), [1, 0, 0]);
        assert_eq!(writer.turn(&shared), Turn::Empty);
        assert_eq!(writer.turn(&shared), Turn::Empty);
        assert_eq!(said.counts(), [1, 0, 1]);
    });
}

#[test]
fn tells_drops_at_once_then_in_summary() {
    let said = Said::default();
    let shared = queued(0..0);
    tracing::subscriber::with_default(said.clone(), || {
        let mut writer = Writer::new(Scripted::default());
        let start = Instant::now();
        writer.tell_drops(&shared, start);
        assert_eq!(said.counts(), [0, 0, 0]);
        for _ in 0..3 {
            shared.drop_record();
            writer.tell_drops(&shared, start);
        }
        assert_eq!(said.counts(), [0, 1, 0]);
        writer.tell_drops(&shared, start + DROPS_TOLD_EVERY);
        writer.tell_drops(&shared, start + DROPS_TOLD_EVERY * 2);
        assert_eq!(said.counts(), [0, 2, 0]);
    });
}

#[test]
fn long_texts_fill_the_queue_before_its_places_do() {
    let shared = Shared::new(64);
    let heavy = || {
        let mut record = sample::bare();
        record.path = vec![b'a'; 16 * 1024].into();
        Box::new(record)
    };
    let taken = (0..64).filter(|_| shared.push(heavy())).count();
    assert_eq!(taken, 4, "64 places may keep 64 KiB");
    assert_eq!(shared.stats().dropped, 60);
    assert!(shared.presses(64));

    let mut writer = Writer::new(Scripted::new([]));
    assert_eq!(writer.turn(&shared), Turn::Empty);
    assert_eq!(shared.stats().written, 4);
    assert!(!shared.presses(64));
    assert!(shared.push(heavy()), "there is room again");
}
