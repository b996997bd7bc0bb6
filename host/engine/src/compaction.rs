//! Compaction of datasets, and of the indexes over them.
//!
//! **Invariant**: after rows were dropped from a dataset, its indexes hold none of them: what is owed is written down before the
//! compaction begins, and a start pays what a stop left owing.

use std::{sync::Arc, time::Duration};

use lakehouse_access::{Action, Caller};
use lakehouse_journal::{Stamp, SystemActor};
use lakehouse_storage::{Record, Renewal};
use lakehouse_tables::{CompactionReport, Scope};
use lakehouse_types::{DatasetName, Progress, Unwatched};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    vectors::{PurgedIndex, Step},
};

/// How long a refresh of an index is waited for.
const INDEX_PATIENCE: Duration = Duration::from_mins(10);

/// What a compaction did.
#[derive(Debug, Clone)]
pub struct Compaction {
    pub report: CompactionReport,
    /// The indexes that rows were taken out of.
    pub indexes: Vec<PurgedIndex>,
}

/// The indexes over a dataset may hold rows that a compaction took out of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwedPurge {
    dataset: DatasetName,
}

impl Record for OwedPurge {
    const COLLECTION: &'static str = "index_purges";
    const FORMAT: u32 = 1;
}

impl Engine {
    /// Merges small files of a dataset, and drops what tombstones hide for good: from its files and its indexes. Runs to its end when
    /// the caller leaves; `progress` may stop it before it changes anything.
    ///
    /// # Errors
    /// When the caller may not, the dataset does not exist, it was stopped, or the storage fails.
    pub async fn compact(
        self: &Arc<Self>,
        caller: &Caller,
        name: &DatasetName,
        progress: Arc<dyn Progress>,
    ) -> Result<Compaction, EngineError> {
        self.require(caller, Action::Compact).await?;
        self.catalog.snapshot().dataset(name)?;
        let (engine, by, name) = (Arc::clone(self), self.stamp(caller), name.clone());
        self.changes.to_the_end(async move { engine.compact_now(&by, &name, progress).await }).await
    }

    /// Compacts every dataset that it brings something to. One that fails stops no other.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn compact_all(
        self: &Arc<Self>,
        caller: &Caller,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<(DatasetName, Result<Compaction, EngineError>)>, EngineError> {
        self.require(caller, Action::Compact).await?;
        let (engine, by) = (Arc::clone(self), self.stamp(caller));
        self.changes.to_the_end(async move { Ok(engine.compact_worthwhile(&by, progress).await) }).await
    }

    pub(crate) async fn compact_worthwhile(
        self: &Arc<Self>,
        by: &Stamp,
        progress: Arc<dyn Progress>,
    ) -> Vec<(DatasetName, Result<Compaction, EngineError>)> {
        let worth: Vec<DatasetName> = self
            .tables
            .datasets()
            .into_iter()
            .filter(|state| state.shape().is_worth_compacting() || !state.tombstones.is_empty())
            .map(|state| state.name.clone())
            .collect();
        let mut done = Vec::with_capacity(worth.len());
        for name in worth {
            if progress.is_cancelled() {
                break;
            }
            let outcome = self.compact_now(by, &name, Arc::clone(&progress)).await;
            if let Err(error) = &outcome {
                tracing::warn!(dataset = %name, %error, "a dataset could not be compacted");
            }
            done.push((name, outcome));
        }
        done
    }

    async fn compact_now(
        self: &Arc<Self>,
        by: &Stamp,
        name: &DatasetName,
        progress: Arc<dyn Progress>,
    ) -> Result<Compaction, EngineError> {
        let tombstones = self.tables.state(name)?.tombstones.mark();
        let is_indexed = self.catalog.snapshot().indexes.values().any(|index| index.base == *name);
        let owed_before = is_indexed && self.meta.collection::<OwedPurge>().get(name.as_str()).await?.is_some();
        // Also where nothing is hidden yet: a key may be hidden before the files are written.
        if is_indexed && !owed_before {
            self.owe(name).await?;
        }
        let report = self.tables.compact(by, name, Scope::Whole, progress).await?;
        let step = Step::of(&report, tombstones);
        let has_dropped = report.tombstones_applied > 0 || report.rows_dropped_by_tombstones > 0;
        let indexes = if is_indexed && (has_dropped || owed_before) {
            self.purge_indexes(by, name, step, INDEX_PATIENCE).await?
        } else {
            if report.files_rewritten > 0 && is_indexed {
                self.follow_merge(by, step, &report).await?;
            }
            Vec::new()
        };
        if is_indexed {
            self.no_longer_owe(name).await?;
        }
        Ok(Compaction { report, indexes })
    }

    /// Moves the metadata to a new generation, in which nothing is left of tombstones that are no more. Answers the keys that are
    /// hidden, and what lives.
    ///
    /// # Errors
    /// When the caller may not, the dataset does not exist, or the storage fails.
    pub async fn compact_tombstones(&self, caller: &Caller, name: &DatasetName) -> Result<(u64, Renewal), EngineError> {
        self.require(caller, Action::Compact).await?;
        let state = self.tables.state(name)?;
        Ok((state.tombstones.len() as u64, self.meta.renew().await?))
    }

    pub(crate) async fn owe(&self, dataset: &DatasetName) -> Result<(), EngineError> {
        let mut transaction = self.meta.begin().await?;
        transaction.put(dataset.as_str(), &OwedPurge { dataset: dataset.clone() })?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn no_longer_owe(&self, dataset: &DatasetName) -> Result<(), EngineError> {
        let mut transaction = self.meta.begin().await?;
        transaction.delete::<OwedPurge>(dataset.as_str());
        Ok(transaction.commit().await?)
    }

    /// Pays in the background what an earlier run left owing.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub(crate) async fn pay_owed_purges(self: &Arc<Self>) -> Result<(), EngineError> {
        for (_, OwedPurge { dataset }) in self.meta.collection::<OwedPurge>().all().await? {
            let engine = Arc::downgrade(self);
            self.tasks.spawn("owed index purge", async move {
                let Some(engine) = engine.upgrade() else { return };
                let by = SystemActor::Compaction.stamp(engine.clock.now());
                let paid = async {
                    engine.purge_indexes(&by, &dataset, Step::UNKNOWN, INDEX_PATIENCE).await?;
                    engine.no_longer_owe(&dataset).await
                };
                if let Err(error) = paid.await {
                    tracing::warn!(%dataset, %error, "indexes may hold rows that were compacted away until the next start");
                }
            });
        }
        Ok(())
    }

    /// Compacts what is worth it, by the host's own motion.
    pub(crate) async fn compact_on_schedule(self: &Arc<Self>) {
        let by = SystemActor::Schedule.stamp(self.clock.now());
        let done = self.compact_worthwhile(&by, Arc::new(Unwatched)).await;
        let failed = done.iter().filter(|(_, outcome)| outcome.is_err()).count();
        tracing::info!(datasets = done.len(), failed, "compacted on schedule");
    }
}
