//! One write becomes one version.
//!
//! Under the table's queue: durable intent → Delta commit → what [`publish`](crate::publish) makes of it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use deltalake_core::kernel::Action;
use lakehouse_types::ColumnName;

use crate::log::{Commit, CommitFailure, Operation, metadata, protocol};
use crate::records::{Pending, Stage};
use crate::schema::{friendly, is_key_type, widen};
use crate::snapshot::Snapshot;
use crate::table::Queue;
use crate::tables::check_key_column;
use crate::writer::{Work, hidden_rows};
use crate::{Column, CommitReport, DatasetState, Rejected, TableError, WriteMode};

impl Work {
    /// Takes the queue and commits. Whatever fails before the Delta commit leaves nothing behind.
    pub(crate) async fn commit(self, rejected: Vec<Rejected>, rejected_rows: u64) -> Result<CommitReport, TableError> {
        if self.mode == WriteMode::Append {
            return self.commit_in_group(rejected, rejected_rows).await;
        }
        let (tables, table) = (Arc::clone(&self.tables), Arc::clone(&self.table));
        let outcome = match table.queue().await {
            Ok(mut queue) => self.commit_alone(&mut queue, rejected, rejected_rows).await,
            Err(error) => {
                self.discard().await;
                Err(error)
            }
        };
        if outcome.is_err() {
            tables.forget_unborn(&table);
        }
        outcome
    }

