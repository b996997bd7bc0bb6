//! Which folder the metadata is in: `_meta/1`, until a numbered object beside it says a higher one.
//!
//! **Invariant**: `_meta/generation-N` exists only when `_meta/N` is whole and durable; the highest holds. What is in other folders is
//! nobody's, once this host is the writer.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};

use super::FOLDER;
use crate::{Bucket, Result, checksum};

const MARKER: &str = "generation-";

/// The folder of one.
pub(super) fn folder(generation: u64) -> Path {
    Path::from_iter([FOLDER.to_owned(), generation.to_string()])
}

fn marker(generation: u64) -> Path {
    Path::from_iter([FOLDER.to_owned(), format!("{MARKER}{generation:010}")])
}

/// A writer's number over all generations: each counts its writers anew.
pub(super) fn epoch(generation: u64, writer: u64) -> u64 {
    (generation.saturating_sub(1) << 32) | writer
}

/// The one that holds.
pub(super) async fn present(bucket: &Bucket) -> Result<u64> {
    Ok(markers(bucket).await?.into_iter().max().unwrap_or(1))
}

/// Whether nothing is in its folder.
pub(super) async fn is_missing(bucket: &Bucket, generation: u64) -> Result<bool> {
    let found = bucket.store().list_with_delimiter(Some(&folder(generation))).await.map_err(|error| bucket.error(error))?;
    Ok(found.objects.is_empty() && found.common_prefixes.is_empty())
}

async fn markers(bucket: &Bucket) -> Result<Vec<u64>> {
    let listed = bucket.store().list_with_delimiter(Some(&Path::from(FOLDER))).await.map_err(|error| bucket.error(error))?;
    let numbers = listed.objects.iter().filter_map(|object| object.location.filename()?.strip_prefix(MARKER)?.parse().ok());
    Ok(numbers.collect())
}

/// Makes a generation that is whole and durable the one that holds.
pub(super) async fn switch(bucket: &Bucket, generation: u64) -> Result<()> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let put = bucket.store().put_opts(&marker(generation), Vec::new().into(), options).await;
    match put {
        Ok(_) => Ok(()),
        // A repeated call whose first answer was lost: the store has one writer, so a marker that is there is its own.
        Err(object_store::Error::AlreadyExists { .. }) if markers(bucket).await?.contains(&generation) => Ok(()),
        Err(error) => Err(bucket.error(error)),
    }
}

/// Folders and markers of other generations than the one that holds.
#[derive(Debug)]
pub(super) struct Others {
    folders: Vec<u64>,
    markers: Vec<u64>,
}

/// What is there besides one. Whoever is to delete it makes sure afterwards that it still is the writer: another one may have begun a
/// generation since.
pub(super) async fn others(bucket: &Bucket, but: u64) -> Result<Others> {
    let listed = bucket.store().list_with_delimiter(Some(&Path::from(FOLDER))).await.map_err(|error| bucket.error(error))?;
    let number = |path: &Path| path.filename().and_then(|name| name.parse::<u64>().ok());
    let folders = listed.common_prefixes.iter().filter_map(number).filter(|number| *number != but).collect();
    let markers = markers(bucket).await?.into_iter().filter(|number| *number < but).collect();
    Ok(Others { folders, markers })
}

/// Deletes them, directories and entries synced, markers last.
pub(super) async fn sweep(bucket: &Bucket, others: &Others) -> Result<()> {
    let store = bucket.store();
    for other in &others.folders {
        clear(bucket, *other).await?;
    }
    for other in &others.markers {
        match store.delete(&marker(*other)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(bucket.error(error)),
        }
    }
    Ok(())
}

/// Deletes one.
pub(super) async fn clear(bucket: &Bucket, generation: u64) -> Result<()> {
    let (store, folder) = (bucket.store(), folder(generation));
    let found = store.list(Some(&folder)).map_ok(|object| object.location).boxed();
    let deleted = store.delete_stream(found).try_for_each(|_| async { Ok(()) }).await;
    match deleted {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(bucket.error(error)),
    }
    let Some(root) = bucket.local_path().map(std::path::Path::to_owned) else { return Ok(()) };
    let removed = bucket.io().spawn_blocking(move || {
        for folder in [root.join(folder.as_ref()), root.join(checksum::FOLDER).join(folder.as_ref())] {
            match std::fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::File::open(root.join(FOLDER))?.sync_all()
    });
    let removed = removed.await.map_err(|_| crate::StorageError::TaskLost)?;
    removed.map_err(|source| bucket.error(object_store::Error::Generic { store: "local", source: Box::new(source) }))
}
