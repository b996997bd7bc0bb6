//! Where a dataset's files are, and when they go.
//!
//! **Invariant**: the files of a deleted dataset stay until the last state that reads them is gone, and no longer.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt};
use lakehouse_storage::{Bucket, Meta};
use object_store_13::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::Handle;
use url::Url;

use crate::TableError;
use crate::records::Intent;

/// The folder under which all datasets of a bucket are.
pub(crate) const DATASETS: &str = "datasets";
/// The folder of a table's Delta log.
pub(crate) const LOG: &str = "_delta_log";

/// One dataset's folder in its bucket.
pub(crate) struct Folder {
    bucket: Bucket,
    id: String,
    meta: Meta,
    io: Handle,
    doomed: AtomicBool,
}

impl Folder {
    pub(crate) fn new(bucket: Bucket, id: &str, meta: Meta, io: Handle) -> Self {
        Self { bucket, id: id.to_owned(), meta, io, doomed: AtomicBool::new(false) }
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The path of the folder in its bucket.
    pub(crate) fn path(&self) -> Path {
        Path::from_iter([DATASETS, &self.id])
    }

    /// The folder as Delta names it.
    pub(crate) fn url(&self) -> Result<Url, TableError> {
        let mut url = self.bucket.url();
        url.set_path(&format!("/{DATASETS}/{}/", self.id));
        Ok(url)
    }

    /// Removes the directories of a local folder in which no file is.
    pub(crate) async fn remove_if_empty(&self) {
        let Some(root) = self.bucket.local_path() else { return };
        let directory = root.join(self.path().as_ref());
        // One with files stays; what stays for another reason is swept at the next start.
        let _ = tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_dir(directory.join(LOG));
            std::fs::remove_dir(directory)
        })
        .await;
    }

    /// Lets the files go once nobody reads them.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            let (bucket, meta, id) = (self.bucket.clone(), self.meta.clone(), std::mem::take(&mut self.id));
            self.io.spawn(async move {
                if let Err(error) = sweep_dropped(&bucket, &meta, &id).await {
                    tracing::warn!(dataset_id = id, error = %error, "the files of a deleted dataset stay until the next start");
                }
            });
        }
    }
}

/// Deletes a dropped dataset's files, then the intent that remembers them.
pub(crate) async fn sweep_dropped(bucket: &Bucket, meta: &Meta, id: &str) -> Result<(), TableError> {
    delete_all(bucket, &Path::from_iter([DATASETS, id]), "").await?;
    let mut transaction = meta.begin().await?;
    transaction.delete::<Intent>(&drop_key(id));
    Ok(transaction.commit().await?)
}

/// The key of the intent that a deletion leaves.
pub(crate) fn drop_key(id: &str) -> String {
    format!("drop-{id}")
}

/// Deletes what is under `folder` and has a file name that begins with `prefix`; all of it, folders too, for an empty prefix.
pub(crate) async fn delete_all(bucket: &Bucket, folder: &Path, prefix: &str) -> Result<u64, TableError> {
    let found: Vec<Path> = bucket.compat().list(Some(folder)).map_ok(|meta| meta.location).try_collect().await?;
    let doomed = found.into_iter().filter(|path| path.filename().is_some_and(|name| name.starts_with(prefix)));
    let deleted = delete_objects(bucket, doomed).await?;
    if prefix.is_empty()
        && let Some(root) = bucket.local_path()
    {
        let directory = root.join(folder.as_ref());
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await?;
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
    }
    Ok(deleted)
}

/// Deletes objects, several at once; answers how many were there.
pub(crate) async fn delete_objects(bucket: &Bucket, paths: impl IntoIterator<Item = Path>) -> Result<u64, TableError> {
    const AT_ONCE: usize = 16;
    let deletes = paths.into_iter().map(|path| {
        let store = bucket.compat();
        async move {
            match store.delete(&path).await {
                Ok(()) => Ok(1),
                Err(object_store_13::Error::NotFound { .. }) => Ok(0),
                Err(error) => Err(TableError::from(error)),
            }
        }
    });
    // Collected, so that the iterator itself need not be `Send`.
    let deletes: Vec<_> = deletes.collect();
    futures::stream::iter(deletes).buffer_unordered(AT_ONCE).try_fold(0, |sum, one| async move { Ok(sum + one) }).await
}
