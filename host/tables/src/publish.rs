//! What a write's commit in the Delta log leads to: outcome, counters and journal event in one metadata transaction, then the new state.
//!
//! **Invariant**: a write is published exactly once, by whoever finds its commit in the log: the one who made it, the next holder of the
//! queue, or the next start. One without a commit leaves nothing.

use std::sync::Arc;

use lakehouse_catalog::{CatalogError, DatasetRecord};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::{ColumnName, DatasetId, DatasetName, ErrorKind, Fault};
use serde_json::json;

use crate::folder::{delete_all, drop_key};
use crate::log::CommitFailure;
use crate::records::{Counters, Intent, Outcome, Pending, Stage};
use crate::retire::Retiring;
use crate::snapshot::Snapshot;
use crate::table::{Queue, Table};
use crate::{TableError, Tables, Tombstones, WriteMode};

impl Tables {
    /// Makes the intent of a write durable, or how far it has come.
    pub(crate) async fn put_intent(&self, table: &Table, write: &str, by: &Stamp, stage: Stage) -> Result<(), TableError> {
        let mut transaction = self.meta.begin().await?;
        transaction.put(write, &Intent::new(table, by, stage))?;
        Ok(transaction.commit().await?)
    }

    /// After a failed commit: what the log holds. An error leaves the write to the next holder of the queue.
    pub(crate) async fn after_failure(
        &self,
        table: &Table,
        queue: &mut Queue,
        write: &str,
        failure: &CommitFailure,
        base: Option<u64>,
    ) -> Result<Option<Snapshot>, TableError> {
        if matches!(failure, CommitFailure::Refused(_)) {
            return Ok(None);
        }
        table.log.after_failure(write, base).await.map_err(|error| {
            tracing::warn!(dataset = %table.name, error = %error, "the outcome of a commit is not known yet");
            queue.doubt(write);
            TableError::OutcomeUnknown { dataset: table.name.clone() }
        })
    }

    /// Settles the writes that an earlier holder of the queue left open.
    pub(crate) async fn settle(&self, table: &Arc<Table>, queue: &mut Queue) -> Result<(), TableError> {
        while let Some(write) = queue.unsettled.first().cloned() {
            self.settle_one(table, queue, &write).await?;
            queue.unsettled.retain(|other| *other != write);
        }
        Ok(())
    }

    async fn settle_one(&self, table: &Arc<Table>, queue: &mut Queue, write: &str) -> Result<(), TableError> {
        if let Some(intent) = self.meta.collection::<Intent>().get(write).await? {
            self.resume(table, queue, write, intent).await?;
        } else {
            // The outcome was published after all; the state may lag behind, its key column too.
            let snapshot = table.log.load().await?;
            let counters = self.meta.collection::<Counters>().get(table.folder.id()).await?.unwrap_or_default();
            let record = self.meta.collection::<DatasetRecord>().get(table.name.as_str()).await?;
            let record = record.filter(|record| record.id.as_str() == table.folder.id());
            let column = record.and_then(|record| record.key_column);
            let tombstones = self.load_tombstones(table.folder.id(), column).await?;
            self.load_retired_of(table.folder.id()).await?;
            let state = table.state_of(snapshot, tombstones, counters.hidden)?;
            table.set_state(Some(Arc::new(state)));
        }
        Ok(())
    }

    /// Finishes a write whose intent was found: forward if the log holds its commit, else back.
    pub(crate) async fn resume(
        &self,
        table: &Arc<Table>,
        queue: &mut Queue,
        write: &str,
        intent: Intent,
    ) -> Result<(), TableError> {
        let by: Stamp = intent.by.into();
        let mut pending = match intent.stage {
            Stage::Committing(pending) => pending,
            Stage::Compacting(pending) => return self.resume_compaction(table, write, &pending, &by).await,
            Stage::Writing | Stage::Dropping => return self.discard(table, write).await,
        };
        let Some(version) = table.log.find(write, pending.base).await? else {
            return self.discard(table, write).await;
        };
        let snapshot = table.log.load().await?;
        pending.report.version = version;
        match self.publish(table, queue, write, &pending, &by, snapshot).await {
            // The name was taken while the host was down: the write never came to be.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            other => other,
        }
    }

