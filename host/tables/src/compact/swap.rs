//! From what was written to what is seen: one commit, one metadata transaction, the new state.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake_core::kernel::{Action, Add};
use lakehouse_catalog::{CatalogError, TombstoneRecord};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::ColumnName;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Attempt, Choice, CompactionReport, Scope};
use crate::burial::record_key;
use crate::log::{Commit, Operation};
use crate::publish::keyed_by;
use crate::records::{Counters, Intent, Stage};
use crate::rewrite::Rewritten;
use crate::snapshot::Snapshot;
use crate::state::DataFile;
use crate::table::{Queue, Table};
use crate::{DatasetState, TableError, Tables, Tombstones};

/// What a compaction publishes once its commit is in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    report: CompactionReport,
    cleared: Cleared,
    /// Rows that went and were hidden.
    dropped_hidden: u64,
    /// Names of files that are named no more.
    retired: Vec<String>,
    /// The key column of an erasure, which is the dataset's from then on. An erasure journals itself, when all of it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased: Option<ColumnName>,
}

impl Pending {
    /// Whether earlier versions hold rows that nobody may find again.
    fn purges(&self) -> bool {
        self.report.rows_dropped_by_tombstones > 0 || self.report.tombstones_applied > 0 || self.erased.is_some()
    }
}

/// The tombstones that go, by the keys of their records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cleared {
    These(Vec<String>),
    AllBut(Vec<String>),
}

