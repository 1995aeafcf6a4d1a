//! Where lines go: a file that is rotated, standard output, or nowhere.
//!
//! A file is opened for appending with mode 0600, so that two processes (a
//! hot upgrade) can share it. It is rotated by renaming to `name.1`, `name.2`,
//! …, between lines, and opened again when somebody else moved it away.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};

/// Where records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    File {
        path: PathBuf,
        /// The file is rotated before it grows beyond this, in bytes; a longer
        /// line gets a file of its own. 0: never rotated by us.
        rotate_bytes: u64,
        /// Rotated files that are kept.
        keep_files: u32,
    },
    Stdout,
    /// Records are counted as written and thrown away.
    Null,
}

/// Takes whole lines.
pub(crate) trait Output {
    /// Called once before the lines of a flush, not for each write.
    fn refresh(&mut self) -> io::Result<Refreshed>;

    /// Writes some of `lines` and says how many bytes; like `io::Write::write`,
    /// but never zero.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize>;
}

/// Whether a line that was begun can be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    Same,
    /// The output is another one: begin the line again.
    New,
}

pub(crate) enum OpenSink {
    File(RotatingFile),
    Stream(File),
    Null,
}

pub(crate) struct RotatingFile {
    path: PathBuf,
    file: File,
    identity: Identity,
    size: u64,
    /// The last write ended within a line, which must go on in this file.
    within_line: bool,
    rotation: Option<Rotation>,
}

struct Rotation {
    every: u64,
    keep: u32,
    /// The size at which the next rotation is due.
    due: u64,
}

/// Tells whether a path still leads to the file that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

// === impl OpenSink ===

impl OpenSink {
    pub(crate) fn open(sink: &Sink) -> io::Result<Self> {
        match sink {
            Sink::File {
                path,
                rotate_bytes,
                keep_files,
            } => RotatingFile::open(path, *rotate_bytes, *keep_files).map(Self::File),
            // A descriptor of our own: no buffer and no lock between us and it.
            Sink::Stdout => {
                let stdout = io::stdout().as_fd().try_clone_to_owned()?;
                Ok(Self::Stream(File::from(stdout)))
            }
            Sink::Null => Ok(Self::Null),
        }
    }
}

impl Output for OpenSink {
    fn refresh(&mut self) -> io::Result<Refreshed> {
        match self {
            Self::File(file) => file.refresh(),
            Self::Stream(_) | Self::Null => Ok(Refreshed::Same),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stream(stream) => write_some(stream, lines),
            Self::Null => Ok(lines.len()),
        }
    }
}

// === impl RotatingFile ===

impl RotatingFile {
    fn open(path: &Path, rotate_bytes: u64, keep: u32) -> io::Result<Self> {
        let (file, metadata) = open_to_append(path)?;
        let rotation = (rotate_bytes > 0 && metadata.is_file()).then_some(Rotation {
            every: rotate_bytes,
            keep,
            due: rotate_bytes,
        });
        Ok(Self {
            path: path.to_owned(),
            file,
            identity: Identity::of(&metadata),
            size: metadata.len(),
            within_line: false,
            rotation,
        })
    }

    /// Follows the path if it leads elsewhere now.
    fn refresh(&mut self) -> io::Result<Refreshed> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if Identity::of(&metadata) == self.identity => {
                // Another process may append, or have truncated it.
                self.size = metadata.len();
                Ok(Refreshed::Same)
            }
            Ok(_) => self.reopen(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.reopen(),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<Refreshed> {
        let (file, metadata) = open_to_append(&self.path)?;
        self.file = file;
        self.identity = Identity::of(&metadata);
        self.size = metadata.len();
        self.within_line = false;
        if let Some(rotation) = &mut self.rotation {
            rotation.due = rotation.every;
        }
        Ok(Refreshed::New)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.fits_one(lines) {
            self.rotate()?;
        }
        let fitting = lines.get(..self.fitting(lines)).unwrap_or(lines);
        let written = write_some(&mut self.file, fitting)?;
        self.size += written as u64;
        self.within_line = fitting
            .get(..written)
            .is_some_and(|done| !done.ends_with(b"\n"));
        Ok(written)
    }

    fn room(&self) -> usize {
        self.rotation.as_ref().map_or(usize::MAX, |rotation| {
            usize::try_from(rotation.due.saturating_sub(self.size)).unwrap_or(usize::MAX)
        })
    }

    /// An empty file takes a line of any length.
    fn fits_one(&self, lines: &[u8]) -> bool {
        self.within_line || self.size == 0 || first_line(lines) <= self.room()
    }

    /// Bytes of the lines that fit, at least the first.
    fn fitting(&self, lines: &[u8]) -> usize {
        lines
            .get(..self.room())
            .map_or(lines.len(), |room| {
                memrchr(b'\n', room).map_or(0, |at| at + 1)
            })
            .max(first_line(lines))
    }

    /// Moves the files on by one number and begins an empty one. If that
    /// fails, the file goes on growing: an untidy log is better than none.
    fn rotate(&mut self) -> io::Result<()> {
        // Another process may just have done it.
        if self.refresh()? == Refreshed::New {
            return Ok(());
        }
        let Some(rotation) = &mut self.rotation else {
            return Ok(());
        };
        match shift(&self.path, rotation.keep) {
            Ok(()) => self.reopen().map(drop),
            Err(error) => {
                rotation.due = self.size.saturating_add(rotation.every);
                tracing::error!(path = %self.path.display(), %error, "request log not rotated");
                Ok(())
            }
        }
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

fn open_to_append(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path)?;
    end_last_line(&mut file)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// A crash may have left half a line; the next record must not continue it.
fn end_last_line(file: &mut File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let (true, Some(at)) = (metadata.is_file(), metadata.len().checked_sub(1)) else {
        return Ok(());
    };
    let mut last = [0];
    file.read_exact_at(&mut last, at)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// `name` → `name.1` → `name.2` …; the last of `keep` is overwritten.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match std::fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn first_line(lines: &[u8]) -> usize {
    memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

fn write_some(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match file.write(bytes) {
        Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