    /// Publishes a write that the Delta log holds: metadata first, then the state.
    pub(crate) async fn publish(
        &self,
        table: &Arc<Table>,
        queue: &mut Queue,
        write: &str,
        pending: &Pending,
        by: &Stamp,
        snapshot: Snapshot,
    ) -> Result<(), TableError> {
        let unknown = || TableError::OutcomeUnknown { dataset: table.name.clone() };
        let before = table.state();
        let hidden_before = match &before {
            Some(state) => state.hidden,
            // The rows that were hidden are gone.
            None if table.absence().is_some() => 0,
            None => match self.meta.collection::<Counters>().get(table.folder.id()).await {
                Ok(counters) => counters.unwrap_or_default().hidden,
                Err(error) => {
                    tracing::warn!(dataset = %table.name, error = %error, "a commit is in the log, its outcome is not");
                    queue.doubt(write);
                    return Err(unknown());
                }
            },
        };
        let hidden = match pending.report.mode {
            WriteMode::Append | WriteMode::Upsert => {
                hidden_before.saturating_sub(pending.hidden_replaced) + pending.report.tombstoned_keys
            }
            WriteMode::Replace => pending.report.tombstoned_keys,
        };
        let retiring = self.retiring(table.folder.id(), pending.report.version, pending.retired.clone(), false);
        let edited = self.stage(table, write, pending, by, hidden, &retiring).await;
        match edited {
            Ok(()) => self.retire(retiring),
            Err(error) if before.is_none() && matches!(error, TableError::Catalog(CatalogError::NameTaken { .. })) => {
                queue.gone = true;
                table.folder.doom();
                self.forget(table);
                self.give_up(table, write, by).await?;
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(dataset = %table.name, error = %error, "a commit is in the log, its outcome is not");
                queue.doubt(write);
                return Err(unknown());
            }
        }
        let tombstones = keyed_by(table.tombstones(), pending.key_column.clone());
        let state = table.state_of(snapshot, tombstones, hidden);
        // It is published, but not to be seen yet.
        let state = state.inspect_err(|_| queue.doubt(write))?;
        table.set_state(Some(Arc::new(state)));
        Ok(())
    }

    /// The one metadata transaction of a write.
    async fn stage(
        &self,
        table: &Table,
        write: &str,
        pending: &Pending,
        by: &Stamp,
        hidden: u64,
        retiring: &Retiring,
    ) -> Result<(), TableError> {
        let report = &pending.report;
        self.catalog
            .edit(by, |present, edit| {
                let mut record = match present.datasets.get(&table.name) {
                    Some(record) if record.id.as_str() == table.folder.id() => record.as_ref().clone(),
                    _ => {
                        let bucket = report.bucket.clone();
                        let mut record = DatasetRecord::new(table.name.clone(), bucket, by.actor.clone(), by.at);
                        record.id = DatasetId::new(table.folder.id())
                            .map_err(|_| TableError::Internal { what: "a folder has a bad name" })?;
                        record
                    }
                };
                record.key_column.clone_from(&pending.key_column);
                record.mark_stale(by.at);
                edit.put_dataset(record)?;
                edit.event(pending.event(&table.name));
                let transaction = edit.txn();
                transaction.put(table.folder.id(), &Counters::new(hidden)).map_err(CatalogError::from)?;
                if let Some(idempotency) = &pending.idempotency {
                    let (fingerprint, dataset_id) = (idempotency.fingerprint.clone(), DatasetId::new(table.folder.id()).ok());
                    let outcome = Outcome { fingerprint, report: report.clone(), at: by.at, dataset_id };
                    transaction.put(&idempotency.record_key(&by.actor), &outcome).map_err(CatalogError::from)?;
                }
                retiring.stage(transaction)?;
                transaction.delete::<Intent>(write);
                Ok::<_, TableError>(())
            })
            .await
    }

    /// Deletes the files of a write that has no commit, then its intent.
    pub(crate) async fn discard(&self, table: &Table, write: &str) -> Result<(), TableError> {
        let folder = &table.folder;
        delete_all(folder.bucket(), &folder.path(), write).await?;
        if table.state().is_none() {
            folder.remove_if_empty().await;
        }
        self.forget_intent(write).await
    }

    /// Turns the intent of a write that came to be, and may not, into one to delete its folder: the folder has a log, and no
    /// start deletes such a one that no intent names.
    async fn give_up(&self, table: &Table, write: &str, by: &Stamp) -> Result<(), TableError> {
        let intent = Intent::new(table, by, Stage::Dropping);
        let mut transaction = self.meta.begin().await?;
        transaction.delete::<Intent>(write);
        transaction.put(&drop_key(&intent.id), &intent)?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn forget_intent(&self, write: &str) -> Result<(), TableError> {
        let mut transaction = self.meta.begin().await?;
        transaction.delete::<Intent>(write);
        Ok(transaction.commit().await?)
    }
}

/// The tombstones of before, for a version with this key column.
pub(crate) fn keyed_by(before: Option<Arc<Tombstones>>, column: Option<ColumnName>) -> Arc<Tombstones> {
    match before {
        Some(tombstones) if tombstones.column == column => tombstones,
        Some(tombstones) => Arc::new(tombstones.with_column(column)),
        None => Arc::new(Tombstones::new(column, Vec::<Box<str>>::new())),
    }
}

impl Pending {
    /// The journal event of the write.
    pub(crate) fn event(&self, dataset: &DatasetName) -> Draft {
        let report = &self.report;
        let details = json!({
            "mode": report.mode,
            "rows": report.rows,
            "rejected_rows": report.rejected_rows,
            "version": report.version,
            "bucket": report.bucket,
        });
        Draft::new(EventKind::Ingest, dataset.as_str()).dataset(dataset.clone()).details(details)
    }
}