    /// The same, for the holder of the queue.
    pub(crate) async fn commit_alone(
        mut self,
        queue: &mut Queue,
        rejected: Vec<Rejected>,
        rejected_rows: u64,
    ) -> Result<CommitReport, TableError> {
        let (tables, table) = (Arc::clone(&self.tables), Arc::clone(&self.table));
        let prepared = async {
            tables.settle(&table, queue).await?;
            // What was settled since this write began, here or by an earlier holder, may be this very request, sent again because
            // its outcome was unknown.
            if let Some(idempotency) = &self.idempotency
                && let Some(report) = tables.outcome(idempotency, &self.by.actor).await?
            {
                return Ok(Err(report));
            }
            let state = table.state();
            self.recount(state.as_ref()).await?;
            self.replace_keys(state.as_ref()).await?;
            self.encode_waiting().await?;
            let (actions, schema) = self.actions(state.as_deref())?;
            let pending = self.pending(state.as_deref(), &schema, rejected, rejected_rows)?;
            self.put_intent(Stage::Committing(Box::new(pending.clone()))).await?;
            self.land().await?;
            Ok(Ok((state, actions, pending)))
        };
        let prepared: Result<Result<_, CommitReport>, TableError> = prepared.await;
        let (state, actions, mut pending) = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(report)) => {
                drop(table);
                self.discard().await;
                return Ok(report);
            }
            Err(error) => {
                drop(table);
                self.discard().await;
                return Err(error);
            }
        };
        let snapshot = state.as_ref().map(|state| &state.snapshot);
        let snapshot = match self.put_in_log(snapshot, actions).await {
            Ok(snapshot) => snapshot,
            Err(failure) => match tables.after_failure(&table, queue, &self.id, &failure, pending.base).await? {
                Some(snapshot) => snapshot,
                None => {
                    let error = failure.into_error(table.name.clone());
                    // The table goes first, so that one that never came to be is forgotten.
                    drop(table);
                    self.discard().await;
                    return Err(error);
                }
            },
        };
        pending.report.version = snapshot.version();
        tables.publish(&table, queue, &self.id, &pending, &self.by, snapshot).await?;
        Ok(pending.report)
    }

    /// Counts the hidden rows anew where keys were hidden or shown since this write began: its key column is read back.
    pub(crate) async fn recount(&mut self, present: Option<&Arc<DatasetState>>) -> Result<(), TableError> {
        let Some(present) = present else { return Ok(()) };
        if self.tombstones.as_ref().is_some_and(|counted| Arc::ptr_eq(counted, &present.tombstones)) {
            return Ok(());
        }
        self.tombstoned = self.waiting.iter().map(|batch| hidden_rows(&present.tombstones, batch)).sum();
        if self.adds.is_empty() {
            return Ok(());
        }
        let keyed = present.tombstones.column.as_ref().zip(self.schema.as_ref());
        // Rows without a key column have NULL there, which hides nothing.
        if let Some((column, schema)) = keyed.filter(|(column, schema)| schema.index_of(column.as_str()).is_ok()) {
            let written = Arc::new(present.with_files(Arc::clone(schema), &self.adds));
            let found = self.tables.count(&written, column, Arc::clone(&present.tombstones)).await?;
            self.tombstoned += found.values().sum::<u64>();
        }
        Ok(())
    }

    async fn put_in_log(&self, snapshot: Option<&Snapshot>, actions: Vec<Action>) -> Result<Snapshot, CommitFailure> {
        let commit = Commit {
            snapshot,
            actions,
            writes: &[&self.id],
            epoch: self.tables.meta.epoch(),
            operation: Operation::Write(self.mode),
            erasure: None,
            by: &[&self.by],
            rows: self.rows,
        };
        self.table.log.commit(commit).await
    }

    /// The actions of the commit, and the schema that it leaves.
    pub(crate) fn actions(&mut self, state: Option<&DatasetState>) -> Result<(Vec<Action>, SchemaRef), TableError> {
        let stored = state.filter(|_| self.mode.adds()).map(|state| state.schema.as_ref());
        self.check_base(stored)?;
        // Another append may have widened the schema since this one began.
        let schema = match (&self.schema, stored) {
            (Some(given), stored) => widen(stored, given, 1)?,
            (None, Some(stored)) => Arc::new(stored.clone()),
            (None, None) => return Err(TableError::NoColumns),
        };
        let mut actions = Vec::with_capacity(self.adds.len() + 2);
        if state.is_none_or(|state| *state.schema != *schema) {
            let needed = protocol(&schema)?;
            let present = state.map(|state| state.snapshot.protocol());
            if present.is_none_or(|present| present.min_writer_version() < needed.min_writer_version()) {
                actions.push(Action::Protocol(needed));
            }
            actions.push(Action::Metadata(metadata(state.map(|state| state.snapshot.metadata()), &schema)?));
        }
        if let Some(state) = state {
            let going: HashSet<String> = self.retired(state).into_iter().collect();
            if !going.is_empty() {
                actions.extend(state.removes(true, self.now(), |name| going.contains(name))?);
            }
        }
        actions.extend(std::mem::take(&mut self.adds).into_iter().map(Action::Add));
        Ok((actions, schema))
    }

    /// Names of the files that this write takes out.
    fn retired(&self, state: &DatasetState) -> Vec<String> {
        match self.mode {
            WriteMode::Append => Vec::new(),
            WriteMode::Replace => state.files.iter().map(|file| file.name().to_owned()).collect(),
            WriteMode::Upsert => self.replaced.files.clone(),
        }
    }

    /// Refuses an append whose files hold columns that a replacement took away or gave another type since it began: they would
    /// come back, or be read as what they are not.
    fn check_base(&self, stored: Option<&Schema>) -> Result<(), TableError> {
        let (Some(base), Some(stored)) = (&self.base, stored) else { return Ok(()) };
        let is_there = |field: &FieldRef| {
            let present = stored.field_with_name(field.name());
            present.is_ok_and(|present| present.data_type() == field.data_type())
        };
        if base.schema.fields().iter().all(is_there) {
            return Ok(());
        }
        Err(TableError::Gone { dataset: self.table.name.clone() })
    }

    pub(crate) fn pending(
        &self,
        state: Option<&DatasetState>,
        schema: &Schema,
        rejected: Vec<Rejected>,
        rejected_rows: u64,
    ) -> Result<Pending, TableError> {
        let base = state.map(|state| state.version);
        let report = CommitReport {
            dataset: self.table.name.clone(),
            bucket: self.table.folder.bucket().name().clone(),
            mode: self.mode,
            rows: self.rows,
            replaced_rows: self.replaced.rows,
            rejected,
            rejected_rows,
            columns: Column::of(schema),
            version: base.map_or(0, |base| base + 1),
            tombstoned_keys: self.tombstoned,
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            is_repeat: false,
        };
        Ok(Pending {
            base,
            report,
            key_column: self.key_column(schema)?,
            idempotency: self.idempotency.clone(),
            hidden_replaced: self.replaced.hidden,
            retired: state.map(|state| self.retired(state)).unwrap_or_default(),
        })
    }

    /// The row key column once this is committed.
    fn key_column(&self, schema: &Schema) -> Result<Option<ColumnName>, TableError> {
        let tombstones = self.table.tombstones();
        if let (Some(tombstones), Some(asked)) = (&tombstones, &self.key) {
            check_key_column(&self.table.name, tombstones, asked)?;
        }
        let present = tombstones.as_ref().and_then(|tombstones| tombstones.column.clone());
        let Some(column) = self.key.clone().or(present) else { return Ok(None) };
        match schema.field_with_name(column.as_str()) {
            Ok(field) if is_key_type(field.data_type()) => Ok(Some(column)),
            Ok(field) => Err(TableError::KeyType { column, given: friendly(field.data_type()) }),
            // A replaced schema may do without the key column, unless rows would come back to light.
            Err(_) if self.key.is_none() && tombstones.is_some_and(|tombstones| tombstones.is_empty()) => Ok(None),
            Err(_) => Err(TableError::UnknownColumn { dataset: self.table.name.clone(), column }),
        }
    }
}

#[cfg(test)]
impl Work {
    /// Does what a commit does up to its publication, and no more.
    pub(crate) async fn leave_behind(mut self, committed: bool) -> Pending {
        self.close().await.expect("files close");
        self.encode_waiting().await.expect("rows are encoded");
        let state = self.table.state();
        let (actions, schema) = self.actions(state.as_deref()).expect("rows fit");
        let pending = self.pending(state.as_deref(), &schema, Vec::new(), 0).expect("keys fit");
        self.put_intent(Stage::Committing(Box::new(pending.clone()))).await.expect("an intent is kept");
        self.land().await.expect("files are put");
        if committed {
            let snapshot = state.as_ref().map(|state| &state.snapshot);
            self.put_in_log(snapshot, actions).await.expect("the log takes the commit");
        }
        pending
    }
}
