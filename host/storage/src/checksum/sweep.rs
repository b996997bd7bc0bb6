//! Removes the sums of objects that are gone: an object goes first, and a process may end in between.

use std::{fs, io, path::Path, time::SystemTime};

use super::FOLDER;

/// Walks the sums under `root`. Those younger than `before` may be of an object that is on its way. Failures are logged: they cost room.
pub(crate) fn sweep(root: &Path, before: SystemTime) {
    match sweep_folder(&root.join(FOLDER), root, before) {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "checksums of objects that are gone were removed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "checksums of objects that are gone may remain"),
    }
}

fn sweep_folder(sums: &Path, objects: &Path, before: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(sums)? {
        let entry = entry?;
        let (path, object) = (entry.path(), objects.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            removed += sweep_folder(&path, &object, before)?;
        } else if !object.exists() && entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| at < before) {
            fs::remove_file(path)?;
            removed += 1;
        }
    }
    Ok(removed)
}
