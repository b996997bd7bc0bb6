//! Objects that no index names: folders are written down before the first object is in them, and crossed out by the commit that
//! makes an index name them.
//!
//! **Invariant**: whatever stops the process, a folder that is not crossed out is deleted at the next start, and nothing else ever is:
//! what metadata does not know stays.

use futures::{StreamExt, TryStreamExt};
use lakehouse_catalog::IndexLitter;
use lakehouse_storage::{Buckets, Meta, StorageError, object_store::path::Path};
use lakehouse_types::IndexId;

use crate::Result;

/// The folder of all indexes in a bucket.
const FOLDER: &str = "indexes";

/// The folder of an index's objects.
pub fn folder_of_index(index: &IndexId) -> String {
    format!("{FOLDER}/{index}")
}

/// The folder of a segment's objects.
pub fn folder_of_segment(index: &IndexId, segment: &IndexId) -> String {
    format!("{FOLDER}/{index}/{segment}")
}

/// Writes a folder down, durably.
pub(crate) async fn note(meta: &Meta, litter: &IndexLitter) -> Result<()> {
    let mut txn = meta.begin().await?;
    txn.put(&litter.folder, litter)?;
    Ok(txn.commit().await?)
}

/// Deletes every folder that is written down, and crosses it out: at a start, when nobody writes one. A bucket that fails, or is no
/// longer declared, is left for the next time.
///
/// # Errors
/// When the metadata store fails.
pub async fn sweep(meta: &Meta, buckets: &Buckets) -> Result<()> {
    for (_, litter) in meta.collection::<IndexLitter>().all().await? {
        clear(meta, buckets, &litter).await?;
    }
    Ok(())
}

/// The same of these folders, while others are being written: those that a commit has just written down.
///
/// # Errors
/// When the metadata store fails.
pub async fn sweep_folders(meta: &Meta, buckets: &Buckets, folders: &[String]) -> Result<()> {
    for folder in folders {
        if let Some(litter) = meta.collection::<IndexLitter>().get(folder).await? {
            clear(meta, buckets, &litter).await?;
        }
    }
    Ok(())
}

async fn clear(meta: &Meta, buckets: &Buckets, litter: &IndexLitter) -> Result<()> {
    if let Err(error) = empty(buckets, litter).await {
        tracing::warn!(%error, folder = litter.folder, "objects that no index names could not be deleted");
        return Ok(());
    }
    let mut txn = meta.begin().await?;
    txn.delete::<IndexLitter>(&litter.folder);
    Ok(txn.commit().await?)
}

async fn empty(buckets: &Buckets, litter: &IndexLitter) -> Result<(), StorageError> {
    let bucket = buckets.get(&litter.bucket)?;
    let store = bucket.store();
    let found = store.list(Some(&Path::from(litter.folder.as_str()))).map_ok(|object| object.location).boxed();
    store.delete_stream(found).try_for_each(|_| async { Ok(()) }).await.map_err(|error| bucket.error(error))
}
