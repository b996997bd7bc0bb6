//! One writer per local bucket, by an operating system lock.
//!
//! **Invariant**: the lock is held from before the first write until the bucket is let go; the kernel releases it on any death, so a
//! killed host never blocks its successor. Whoever takes the storage from a holder that lives puts another file in the lock's place:
//! the holder is not told, and what it still tries is refused elsewhere.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::StorageError;

const FILE: &str = "_lock";
/// What will be in its place.
const NEXT: &str = "_lock.next";
const PAUSE: Duration = Duration::from_millis(25);
/// A predecessor that was just killed needs a moment to be gone: half a second.
const PAUSES: u32 = 20;

/// Held for as long as this host may write.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: File,
    /// The file system's time when the lock was taken: what is older was left by a predecessor.
    pub(crate) since: SystemTime,
}

impl WriterLock {
    /// Takes the lock under `root`. Blocks for at most half a second.
    pub(crate) fn take(root: &Path) -> Result<Self, LockError> {
        let path = root.join(FILE);
        for pause in 0..=PAUSES {
            let file = open(&path)?;
            match file.try_lock() {
                // Not one that was put aside meanwhile.
                Ok(()) if !is_at(&file, &path)? => {}
                Ok(()) => return Self::held(file),
                Err(TryLockError::WouldBlock) if pause < PAUSES => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        Err(LockError::Held)
    }

    /// Whether nobody holds the lock at this moment.
    pub(crate) fn is_free(root: &Path) -> bool {
        let Ok(file) = OpenOptions::new().read(true).open(root.join(FILE)) else { return false };
        // Let go at once: whoever takes it meanwhile tries again.
        file.try_lock_shared().is_ok()
    }

    fn held(file: File) -> Result<Self, LockError> {
        let mut holder = &file;
        file.set_len(0)?;
        writeln!(holder, "{}", std::process::id())?;
        let since = file.metadata()?.modified()?;
        Ok(Self { _file: file, since })
    }
}

/// What will be the lock of a directory in the place of the one that another host may hold.
#[derive(Debug)]
pub(crate) struct NextLock {
    file: File,
    root: PathBuf,
}

impl NextLock {
    /// One taker at a time: a second one is refused. Nothing has changed for the holder yet.
    pub(crate) fn prepare(root: &Path) -> Result<Self, LockError> {
        let next = root.join(NEXT);
        let file = open(&next)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &next)? => Ok(Self { file, root: root.to_owned() }),
            Ok(()) | Err(TryLockError::WouldBlock) => Err(LockError::Held),
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }

    /// Takes the lock, whoever holds it.
    pub(crate) fn seize(self) -> Result<WriterLock, LockError> {
        fs::rename(self.root.join(NEXT), self.root.join(FILE))?;
        File::open(&self.root)?.sync_all()?;
        WriterLock::held(self.file)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Whether the path still leads to this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, found) = (file.metadata()?, fs::metadata(path));
    match found {
        Ok(found) => Ok((held.dev(), held.ino()) == (found.dev(), found.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
pub(crate) enum LockError {
    Held,
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl LockError {
    pub(crate) fn into_storage(self, name: &lakehouse_types::BucketName, path: &Path) -> StorageError {
        match self {
            Self::Held => StorageError::Locked { path: path.to_owned() },
            Self::Io(source) => StorageError::OpenBucket { name: name.clone(), path: path.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{LockError, NextLock, WriterLock};

    fn seized(root: &Path) -> WriterLock {
        NextLock::prepare(root).unwrap().seize().unwrap()
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let first = WriterLock::take(root.path()).unwrap();
        assert!(matches!(WriterLock::take(root.path()), Err(LockError::Held)));
        drop(first);
        assert!(WriterLock::take(root.path()).is_ok());
    }

    #[test]
    fn a_lock_that_was_taken_from_its_holder_is_worth_nothing() {
        let root = tempfile::tempdir().unwrap();
        let first = WriterLock::take(root.path()).unwrap();
        assert!(!WriterLock::is_free(root.path()));
        let next = NextLock::prepare(root.path()).unwrap();
        assert!(matches!(NextLock::prepare(root.path()), Err(LockError::Held)), "one taker at a time");
        drop(next);
        let second = seized(root.path());
        assert!(matches!(WriterLock::take(root.path()), Err(LockError::Held)));
        drop(first);
        assert!(!WriterLock::is_free(root.path()), "the holder of before lets go of nothing");
        assert!(matches!(WriterLock::take(root.path()), Err(LockError::Held)));
        drop(second);
        assert!(WriterLock::is_free(root.path()));
        let third = WriterLock::take(root.path()).unwrap();
        let fourth = seized(root.path());
        let fifth = seized(root.path());
        drop((third, fourth));
        assert!(!WriterLock::is_free(root.path()));
        drop(fifth);
    }
}
