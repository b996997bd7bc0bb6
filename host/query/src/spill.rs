//! Where queries put what does not fit into memory.
//!
//! **Invariant**: each process has a folder of its own, locked for as long as it lives; what lies in one whose process has ended is
//! removed, and nothing else; nobody but the process's own user reads what is in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
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
        loop {
            let number = u64::from_le_bytes(random_bytes());
            let path = root.join(format!("{OWN}{number:016x}"));
            // Rows of others: for nobody else on this machine, whatever its umask says.
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = path.join(LOCK);
            let held = OpenOptions::new().create_new(true).write(true).open(&lock)?;
            // Whoever sweeps holds it while the folder goes: one that was taken for a leftover is gone by now.
            held.lock()?;
            if lock.exists() {
                return Ok(Self { path, _held: held });
            }
        }
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
        if name.starts_with(OWN) {
            // One without a lock is being made, or was left at that very moment: it stays, and is empty.
            let Some(_held) = abandoned(&entry.path()) else { continue };
            let _ = fs::remove_dir_all(entry.path());
        } else if name.starts_with(LEGACY) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The lock of a folder that nobody holds, taken.
fn abandoned(folder: &Path) -> Option<File> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    lock.try_lock().is_ok().then_some(lock)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::SpillFolder;

    #[test]
    fn many_that_start_at_once_take_nothing_from_each_other() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut last = None;
                    for _ in 0..50 {
                        let made = SpillFolder::make(root.path()).unwrap();
                        fs::write(made.path().join("rows"), "x").unwrap();
                        drop(last.replace(made));
                    }
                    assert!(last.unwrap().path().join("rows").exists());
                });
            }
        });
    }

    #[test]
    fn what_is_spilled_is_for_the_servers_own_user() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let made = SpillFolder::make(root.path()).unwrap();
        assert_eq!(fs::metadata(made.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

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
