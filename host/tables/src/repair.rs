//! What a start does before it serves: finish or undo, sweep, load.
//!
//! **Invariant**: each step may be interrupted and repeated.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use futures::{StreamExt, TryStreamExt};
use lakehouse_catalog::{DatasetRecord, TombstoneRecord};
use lakehouse_storage::Bucket;
use lakehouse_types::ColumnName;
use object_store_13::{ObjectStore, path::Path};

use crate::folder::{DATASETS, Folder, delete_all, sweep_dropped};
use crate::records::{Counters, Intent, Outcome, Stage};
use crate::table::Table;
use crate::{DatasetState, TableError, Tables, Tombstones};

/// Tables that are loaded at once.
const LOADS: usize = 8;
/// How long an idempotent request is remembered.
const OUTCOME_DAYS: i64 = 7;

impl Tables {
    pub(crate) async fn repair(self: Arc<Self>) -> Result<(), TableError> {
        let intents = self.meta.collection::<Intent>().all().await?;
        self.load_all().await?;
        for (key, intent) in intents {
            tracing::info!(dataset = %intent.dataset, write = key, "repairing an interrupted write");
            match intent.stage {
                // A deletion whose outcome was unknown, and that a later write undid: what the catalog has is never swept.
                Stage::Dropping if self.datasets().iter().any(|state| state.id == intent.id) => self.forget_intent(&key).await?,
                Stage::Dropping => sweep_dropped(&self.buckets.get(&intent.bucket)?, &self.meta, &intent.id).await?,
                Stage::Writing | Stage::Committing(_) => self.repair_write(&key, intent).await?,
            }
        }
        self.sweep_orphans().await?;
        self.forget_outcomes().await
    }

    async fn repair_write(&self, write: &str, intent: Intent) -> Result<(), TableError> {
        let known = self.table(&intent.dataset).filter(|table| table.folder.id() == intent.id);
        let table = match known {
            Some(table) => table,
            None => {
                let bucket = self.buckets.get(&intent.bucket)?;
                let folder = Folder::new(bucket, &intent.id, self.meta.clone(), self.io.clone());
                Arc::new(Table::new(intent.dataset.clone(), Arc::new(folder))?)
            }
        };
        let mut queue = table.queue().await?;
        self.resume(&table, &mut queue, write, intent).await?;
        if table.state().is_some() {
            self.insert(Arc::clone(&table));
        }
        Ok(())
    }

    async fn load_all(&self) -> Result<(), TableError> {
        let catalog = self.catalog.snapshot();
        let mut tombstones: HashMap<String, Vec<TombstoneRecord>> = HashMap::new();
        for (key, record) in self.meta.collection::<TombstoneRecord>().all().await? {
            let id = key.split('/').next().unwrap_or_default().to_owned();
            tombstones.entry(id).or_default().push(record);
        }
        let counters: HashMap<String, Counters> = self.meta.collection::<Counters>().all().await?.into_iter().collect();
        let loads = catalog.datasets.values().map(|record| {
            let buried = tombstones.remove(record.id.as_str()).unwrap_or_default();
            let hidden = counters.get(record.id.as_str()).copied().unwrap_or_default().hidden;
            self.load(record, buried, hidden)
        });
        let loads: Vec<_> = loads.collect();
        futures::stream::iter(loads).buffer_unordered(LOADS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn load(&self, record: &DatasetRecord, buried: Vec<TombstoneRecord>, hidden: u64) -> Result<(), TableError> {
        let bucket = self.buckets.get(&record.bucket)?;
        let folder = Arc::new(Folder::new(bucket, record.id.as_str(), self.meta.clone(), self.io.clone()));
        let table = Arc::new(Table::new(record.name.clone(), Arc::clone(&folder))?);
        let snapshot = table.log.load().await?;
        let column: Option<ColumnName> = record.key_column.clone();
        let tombstones = Arc::new(Tombstones::new(column, buried.into_iter().map(|one| one.row_key_value)));
        let state = DatasetState::new(record.name.clone(), folder, snapshot, tombstones, hidden)?;
        table.set_state(Some(Arc::new(state)));
        self.insert(table);
        Ok(())
    }

    /// Deletes the folders that no dataset has: a crash may leave one between two deletions. An empty catalog over a bucket with
    /// datasets is no crash but another host's bucket, or a primary that went astray: then everything stays.
    async fn sweep_orphans(&self) -> Result<(), TableError> {
        let owned: HashSet<String> = self.datasets().iter().map(|state| state.id.clone()).collect();
        let is_empty = owned.is_empty() && self.catalog.snapshot().datasets.is_empty();
        let mut orphans = Vec::new();
        for bucket in self.buckets.iter() {
            let listed = bucket.compat().list_with_delimiter(Some(&Path::from(DATASETS))).await?;
            let found = listed.common_prefixes.into_iter().filter(|path| path.filename().is_some_and(|id| !owned.contains(id)));
            for folder in found {
                if is_empty && has_log(bucket, &folder).await? {
                    tracing::error!(
                        bucket = %bucket.name(), %folder,
                        "the catalog has no dataset, this bucket has: nothing is swept. Is this the right primary?"
                    );
                    return Ok(());
                }
                orphans.push((bucket, folder));
            }
        }
        for (bucket, folder) in orphans {
            let files = delete_all(bucket, &folder, "").await?;
            tracing::info!(bucket = %bucket.name(), %folder, files, "swept a folder that no dataset has");
        }
        Ok(())
    }

    async fn forget_outcomes(&self) -> Result<(), TableError> {
        let oldest = self.clock.now() - TimeDelta::days(OUTCOME_DAYS);
        let outcomes = self.meta.collection::<Outcome>().all().await?;
        let old: Vec<_> = outcomes.into_iter().filter(|(_, outcome)| outcome.at < oldest).collect();
        if old.is_empty() {
            return Ok(());
        }
        let mut transaction = self.meta.begin().await?;
        old.iter().for_each(|(key, _)| transaction.delete::<Outcome>(key));
        Ok(transaction.commit().await?)
    }
}

/// Whether the folder has a Delta log: it is, or was, a dataset.
async fn has_log(bucket: &Bucket, folder: &Path) -> Result<bool, TableError> {
    let log = folder.clone().join("_delta_log");
    let listed = bucket.compat().list_with_delimiter(Some(&log)).await?;
    Ok(!listed.objects.is_empty())
}
