//! What a start does before it serves: load, finish or undo, sweep.
//!
//! **Invariant**: each step may be interrupted and repeated. What has a Delta log is deleted only if an intent says so. A write that
//! an earlier host began is undone only once that host, should it still live, can no longer put its commit into the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lakehouse_catalog::{DatasetRecord, TombstoneRecord};
use lakehouse_storage::Bucket;
use lakehouse_types::ColumnName;
use object_store_13::{ObjectStore, path::Path};

use crate::fence::{Standing, standing};
use crate::folder::{DATASETS, Folder, LOG, delete_all, sweep_dropped};
use crate::records::{Counters, Intent, Stage};
use crate::table::{Absence, Table};
use crate::{DatasetState, TableError, Tables, Tombstones};

/// Tables that are loaded at once.
const LOADS: usize = 8;

impl Tables {
    pub(crate) async fn repair(self: Arc<Self>) -> Result<(), TableError> {
        let intents = self.meta.collection::<Intent>().all().await?;
        self.load_all().await?;
        self.load_retired().await?;
        // What was deleted goes first, so that no write of it is looked for.
        let (dropped, begun): (Vec<_>, Vec<_>) =
            intents.into_iter().partition(|(_, intent)| matches!(intent.stage, Stage::Dropping));
        for (key, intent) in dropped {
            self.finish_deletion(&key, &intent).await?;
        }
        for (key, intent) in begun {
            self.repair_write(&key, intent).await?;
        }
        self.sweep_orphans().await?;
        self.forget_outcomes().await
    }

    async fn finish_deletion(&self, key: &str, intent: &Intent) -> Result<(), TableError> {
        tracing::info!(dataset = %intent.dataset, id = intent.id, "finishing an interrupted deletion");
        // A deletion whose outcome was unknown, and that a later write undid: what the catalog has is never swept.
        if self.owned().contains(&intent.id) {
            return self.forget_intent(key).await;
        }
        let bucket = self.buckets.home(&intent.bucket);
        if bucket.is_absent() {
            tracing::error!(
                dataset = %intent.dataset, bucket = %intent.bucket,
                "the files of a deleted dataset stay: the settings do not name their bucket"
            );
            return Ok(());
        }
        sweep_dropped(&bucket, &self.meta, &intent.id).await
    }

    /// Finishes or undoes a write. One of a table that cannot be read stays as it is until a start can.
    async fn repair_write(&self, write: &str, intent: Intent) -> Result<(), TableError> {
        tracing::info!(dataset = %intent.dataset, write, "repairing an interrupted write");
        let bucket = self.buckets.home(&intent.bucket);
        if bucket.is_absent() {
            tracing::error!(
                dataset = %intent.dataset, write, bucket = %intent.bucket,
                "an interrupted write stays until the settings name its bucket again"
            );
            return Ok(());
        }
        let known = self.table(&intent.dataset).filter(|table| table.folder.id() == intent.id);
        let table = match known {
            Some(table) => table,
            None => {
                let folder = Folder::new(bucket, &intent.id, self.meta.clone(), self.io.clone());
                Arc::new(Table::new(intent.dataset.clone(), Arc::new(folder))?)
            }
        };
        let is_readable = !matches!(table.absence(), Some(Absence::Unreadable(_)));
        let mut queue = table.queue().await?;
        // What was in the memory of an earlier host, it takes with it.
        if is_readable && intent.stage.may_commit() && !table.folder.bucket().is_volatile() {
            self.fence(&table).await?;
        }
        let resumed = match is_readable {
            true => self.resume(&table, &mut queue, write, intent).await,
            false => Err(table.refusal()),
        };
        match resumed {
            Err(error @ (TableError::Unreadable { .. } | TableError::Delta { .. } | TableError::Corrupt { .. }))
                if table.state().is_none() =>
            {
                tracing::error!(dataset = %table.name, write, error = %error, "an interrupted write stays until its table can be read");
            }
            other => other?,
        }
        if table.state().is_some() {
            self.insert(Arc::clone(&table));
        }
        Ok(())
    }

    /// A dataset's tombstones as they are kept.
    pub(crate) async fn load_tombstones(&self, id: &str, column: Option<ColumnName>) -> Result<Arc<Tombstones>, TableError> {
        let kept = self.meta.collection::<TombstoneRecord>().scan(&format!("{id}/"), None, usize::MAX).await?;
        Ok(Arc::new(Tombstones::new(column, kept.into_iter().map(|(_, record)| record.row_key_value))))
    }

