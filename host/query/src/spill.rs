//! Where queries put what does not fit into memory.
//!
//! **Invariant**: each process has a folder of its own, locked for as long as it lives; what lies in one whose process has ended is
//! removed, and nothing else.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use lakehouse_types::random_bytes;

/// What the name of a process's folder begins with.
const OWN: &str = "host-";
/// What DataFusion's folders are called, which earlier releases kept in the spill folder itself.
const LEGACY: &str = "datafusion-";
const LOCK: &str = "_lock";

/// This process's folder.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    _held: File,
}

impl SpillFolder {
    /// Makes one under `root`, and removes what a killed process left there.
    pub(crate) fn make(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        sweep(root);
        let number = u64::from_le_bytes(random_bytes());
        let path = root.join(format!("{OWN}{number:016x}"));
        fs::create_dir(&path)?;
        let held = OpenOptions::new().create_new(true).write(true).open(path.join(LOCK))?;
        held.lock()?;
        Ok(Self { path, _held: held })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_left = match name.strip_prefix(OWN) {
            Some(_) => is_left(&entry.path()),
            None => name.starts_with(LEGACY),
        };
        if is_left {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody holds the folder. One without a lock is being made, or was left at that very moment: it stays, and is empty.
fn is_left(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::SpillFolder;

    #[test]
    fn only_folders_of_processes_that_ended_go() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("datafusion-old")).unwrap();
        fs::create_dir(root.path().join("something")).unwrap();
        let first = SpillFolder::make(root.path()).unwrap();
        let second = SpillFolder::make(root.path()).unwrap();
        fs::write(first.path().join("rows"), "x").unwrap();
        let left = second.path().to_owned();
        drop(second);
        let third = SpillFolder::make(root.path()).unwrap();
        assert!(first.path().join("rows").exists() && third.path().is_dir());
        assert!(!left.exists() && !root.path().join("datafusion-old").exists());
        assert!(root.path().join("something").exists());
    }
}
