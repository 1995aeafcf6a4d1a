//! Files that are looked at once a second: has the text of any of them
//! changed? Texts decide, not times, so that a file that is written again as
//! it was is no change, and a secret mounted by Kubernetes through symbolic
//! links is seen. But texts are read only where the file itself looks
//! different, or so young that its time does not tell: reading 30 MB of routes
//! every second would take a twentieth of a core.

use std::collections::hash_map::DefaultHasher;
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The coarsest clock of a file system, and some.
pub const YOUNG: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Watch {
    files: Vec<PathBuf>,
    looks: Vec<Option<Look>>,
    texts: u64,
}

/// How a file looks without being read: behind its links, another file or one
/// that was written looks different.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    is_young: bool,
}

impl Watch {
    pub fn new(files: Vec<PathBuf>) -> Self {
        // Looked at before they are read: what is written between is seen.
        let looks = looks(&files);
        let texts = texts(&files);
        Self {
            files,
            looks,
            texts,
        }
    }

    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Had nobody touched any of the files for so long?
    pub fn is_older_than(&self, age: Duration) -> bool {
        let now = SystemTime::now();
        let mut looks = self.looks.iter();
        looks.all(|look| look.is_some_and(|look| look.is_older_than(age, now)))
    }

    /// Since it was asked last.
    pub fn has_changed(&mut self) -> bool {
        let looks = looks(&self.files);
        let is_sure = !looks.iter().flatten().any(|look| look.is_young);
        if is_sure && looks == self.looks {
            return false;
        }
        self.looks = looks;
        let texts = texts(&self.files);
        std::mem::replace(&mut self.texts, texts) != texts
    }
}

fn looks(files: &[PathBuf]) -> Vec<Option<Look>> {
    let now = SystemTime::now();
    let look = |file: &PathBuf| Some(Look::of(&std::fs::metadata(file).ok()?, now));
    files.iter().map(look).collect()
}

/// Of names and texts; a file that cannot be read has a text of its own.
fn texts(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

impl Look {
    fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        let touched = self.modified.max(self.changed).0;
        let touched = Duration::from_secs(touched.try_into().unwrap_or(u64::MAX));
        let since_then = now
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|now| now.checked_sub(touched));
        since_then.is_some_and(|since_then| since_then > age)
    }

    fn of(file: &Metadata, now: SystemTime) -> Self {
        let age = file
            .modified()
            .ok()
            .and_then(|at| now.duration_since(at).ok());
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            // A time in the future tells nothing either.
            is_young: age.is_none_or(|age| age < YOUNG),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn watch(text: &str) -> (tempfile::TempDir, PathBuf, Watch) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("watched");
        std::fs::write(&file, text).unwrap();
        let watch = Watch::new(vec![file.clone()]);
        (folder, file, watch)
    }

    /// As if it had been written long ago.
    fn age(file: &PathBuf) {
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options().append(true).open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }

    #[test]
    fn another_text_is_a_change_and_the_same_is_none() {
        let (_folder, file, mut watch) = watch("one");
        assert!(!watch.has_changed());
        std::fs::write(&file, "two").unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
        std::fs::write(&file, "two").unwrap();
        assert!(!watch.has_changed());
        std::fs::remove_file(&file).unwrap();
        assert!(watch.has_changed());
    }

    #[test]
    fn an_old_file_that_is_written_is_a_change() {
        let (_folder, file, mut watch) = watch("one");
        age(&file);
        assert!(!watch.has_changed());
        std::fs::write(&file, "two").unwrap();
        age(&file);
        assert!(watch.has_changed(), "its change time tells");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let (folder, file, _) = watch("one");
        age(&file);
        let other = folder.path().join("other");
        std::fs::write(&other, "two").unwrap();
        age(&other);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut watch = Watch::new(vec![link.clone()]);
        assert!(!watch.has_changed());
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(watch.has_changed());
    }

    #[test]
    fn a_file_that_appears_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("late");
        let mut watch = Watch::new(vec![file.clone()]);
        std::fs::write(&file, "").unwrap();
        assert!(watch.has_changed());
    }
}