    pub(crate) async fn load_all(&self) -> Result<(), TableError> {
        let catalog = self.catalog.snapshot();
        let mut tombstones: HashMap<String, Vec<TombstoneRecord>> = HashMap::new();
        for (key, record) in self.meta.collection::<TombstoneRecord>().all().await? {
            let id = key.split('/').next().unwrap_or_default().to_owned();
            tombstones.entry(id).or_default().push(record);
        }
        let mut counters: HashMap<String, Counters> = self.meta.collection::<Counters>().all().await?.into_iter().collect();
        let loads = catalog.datasets.values().map(|record| {
            let buried = tombstones.remove(record.id.as_str()).unwrap_or_default();
            let counters = counters.remove(record.id.as_str()).unwrap_or_default();
            self.load(record, buried, counters)
        });
        let loads: Vec<_> = loads.collect();
        futures::stream::iter(loads).buffer_unordered(LOADS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Loads one dataset. What can be wrong with its table is the dataset's fault alone, and no reason not to serve the others.
    pub(crate) async fn load(
        &self,
        record: &DatasetRecord,
        buried: Vec<TombstoneRecord>,
        counters: Counters,
    ) -> Result<(), TableError> {
        let hidden = counters.hidden;
        self.seen(record.id.as_str(), counters);
        let bucket = self.buckets.home(&record.bucket);
        let folder = Arc::new(Folder::new(bucket, record.id.as_str(), self.meta.clone(), self.io.clone()));
        let table = Table::new(record.name.clone(), Arc::clone(&folder))?;
        if folder.bucket().is_absent() {
            let table = table.absent(Absence::Unplugged);
            tracing::error!(error = %table.refusal(), "a dataset is not served until the settings name its bucket again");
            self.insert(Arc::new(table));
            return Ok(());
        }
        let tombstones = Arc::new(Tombstones::new(record.key_column.clone(), buried.into_iter().map(|one| one.row_key_value)));
        let loaded = async {
            if folder.bucket().is_volatile() && !has_log(folder.bucket(), &folder.path()).await? {
                return Ok(None);
            }
            let snapshot = table.log.load().await?;
            table.state_of(snapshot, Arc::clone(&tombstones), hidden).map(Some)
        };
        let loaded: Result<Option<DatasetState>, TableError> = loaded.await;
        let table = match loaded {
            Ok(Some(state)) => {
                table.set_state(Some(Arc::new(state)));
                table
            }
            Ok(None) => {
                tracing::warn!(
                    dataset = %record.name, bucket = %record.bucket,
                    "the rows of this dataset are gone: its bucket is kept in memory"
                );
                table.absent(Absence::Lost(tombstones))
            }
            Err(error) => {
                let table = table.absent(Absence::Unreadable(why(&error)));
                tracing::error!(
                    bucket = %record.bucket, folder = %folder.path(), error = %table.refusal(),
                    "a dataset is not served until a start can read it"
                );
                table
            }
        };
        self.insert(Arc::new(table));
        Ok(())
    }

    /// The ids of the catalog's datasets.
    fn owned(&self) -> HashSet<String> {
        self.catalog.snapshot().datasets.values().map(|record| record.id.as_str().to_owned()).collect()
    }

    /// Deletes the folders that no dataset has: a crash may leave one between two deletions. A folder with a log is no such one but
    /// a table that this catalog does not know: another host's, or one that is younger than the backup from which the metadata
    /// came. It stays, and with it all that is in its bucket.
    async fn sweep_orphans(&self) -> Result<(), TableError> {
        let owned = self.owned();
        for bucket in self.buckets.iter() {
            let listed = bucket.compat().list_with_delimiter(Some(&Path::from(DATASETS))).await?;
            let is_owned = |path: &Path| path.filename().is_some_and(|id| owned.contains(id));
            let (mut orphans, mut tables) = (Vec::new(), Vec::new());
            for folder in listed.common_prefixes.into_iter().filter(|path| !is_owned(path)) {
                match standing(bucket, &folder).await? {
                    Standing::Table => tables.push(folder),
                    Standing::Fence(epoch) if epoch == self.meta.epoch() => {}
                    Standing::Fence(_) | Standing::Litter => orphans.push(folder),
                }
            }
            if !orphans.is_empty() {
                // Not a successor's, then.
                self.meta.beat().await?;
            }
            if let Some(first) = tables.first() {
                tracing::error!(
                    bucket = %bucket.name(), tables = tables.len(), %first,
                    "the bucket has tables that the catalog does not know: nothing in it is swept. Is it another host's, or is the \
                     metadata older than the data?"
                );
                continue;
            }
            for folder in orphans {
                let files = delete_all(bucket, &folder, "").await?;
                tracing::info!(bucket = %bucket.name(), %folder, files, "swept a folder that no dataset has");
            }
        }
        Ok(())
    }
}

/// What is told of a table that could not be read: the errors of a log's reader may quote the log, which holds values.
fn why(error: &TableError) -> &'static str {
    match error {
        TableError::Corrupt { what, .. } => what,
        TableError::Delta { .. } => "its Delta log cannot be replayed",
        _ => "its files cannot be reached",
    }
}

/// Whether the folder has a Delta log: it is, or was, a table.
pub(crate) async fn has_log(bucket: &Bucket, folder: &Path) -> Result<bool, TableError> {
    let listed = bucket.compat().list_with_delimiter(Some(&folder.clone().join(LOG))).await?;
    Ok(!listed.objects.is_empty())
}
