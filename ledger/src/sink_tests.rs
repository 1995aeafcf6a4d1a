use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, rotate_bytes: u64, keep: u32) -> RotatingFile {
        RotatingFile::open(&self.path("log"), rotate_bytes, keep).unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn write_all(file: &mut RotatingFile, lines: &str) {
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        let written = file.write(rest).unwrap();
        rest = &rest[written..];
    }
}

#[test]
fn creates_a_file_that_only_its_owner_may_read() {
    let place = Place::new();
    place.open(0, 0);
    let mode = std::fs::metadata(place.path("log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn appends_to_what_is_there() {
    let place = Place::new();
    std::fs::write(place.path("log"), "old\n").unwrap();
    write_all(&mut place.open(0, 0), "new\n");
    assert_eq!(place.text("log"), "old\nnew\n");
}

#[test]
fn ends_a_line_that_a_crash_left_open() {
    let place = Place::new();
    std::fs::write(place.path("log"), "whole\n{\"half").unwrap();
    write_all(&mut place.open(0, 0), "new\n");
    assert_eq!(place.text("log"), "whole\n{\"half\nnew\n");
}

#[test]
fn rotates_between_lines_and_keeps_so_many_files() {
    let place = Place::new();
    let mut file = place.open(10, 2);
    write_all(&mut file, "aaaa\nbbbb\ncccc\ndddd\neeee\nffff\ngggg\n");
    assert_eq!(place.names(), ["log", "log.1", "log.2"]);
    assert_eq!(place.text("log"), "gggg\n");
    assert_eq!(place.text("log.1"), "eeee\nffff\n");
    assert_eq!(place.text("log.2"), "cccc\ndddd\n");
}

#[test]
fn keeps_no_rotated_file_if_so_told() {
    let place = Place::new();
    write_all(&mut place.open(6, 0), "aaaa\nbbbb\n");
    assert_eq!(place.names(), ["log"]);
    assert_eq!(place.text("log"), "bbbb\n");
}

#[test]
fn counts_what_the_file_had_before() {
    let place = Place::new();
    std::fs::write(place.path("log"), "12345678\n").unwrap();
    write_all(&mut place.open(10, 1), "aaaa\n");
    assert_eq!(place.text("log.1"), "12345678\n");
    assert_eq!(place.text("log"), "aaaa\n");
}

#[test]
fn gives_a_line_that_is_too_long_a_file_of_its_own() {
    let place = Place::new();
    write_all(&mut place.open(8, 3), "a\n0123456789\nb\n");
    assert_eq!(place.text("log.2"), "a\n");
    assert_eq!(place.text("log.1"), "0123456789\n");
    assert_eq!(place.text("log"), "b\n");
}

#[test]
fn goes_on_in_the_same_file_while_it_cannot_rotate() {
    let place = Place::new();
    let mut file = place.open(6, 1);
    // A folder that is not empty cannot be replaced by a file.
    std::fs::create_dir_all(place.path("log.1/occupied")).unwrap();
    write_all(&mut file, "aaaa\nbbbb\ncccc\n");
    assert_eq!(place.text("log"), "aaaa\nbbbb\ncccc\n");
}

#[test]
fn does_not_rotate_within_a_line() {
    let place = Place::new();
    let mut file = place.open(8, 1);
    write_all(&mut file, "aaaa");
    file.size = 8;
    write_all(&mut file, "aa\n");
    assert_eq!(place.names(), ["log"]);
}

#[test]
fn follows_the_path_when_the_file_was_moved_away() {
    let place = Place::new();
    let mut file = place.open(0, 0);
    write_all(&mut file, "one\n");
    std::fs::rename(place.path("log"), place.path("log.old")).unwrap();
    assert_eq!(file.refresh().unwrap(), Refreshed::New);
    assert_eq!(file.refresh().unwrap(), Refreshed::Same);
    write_all(&mut file, "two\n");
    assert_eq!(place.text("log.old"), "one\n");
    assert_eq!(place.text("log"), "two\n");
}

#[test]
fn does_not_rotate_what_another_process_has_just_rotated() {
    let place = Place::new();
    let (mut ours, mut theirs) = (place.open(6, 1), place.open(6, 1));
    write_all(&mut ours, "aaaa\n");
    theirs.refresh().unwrap();
    write_all(&mut theirs, "bbbb\n");
    write_all(&mut ours, "cccc\n");
    assert_eq!(place.text("log.1"), "aaaa\n");
    assert_eq!(place.text("log"), "bbbb\ncccc\n");
}

#[test]
fn refuses_a_path_that_cannot_be_opened() {
    let place = Place::new();
    for path in [place.folder.path().to_owned(), place.path("no/such/folder")] {
        let sink = Sink::File {
            path,
            rotate_bytes: 0,
            keep_files: 0,
        };
        assert!(OpenSink::open(&sink).is_err());
    }
}
