//! One writer per local bucket, by an operating system lock.
//!
//! **Invariant**: the lock is held from before the first write until the process ends; the kernel releases it on any death,
//! so a killed host never blocks its successor.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::StorageError;

const FILE: &str = "_lock";
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
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        for pause in 0..=PAUSES {
            match file.try_lock() {
                Ok(()) => {
                    let mut holder = &file;
                    file.set_len(0)?;
                    writeln!(holder, "{}", std::process::id())?;
                    let since = file.metadata()?.modified()?;
                    return Ok(Self { _file: file, since });
                }
                Err(TryLockError::WouldBlock) if pause < PAUSES => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        Err(LockError::Held)
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
    use super::{LockError, WriterLock};

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let first = WriterLock::take(root.path()).unwrap();
        assert!(matches!(WriterLock::take(root.path()), Err(LockError::Held)));
        drop(first);
        assert!(WriterLock::take(root.path()).is_ok());
    }
}
