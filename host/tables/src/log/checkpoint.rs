//! Checkpoints: what starts, readers and the library's snapshots are loaded from.
//!
//! **Invariant**: a checkpoint from before a cut never comes after it, with what was cut off.

use std::sync::Arc;

use deltalake_core::protocol::checkpoints::create_checkpoint;
use deltalake_core::{DeltaTable, DeltaTableError};
use lakehouse_storage::Quiet;
use object_store_13::{ObjectStoreExt, path::Path};
use serde_json::Value;

use super::Log;
use crate::TableError;
use crate::folder::{Folder, LOG};
use crate::retire::delete_log_before;
use crate::snapshot::Snapshot;

/// A checkpoint is written after so many commits, and one more for so many files: it names all of them.
const MIN_COMMITS: u64 = 64;
const FILES_PER_COMMIT: u64 = 16;
/// The object that names the newest.
const LAST: &str = "_last_checkpoint";

impl Log {
    /// Whether there were so many commits since the last checkpoint, whichever host wrote it, that another is due.
    pub(super) async fn is_long(&self, snapshot: &Snapshot) -> bool {
        let version = snapshot.version();
        let known = self.known.lock().gathered;
        let before = match known {
            Some(before) => before,
            // One that cannot be looked up is not written either.
            None => self.last_checkpoint().await.unwrap_or(version),
        };
        let is_long = version.saturating_sub(before) >= MIN_COMMITS + snapshot.count_files() as u64 / FILES_PER_COMMIT;
        // Should it fail, it is not tried at every commit from now on.
        self.known.lock().gathered = Some(if is_long { version } else { before });
        is_long
    }

    /// The version of the newest; 0 for none.
    async fn last_checkpoint(&self) -> Option<u64> {
        match self.store.object_store(None).get(&Path::from_iter([LOG, LAST])).await {
            Ok(found) => serde_json::from_slice::<Value>(&found.bytes().await.ok()?).ok()?.get("version")?.as_u64(),
            Err(object_store_13::Error::NotFound { .. }) => Some(0),
            Err(_) => None,
        }
    }

    /// A snapshot that was loaded anew, in the place of one that follows from many commits of Delta's library, each of which is one more
    /// piece to go through; and a checkpoint, from which it is loaded.
    ///
    /// It fails without harm: the snapshot is as good as before.
    pub(super) async fn gathered(&self, snapshot: Snapshot) -> Snapshot {
        if !self.is_long(&snapshot).await {
            return snapshot;
        }
        let version = snapshot.version();
        let gathered = async {
            let _cut = self.cut.lock().await;
            self.checkpoint(Some(version)).await?;
            self.load().await
        };
        match gathered.await {
            Ok(gathered) if gathered.version() == version => gathered,
            Ok(_) => snapshot,
            Err(error) => {
                tracing::warn!(dataset = %self.dataset, %error, "a table's log stays long for now");
                snapshot
            }
        }
    }

    /// Leaves a checkpoint without anybody waiting for it.
    pub(super) fn gather_in_background(&self, version: u64) {
        // While it is held, nobody deletes it.
        let Some(folder) = self.folder.upgrade() else { return };
        let log = self.clone();
        tokio::spawn(async move {
            let cut = log.cut.lock().await;
            if *cut < version
                && let Err(error) = log.checkpoint(None).await
            {
                tracing::warn!(dataset = %log.dataset, %error, "a table's log stays long for now");
            }
            drop(folder);
        });
    }

    /// Shortens the log to a checkpoint of `version`, the newest, and answers a snapshot that stands on it alone, with the number
    /// of objects that are gone. Whoever calls it holds the table's queue.
    pub(crate) async fn trim(&self, folder: &Folder, version: u64) -> Result<(Snapshot, u64), TableError> {
        let mut cut = self.cut.lock().await;
        self.checkpoint(Some(version)).await?;
        // Whoever reads from now on reads the checkpoint: only then does what it stands for go.
        let snapshot = self.load().await?;
        *cut = version;
        self.known.lock().gathered = Some(version);
        let deleted = delete_log_before(folder, version).await?;
        Ok((snapshot, deleted))
    }

    /// Writes a checkpoint of the newest version, which has to be `version` where one is given. The caller holds `cut`.
    async fn checkpoint(&self, version: Option<u64>) -> Result<(), TableError> {
        let mut table = DeltaTable::new(Arc::clone(&self.store));
        table.load().await.map_err(|source| self.failed(source))?;
        if version.is_some() && table.version() != version {
            return Err(TableError::Conflict {
                dataset: self.dataset.clone(),
                source: Quiet::of(DeltaTableError::Generic("a foreign writer committed".to_owned())),
            });
        }
        create_checkpoint(&table, None).await.map_err(|source| self.failed(source))
    }
}
