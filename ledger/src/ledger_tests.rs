use std::path::Path;

use super::*;
use crate::sample;
use crate::sink::Refreshed;

const HOUR: Duration = Duration::from_secs(3600);
/// Only so that a test that fails also ends.
const PATIENCE: Duration = Duration::from_secs(30);

fn to_file(path: &Path, queue: usize) -> Ledger {
    let sink = Sink::File {
        path: path.to_owned(),
        rotate_bytes: 0,
        keep_files: 0,
    };
    Ledger::start(Config {
        sink,
        queue,
        flush_interval: HOUR,
    })
    .unwrap()
}

fn paths(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["path"].as_str().unwrap().to_owned()
    };
    text.lines().map(path).collect()
}

/// Tells of each write, and waits to be let on.
struct Gated {
    wrote: Sender<Vec<u8>>,
    gate: Receiver<()>,
}

impl Gated {
    fn new() -> (Self, Receiver<Vec<u8>>, Sender<()>) {
        let (wrote, written) = channel();
        let (open, gate) = channel();
        (Self { wrote, gate }, written, open)
    }
}

impl Output for Gated {
    fn refresh(&mut self) -> io::Result<Refreshed> {
        Ok(Refreshed::Same)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let _ = self.wrote.send(lines.to_vec());
        // A gate that was dropped stands open.
        let _ = self.gate.recv();
        Ok(lines.len())
    }
}

#[test]
fn closing_writes_everything_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let ledger = to_file(&path, 1000);
    for number in 0..400 {
        ledger.submit(sample::numbered(number));
    }
    ledger.close();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        paths(&text),
        (0..400)
            .map(|number| format!("/{number}"))
            .collect::<Vec<_>>()
    );
    let bytes = text.len() as u64;
    assert_eq!(
        ledger.stats(),
        Stats {
            written: 400,
            bytes,
            ..Stats::default()
        }
    );
}

#[test]
fn dropping_the_ledger_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let ledger = to_file(&path, 10);
    ledger.submit(sample::numbered(7));
    drop(ledger);
    assert_eq!(paths(&std::fs::read_to_string(&path).unwrap()), ["/7"]);
}

#[test]
fn a_sink_that_keeps_nothing_counts_nothing() {
    let ledger = Ledger::start(Config {
        sink: Sink::Null,
        queue: 4,
        flush_interval: HOUR,
    })
    .unwrap();
    assert!(!ledger.keeps_records());
    ledger.submit(sample::bare());
    ledger.close();
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped, stats.queued), (0, 0, 0));
}

#[test]
fn closing_again_does_nothing_and_later_records_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = to_file(&folder.path().join("requests.jsonl"), 4);
    assert!(ledger.keeps_records());
    ledger.submit(sample::bare());
    ledger.close();
    ledger.close();
    ledger.submit(sample::bare());
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped, stats.queued), (1, 1, 0));
}

#[test]
fn writes_at_the_flush_interval() {
    let (output, written, open) = Gated::new();
    let ledger = Ledger::start_with(output, 1000, Duration::from_millis(1)).unwrap();
    ledger.submit(sample::numbered(1));
    let text = written.recv_timeout(PATIENCE).unwrap();
    assert_eq!(paths(&String::from_utf8(text).unwrap()), ["/1"]);
    drop(open);
}

#[test]
fn wakes_the_writer_when_the_queue_is_half_full_and_not_before() {
    let (output, written, open) = Gated::new();
    let ledger = Ledger::start_with(output, 8, HOUR).unwrap();
    for number in 0..3 {
        ledger.submit(sample::numbered(number));
        assert!(!ledger.shared.woken.load(Ordering::Acquire));
    }
    drop(open);
    while ledger.stats().written == 0 {
        // The thread's first turn may have taken some of them.
        ledger.submit(sample::bare());
        thread::yield_now();
    }
    assert!(written.recv_timeout(PATIENCE).is_ok());
}

#[test]
fn a_full_queue_drops_and_counts_exactly() {
    let (output, written, open) = Gated::new();
    let ledger = Ledger::start_with(output, 16, HOUR).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|number| ledger.submit(sample::numbered(number))));
        }
    });
    assert!(ledger.stats().dropped > 0);
    drop(open);
    ledger.close();
    let stats = ledger.stats();
    assert_eq!(stats.written + stats.dropped, 4000);
    assert_eq!(stats.queued, 0);
    let lines: usize = written
        .iter()
        .map(|text| memchr::memchr_iter(b'\n', &text).count())
        .sum();
    assert_eq!(stats.written, lines as u64);
}

#[test]
fn counts_exactly_while_it_is_closed_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = to_file(&folder.path().join("requests.jsonl"), 16);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|number| ledger.submit(sample::numbered(number))));
        }
        scope.spawn(|| ledger.close());
    });
    let stats = ledger.stats();
    assert_eq!((stats.written + stats.dropped, stats.queued), (4000, 0));
}

#[test]
fn a_full_disk_blocks_nobody_and_is_counted() {
    let ledger = to_file(Path::new("/dev/full"), 16);
    for number in 0..1000 {
        ledger.submit(sample::numbered(number));
    }
    ledger.close();
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped, stats.bytes), (0, 1000, 0));
    assert!(stats.errors > 0);
}

#[test]
fn closing_gives_up_on_a_sink_that_is_stuck() {
    let (output, _written, open) = Gated::new();
    let ledger = Ledger::start_with(output, 4, HOUR).unwrap();
    ledger.submit(sample::bare());
    ledger.close_within(Duration::from_millis(10));
    assert_eq!(ledger.stats().written, 0);
    drop(open);
}

#[test]
fn refuses_a_configuration_that_cannot_work() {
    let start = |sink, queue, flush_interval| {
        Ledger::start(Config {
            sink,
            queue,
            flush_interval,
        })
        .unwrap_err()
        .to_string()
    };
    let path = PathBuf::from("/no/such/folder/requests.jsonl");
    let missing = start(
        Sink::File {
            path,
            rotate_bytes: 0,
            keep_files: 0,
        },
        8,
        HOUR,
    );
    assert!(missing.starts_with("request log /no/such/folder/requests.jsonl cannot be opened: "));
    assert!(start(Sink::Null, 1, HOUR).contains("at least 2"));
    assert!(start(Sink::Null, 8, Duration::ZERO).contains("longer than 0 ms"));
}