impl Attempt<'_> {
    /// Commits what was written in place of what was chosen.
    pub(super) async fn swap(
        &self,
        queue: &mut Queue,
        present: &Arc<DatasetState>,
        choice: &Choice,
        written: Rewritten,
    ) -> Result<CompactionReport, TableError> {
        let pending = self.pending(present, choice, &written);
        let snapshot = match self.commits(choice) {
            true => Some(self.commit(queue, present, choice, written, &pending).await?),
            false if pending.purges() => None,
            false => return Ok(pending.report),
        };
        let published = self.tables.publish_compaction(self.table, &self.write, &pending, &self.order.by, snapshot).await;
        published.map_err(|error| {
            tracing::warn!(dataset = %self.table.name, error = %error, "a compaction is made, its outcome is not known yet");
            queue.doubt(&self.write);
            TableError::OutcomeUnknown { dataset: self.table.name.clone() }
        })
    }

    async fn commit(
        &self,
        queue: &mut Queue,
        present: &DatasetState,
        choice: &Choice,
        written: Rewritten,
        pending: &Pending,
    ) -> Result<Snapshot, TableError> {
        let (tables, table, by) = (self.tables, self.table, &self.order.by);
        let actions = swap_actions(present, choice, written, tables.clock.now())?;
        tables.put_intent(table, &self.write, by, Stage::Compacting(Box::new(pending.clone()))).await?;
        let commit = Commit {
            snapshot: Some(&present.snapshot),
            actions,
            writes: &[&self.write],
            epoch: tables.meta.epoch(),
            operation: Operation::Compact { drops_rows: pending.report.rows_dropped_by_tombstones > 0 },
            erasure: self.order.scope.erasure(),
            by: &[by],
            rows: pending.report.final_rows,
        };
        match table.log.commit(commit).await {
            Ok(snapshot) => Ok(snapshot),
            Err(failure) => {
                let base = Some(pending.report.base_version);
                let found = tables.after_failure(table, queue, &self.write, &failure, base).await?;
                found.ok_or_else(|| failure.into_error(table.name.clone()))
            }
        }
    }

    pub(super) fn pending(&self, present: &DatasetState, choice: &Choice, written: &Rewritten) -> Pending {
        let chosen_bytes: u64 = choice.files.iter().map(|file| file.meta.size).sum();
        let written_bytes: u64 = written.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let without = choice.without.as_ref().map(|(_, keys)| keys.as_ref());
        let (cleared, applied) = cleared(self.table, &present.tombstones, without);
        let (files_before, rewritten) = (present.files.len() as u64, choice.files.len() as u64);
        let report = CompactionReport {
            dataset: self.table.name.clone(),
            base_version: present.version,
            version: present.version + u64::from(self.commits(choice)),
            tombstones_applied: applied,
            rows_dropped_by_tombstones: written.dropped,
            final_rows: present.rows - written.dropped,
            files_before,
            files_after: files_before - rewritten + written.adds.len() as u64,
            files_rewritten: rewritten,
            bytes_before: present.bytes,
            bytes_after: present.bytes - chosen_bytes + written_bytes,
            duration_ms: u64::try_from(self.order.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        Pending {
            report,
            cleared,
            dropped_hidden: written.dropped_hidden,
            retired: choice.files.iter().map(|file| file.name().to_owned()).collect(),
            erased: match &self.order.scope {
                Scope::Erase { column, .. } => Some(column.clone()),
                Scope::Whole => None,
            },
        }
    }
}

pub(super) fn swap_actions(
    present: &DatasetState,
    choice: &Choice,
    written: Rewritten,
    at: DateTime<Utc>,
) -> Result<Vec<Action>, TableError> {
    let drops_rows = written.dropped > 0;
    let names: HashSet<&str> = choice.files.iter().map(DataFile::name).collect();
    let mut actions = present.removes(drops_rows, at.timestamp_millis(), |name| names.contains(name))?;
    actions.extend(written.adds.into_iter().map(|add| Action::Add(Add { data_change: drops_rows, ..add })));
    Ok(actions)
}

impl Tables {
    /// Publishes a compaction: metadata first, then the state. Without a snapshot no file was written anew.
    async fn publish_compaction(
        &self,
        table: &Arc<Table>,
        write: &str,
        pending: &Pending,
        by: &Stamp,
        snapshot: Option<Snapshot>,
    ) -> Result<CompactionReport, TableError> {
        let before = table.state().ok_or_else(|| table.refusal())?;
        let mut report = pending.report.clone();
        if let Some(snapshot) = &snapshot {
            report.version = snapshot.version();
        }
        let hidden = before.hidden.saturating_sub(pending.dropped_hidden);
        let going = self.going(table, &pending.cleared).await?;
        let retiring = self.retiring(table.folder.id(), report.version, pending.retired.clone(), pending.purges());
        let column = before.tombstones.column.clone().or_else(|| pending.erased.clone());
        self.catalog
            .edit(by, |present, edit| {
                if pending.erased.is_none() {
                    edit.event(event_of(&report));
                } else if before.tombstones.column.is_none() {
                    let mut record = present.dataset(&table.name)?.as_ref().clone();
                    record.key_column.clone_from(&column);
                    edit.put_dataset(record)?;
                }
                let transaction = edit.txn();
                transaction.put(table.folder.id(), &Counters::new(hidden)).map_err(CatalogError::from)?;
                going.iter().for_each(|(key, _)| transaction.delete::<TombstoneRecord>(key));
                retiring.stage(transaction)?;
                transaction.delete::<Intent>(write);
                Ok::<_, TableError>(())
            })
            .await?;
        self.retire(retiring);
        let gone: HashSet<Box<str>> = going.into_iter().map(|(_, record)| record.row_key_value.into()).collect();
        let left = match gone.is_empty() {
            true => Arc::clone(&before.tombstones),
            false => Arc::new(before.tombstones.without(&gone)),
        };
        let tombstones = keyed_by(Some(left), column);
        let state = match snapshot {
            Some(snapshot) => table.state_of(snapshot, tombstones, hidden)?,
            None => before.with_tombstones(tombstones, hidden),
        };
        table.set_state(Some(Arc::new(state)));
        Ok(report)
    }

    /// The records of tombstones that go.
    async fn going(&self, table: &Table, cleared: &Cleared) -> Result<Vec<(String, TombstoneRecord)>, TableError> {
        let (listed, goes) = match cleared {
            Cleared::These(keys) => (keys, true),
            Cleared::AllBut(keys) => (keys, false),
        };
        let listed: HashSet<&String> = listed.iter().collect();
        let prefix = format!("{}/", table.folder.id());
        let present = self.meta.collection::<TombstoneRecord>().scan(&prefix, None, usize::MAX).await?;
        Ok(present.into_iter().filter(|(key, _)| listed.contains(key) == goes).collect())
    }

    /// Finishes a compaction whose commit the log holds.
    pub(crate) async fn resume_compaction(
        &self,
        table: &Arc<Table>,
        write: &str,
        pending: &Pending,
        by: &Stamp,
    ) -> Result<(), TableError> {
        match table.log.after_failure(write, Some(pending.report.base_version)).await? {
            Some(snapshot) => self.publish_compaction(table, write, pending, by, Some(snapshot)).await.map(|_| ()),
            None => self.discard(table, write).await,
        }
    }
}

fn event_of(report: &CompactionReport) -> Draft {
    let details = json!({
        "version": report.version,
        "tombstones_applied": report.tombstones_applied,
        "rows_dropped": report.rows_dropped_by_tombstones,
        "rows": report.final_rows,
        "files_before": report.files_before,
        "files_after": report.files_after,
    });
    Draft::new(EventKind::Compact, report.dataset.as_str()).dataset(report.dataset.clone()).details(details)
}

/// The tombstones that go once `without` is dropped, and how many.
fn cleared(table: &Table, tombstones: &Tombstones, without: Option<&Tombstones>) -> (Cleared, u64) {
    let Some(without) = without else { return (Cleared::These(Vec::new()), 0) };
    let (going, staying): (Vec<&str>, Vec<&str>) = tombstones.keys().partition(|key| without.contains(key));
    let keys = |of: &[&str]| of.iter().map(|key| record_key(table, key)).collect();
    let applied = going.len() as u64;
    match going.len() <= staying.len() {
        true => (Cleared::These(keys(&going)), applied),
        false => (Cleared::AllBut(keys(&staying)), applied),
    }
}
