//! Removes what a killed predecessor left half written in a local bucket.
//!
//! A local store writes `name#1` and moves it into place; a process that dies in between leaves that file. Listings skip it,
//! but it holds data and takes room.
//!
//! **Invariant**: only staging files from before this host took the writer's lock are touched.

use std::{fs, io, path::Path, time::SystemTime};

/// Walks `root` and removes abandoned staging files. Failures are logged: they cost room, not truth.
pub(crate) fn sweep(root: &Path, before: SystemTime) {
    match sweep_directory(root, before) {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "half-written objects of an earlier run were removed"),
        Err(error) => tracing::warn!(%error, "half-written objects of an earlier run may remain"),
    }
}

fn sweep_directory(directory: &Path, before: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let outcome = if kind.is_dir() {
            sweep_directory(&entry.path(), before)
        } else if kind.is_file() && is_staging(&entry.file_name().to_string_lossy()) {
            remove_if_older(&entry, before)
        } else {
            Ok(0)
        };
        removed += match outcome {
            // Directories come and go beside us.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            outcome => outcome?,
        };
    }
    Ok(removed)
}

fn remove_if_older(entry: &fs::DirEntry, before: SystemTime) -> io::Result<u64> {
    if entry.metadata()?.modified()? >= before {
        return Ok(0);
    }
    fs::remove_file(entry.path())?;
    Ok(1)
}

/// `name#12`, as object_store names its staging files.
fn is_staging(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::sweep;

    #[test]
    fn only_old_staging_files_go() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("d")).unwrap();
        for name in ["d/a.parquet#1", "d/a.parquet", "b#x", "c#", "e#22"] {
            fs::write(path(name), "x").unwrap();
        }
        let written = fs::metadata(path("e#22")).unwrap().modified().unwrap();
        sweep(root.path(), written - Duration::from_secs(60));
        assert!(path("e#22").exists() && path("d/a.parquet#1").exists());
        sweep(root.path(), written + Duration::from_secs(60));
        let mut left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b#x", "c#", "d"]);
        assert!(path("d/a.parquet").exists() && !path("d/a.parquet#1").exists());
    }
}
