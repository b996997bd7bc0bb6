//! Small files become large ones, and rows that tombstones hide are gone for good.
//!
//! **Invariant**: what is read before and after is the same, whatever stops it in between: files are written beside the old ones and
//! read back, then one commit swaps them, and the tombstones that it applied go in the transaction that publishes it. A row that
//! somebody showed again meanwhile is not dropped, and one that came in meanwhile under a hidden key stays hidden.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use deltalake_core::kernel::{Action, EagerSnapshot};
use futures::TryStreamExt;
use lakehouse_catalog::{CatalogError, TombstoneRecord};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::{ColumnName, DatasetName, Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use crate::burial::record_key;
use crate::log::{Commit, CommitFailure, Operation};
use crate::records::{Counters, Intent, Stage};
use crate::rewrite::{Rewrite, Rewritten, scan_column};
use crate::state::DataFile;
use crate::table::{Queue, Table};
use crate::tables::fresh_id;
use crate::{DatasetState, TableError, Tables, Tombstones};

/// Files below this size are merged.
const SMALL_BYTES: u64 = 64 << 20;
/// A dataset is worth compacting by itself when more of its bytes than this share are in small files.
const SMALL_SHARE: f64 = 0.2;

/// What to compact.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Merges small files, and drops every row that a tombstone hides.
    Whole,
    /// Drops the rows of these keys alone, and writes only the files anew that have them. They need not be tombstoned. The commit is
    /// made even if there are none, and the table bears the erasure's number from then on: a copy with a lower one is from before.
    Erase { column: ColumnName, keys: Arc<Tombstones>, number: u64 },
}

impl Scope {
    fn erasure(&self) -> Option<u64> {
        match self {
            Self::Whole => None,
            Self::Erase { number, .. } => Some(*number),
        }
    }
}

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionReport {
    pub dataset: DatasetName,
    /// The version that it was made from.
    pub base_version: u64,
    /// The version that holds now.
    pub version: u64,
    /// Tombstones that are gone, because their rows are.
    pub tombstones_applied: u64,
    pub rows_dropped_by_tombstones: u64,
    /// Rows in the files.
    pub final_rows: u64,
    pub files_before: u64,
    pub files_after: u64,
    /// Files of before that were written anew.
    pub files_rewritten: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub duration_ms: u64,
}

/// What a compaction publishes once its commit is in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The version before.
    base: u64,
    report: CompactionReport,
    cleared: Cleared,
    /// Rows that went and were hidden.
    dropped_hidden: u64,
    /// Names of files that are named no more.
    retired: Vec<String>,
    purge: bool,
    /// An erasure journals itself, when all of it is done.
    #[serde(default)]
    is_erasure: bool,
}

/// The tombstones that go, by the keys of their records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cleared {
    These(Vec<String>),
    AllBut(Vec<String>),
}

struct Order {
    by: Stamp,
    scope: Scope,
    started: Instant,
    progress: Arc<dyn Progress>,
}

/// What is to be done to a state.
struct Choice {
    files: Vec<DataFile>,
    /// The keys to drop, if any.
    without: Option<(ColumnName, Arc<Tombstones>)>,
}

/// How files of a dataset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub files: u64,
    pub bytes: u64,
    /// Files that a compaction would merge.
    pub small_files: u64,
    pub small_bytes: u64,
    /// Rows that tombstones hide.
    pub hidden: u64,
}

impl Shape {
    /// Whether a compaction brings something: hidden rows that go, or small files with a share of the data worth merging.
    pub fn is_worth_compacting(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = self.small_bytes as f64 / self.bytes.max(1) as f64;
        self.hidden > 0 || (self.small_files > 1 && share > SMALL_SHARE)
    }
}

impl DatasetState {
    pub fn shape(&self) -> Shape {
        let small = || self.files.iter().map(|file| file.meta.size).filter(|size| *size < SMALL_BYTES);
        Shape {
            files: self.files.len() as u64,
            bytes: self.bytes,
            small_files: small().count() as u64,
            small_bytes: small().sum(),
            hidden: self.hidden,
        }
    }
}

impl Tables {
    /// Merges small files and drops rows for good, as the scope says. Runs to its end when the caller leaves; where it may stop, it
    /// asks `progress`.
    ///
    /// # Errors
    /// For an unknown dataset, when it was cancelled, or when the storage fails: the dataset is as before, unless the error is
    /// [`TableError::OutcomeUnknown`].
    pub async fn compact(
        self: &Arc<Self>,
        by: &Stamp,
        name: &DatasetName,
        scope: Scope,
        progress: Arc<dyn Progress>,
    ) -> Result<CompactionReport, TableError> {
        let order = Order { by: by.clone(), scope, started: Instant::now(), progress };
        let (tables, name) = (Arc::clone(self), name.clone());
        self.io.spawn(async move { tables.compact_now(&name, order).await }).await?
    }

    async fn compact_now(&self, name: &DatasetName, order: Order) -> Result<CompactionReport, TableError> {
        let (table, _) = self.existing(name)?;
        match self.try_compact(&table, &order, None).await? {
            Some(report) => Ok(report),
            // What came in between would come again: the others wait this time.
            None => {
                let mut queue = table.queue().await?;
                self.settle(&table, &mut queue).await?;
                let report = self.try_compact(&table, &order, Some(queue)).await?;
                report.ok_or(TableError::Internal { what: "a compaction met another writer while it held the queue" })
            }
        }
    }

    /// Writes anew what the present state asks for, then takes the queue, unless it is held. `None`: what happened meanwhile does
    /// not go with what was written; nothing was changed.
    async fn try_compact(
        &self,
        table: &Arc<Table>,
        order: &Order,
        held: Option<OwnedMutexGuard<Queue>>,
    ) -> Result<Option<CompactionReport>, TableError> {
        let pinned = table.state().ok_or_else(|| table.refusal())?;
        let choice = self.choose(&pinned, &order.scope).await?;
        let write = fresh_id();
        let written = if choice.files.is_empty() && order.scope.erasure().is_none() {
            Rewritten::default()
        } else {
            self.put_intent(table, &write, &order.by, Stage::Writing).await?;
            match self.rewritten(&pinned, &choice, &write, order).await {
                Ok(written) => written,
                Err(error) => {
                    self.undo(table, &write).await;
                    return Err(error);
                }
            }
        };
        let mut queue = match held {
            Some(queue) => queue,
            None => {
                let mut queue = table.queue().await?;
                self.settle(table, &mut queue).await?;
                queue
            }
        };
        let Some(present) = table.state() else {
            self.undo(table, &write).await;
            return Err(table.refusal());
        };
        if !Arc::ptr_eq(&present, &pinned) && !self.goes_with(&pinned, &present, &choice).await? {
            drop(queue);
            self.undo(table, &write).await;
            return Ok(None);
        }
        let report = self.swap(table, &mut queue, &write, &present, choice, written, order).await?;
        Ok(Some(report))
    }

    async fn rewritten(
        &self,
        pinned: &Arc<DatasetState>,
        choice: &Choice,
        write: &str,
        order: &Order,
    ) -> Result<Rewritten, TableError> {
        let files = Arc::new(pinned.of_files(Arc::clone(&pinned.schema), choice.files.clone()));
        order.progress.begin("rows", Some(files.rows));
        if choice.files.is_empty() {
            return Ok(Rewritten::default());
        }
        let (without, progress) = (choice.without.clone(), Arc::clone(&order.progress));
        self.rewrite(Rewrite { files, without, write: write.to_owned(), first: 0, progress }).await
    }

    /// The files to write anew.
    async fn choose(&self, state: &Arc<DatasetState>, scope: &Scope) -> Result<Choice, TableError> {
        let without = match scope {
            Scope::Erase { column, keys, .. } => Some((column.clone(), Arc::clone(keys))),
            Scope::Whole => {
                let tombstones = &state.tombstones;
                tombstones.column.clone().filter(|_| !tombstones.is_empty()).map(|column| (column, Arc::clone(tombstones)))
            }
        };
        let is_small = |file: &&DataFile| file.meta.size < SMALL_BYTES;
        let merges = matches!(scope, Scope::Whole) && state.files.iter().filter(is_small).count() > 1;
        let mut files = Vec::new();
        for file in state.files.iter() {
            let is_chosen = match &without {
                _ if merges && is_small(&file) => true,
                Some((column, keys)) => self.has_any(state, file, column, keys).await?,
                None => false,
            };
            if is_chosen {
                files.push(file.clone());
            }
        }
        Ok(Choice { files, without })
    }

    /// Whether what was written from `pinned` can take its place in `present`.
    async fn goes_with(
        &self,
        pinned: &Arc<DatasetState>,
        present: &Arc<DatasetState>,
        choice: &Choice,
    ) -> Result<bool, TableError> {
        let names = |state: &DatasetState| state.files.iter().map(|file| file.name().to_owned()).collect::<HashSet<_>>();
        let (before, now) = (names(pinned), names(present));
        if !choice.files.iter().all(|file| now.contains(file.name())) || *pinned.schema != *present.schema {
            return Ok(false);
        }
        let Some((column, keys)) = &choice.without else { return Ok(true) };
        if present.tombstones.column.as_ref() != pinned.tombstones.column.as_ref() {
            return Ok(false);
        }
        // A row that was shown again is not to go, and one that was hidden since was not counted as hidden.
        if !keys.keys().all(|key| pinned.tombstones.contains(key) == present.tombstones.contains(key)) {
            return Ok(false);
        }
        for file in present.files.iter().filter(|file| !before.contains(file.name())) {
            if self.has_any(present, file, column, keys).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits what was written in place of what was chosen.
    #[expect(clippy::too_many_arguments, reason = "the parts of one step")]
    async fn swap(
        &self,
        table: &Arc<Table>,
        queue: &mut Queue,
        write: &str,
        present: &Arc<DatasetState>,
        choice: Choice,
        written: Rewritten,
        order: &Order,
    ) -> Result<CompactionReport, TableError> {
        let pending = self.pending(table, present, &choice, &written, order);
        if choice.files.is_empty() && order.scope.erasure().is_none() {
            if pending.purge {
                self.publish_compaction(table, write, &pending, &order.by, None).await?;
            }
            return Ok(pending.report);
        }
        let actions = match self.swap_actions(present, &choice, written) {
            Ok(actions) => actions,
            Err(error) => {
                self.undo(table, write).await;
                return Err(error);
            }
        };
        if let Err(error) = self.put_intent(table, write, &order.by, Stage::Compacting(Box::new(pending.clone()))).await {
            self.undo(table, write).await;
            return Err(error);
        }
        let commit = Commit {
            snapshot: Some(&present.snapshot),
            actions,
            writes: &[write],
            epoch: self.meta.epoch(),
            operation: Operation::Compact { drops_rows: pending.report.rows_dropped_by_tombstones > 0 },
            erasure: order.scope.erasure(),
            by: &[&order.by],
            rows: pending.report.final_rows,
        };
        let snapshot = match table.log.commit(commit).await {
            Ok(snapshot) => snapshot,
            Err(failure) => match self.after_failure(table, queue, write, &failure, pending.base).await? {
                Some(snapshot) => snapshot,
                None => {
                    self.undo(table, write).await;
                    return Err(failure.into_error(table.name.clone()));
                }
            },
        };
        let unknown = |error: TableError| {
            tracing::warn!(dataset = %table.name, error = %error, "a compaction is in the log, its outcome is not");
            TableError::OutcomeUnknown { dataset: table.name.clone() }
        };
        match self.publish_compaction(table, write, &pending, &order.by, Some(snapshot)).await {
            Ok(report) => Ok(report),
            Err(error) => {
                queue.doubt(write);
                Err(unknown(error))
            }
        }
    }

    /// After a failed commit: what the log holds. An error leaves the rest to the next holder of the queue.
    async fn after_failure(
        &self,
        table: &Table,
        queue: &mut Queue,
        write: &str,
        failure: &CommitFailure,
        base: u64,
    ) -> Result<Option<EagerSnapshot>, TableError> {
        if matches!(failure, CommitFailure::Refused(_)) {
            return Ok(None);
        }
        table.log.after_failure(write, Some(base)).await.map_err(|error| {
            tracing::warn!(dataset = %table.name, error = %error, "the outcome of a compaction is not known yet");
            queue.doubt(write);
            TableError::OutcomeUnknown { dataset: table.name.clone() }
        })
    }

    fn pending(&self, table: &Table, present: &DatasetState, choice: &Choice, written: &Rewritten, order: &Order) -> Pending {
        let chosen_bytes: u64 = choice.files.iter().map(|file| file.meta.size).sum();
        let written_bytes: u64 = written.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let (cleared, applied) = cleared(table, &present.tombstones, choice.without.as_ref().map(|(_, keys)| keys.as_ref()));
        let (files_before, rewritten) = (present.files.len() as u64, choice.files.len() as u64);
        let is_changed = rewritten > 0 || order.scope.erasure().is_some();
        let report = CompactionReport {
            dataset: table.name.clone(),
            base_version: present.version,
            version: present.version + u64::from(is_changed),
            tombstones_applied: applied,
            rows_dropped_by_tombstones: written.dropped,
            final_rows: present.rows - written.dropped,
            files_before,
            files_after: files_before - rewritten + written.adds.len() as u64,
            files_rewritten: rewritten,
            bytes_before: present.bytes,
            bytes_after: present.bytes - chosen_bytes + written_bytes,
            duration_ms: u64::try_from(order.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        Pending {
            base: present.version,
            purge: written.dropped > 0 || applied > 0 || order.scope.erasure().is_some(),
            report,
            cleared,
            dropped_hidden: written.dropped_hidden,
            retired: choice.files.iter().map(|file| file.name().to_owned()).collect(),
            is_erasure: order.scope.erasure().is_some(),
        }
    }

    fn swap_actions(&self, present: &DatasetState, choice: &Choice, written: Rewritten) -> Result<Vec<Action>, TableError> {
        let drops_rows = written.dropped > 0;
        let names: HashSet<&str> = choice.files.iter().map(DataFile::name).collect();
        let mut actions = present.removes(drops_rows, |name| names.contains(name))?;
        actions.extend(
            written.adds.into_iter().map(|add| Action::Add(deltalake_core::kernel::Add { data_change: drops_rows, ..add })),
        );
        Ok(actions)
    }

    /// Publishes a compaction: metadata first, then the state. Without a snapshot no file was written anew.
    async fn publish_compaction(
        &self,
        table: &Arc<Table>,
        write: &str,
        pending: &Pending,
        by: &Stamp,
        snapshot: Option<EagerSnapshot>,
    ) -> Result<CompactionReport, TableError> {
        let before = table.state().ok_or_else(|| table.refusal())?;
        let mut report = pending.report.clone();
        if let Some(snapshot) = &snapshot {
            report.version = snapshot.version();
        }
        let hidden = before.hidden.saturating_sub(pending.dropped_hidden);
        let prefix = format!("{}/", table.folder.id());
        let present = self.meta.collection::<TombstoneRecord>().scan(&prefix, None, usize::MAX).await?;
        let going: Vec<(String, TombstoneRecord)> = match &pending.cleared {
            Cleared::These(keys) => {
                let keys: HashSet<&String> = keys.iter().collect();
                present.into_iter().filter(|(key, _)| keys.contains(key)).collect()
            }
            Cleared::AllBut(keys) => {
                let keys: HashSet<&String> = keys.iter().collect();
                present.into_iter().filter(|(key, _)| !keys.contains(key)).collect()
            }
        };
        let retiring = self.retiring(&table.folder, report.version, pending.retired.clone(), pending.purge);
        let details = json!({
            "version": report.version,
            "tombstones_applied": report.tombstones_applied,
            "rows_dropped": report.rows_dropped_by_tombstones,
            "rows": report.final_rows,
            "files_before": report.files_before,
            "files_after": report.files_after,
        });
        let is_event = !pending.is_erasure;
        self.catalog
            .edit(by, |_, edit| {
                if is_event {
                    edit.event(Draft::new(EventKind::Compact, table.name.as_str()).dataset(table.name.clone()).details(details));
                }
                let transaction = edit.txn();
                transaction.put(table.folder.id(), &Counters { hidden }).map_err(CatalogError::from)?;
                going.iter().for_each(|(key, _)| transaction.delete::<TombstoneRecord>(key));
                retiring.stage(transaction)?;
                transaction.delete::<Intent>(write);
                Ok::<_, TableError>(())
            })
            .await?;
        self.retire(retiring);
        let gone: HashSet<Box<str>> = going.into_iter().map(|(_, record)| record.row_key_value.into()).collect();
        let tombstones = match gone.is_empty() {
            true => Arc::clone(&before.tombstones),
            false => Arc::new(before.tombstones.without(&gone)),
        };
        let state = match snapshot {
            Some(snapshot) => DatasetState::new(table.name.clone(), Arc::clone(&table.folder), snapshot, tombstones, hidden)?,
            None => before.with_tombstones(tombstones, hidden),
        };
        table.set_state(Some(Arc::new(state)));
        Ok(report)
    }

    /// Finishes a compaction whose commit the log holds.
    pub(crate) async fn resume_compaction(
        &self,
        table: &Arc<Table>,
        write: &str,
        pending: &Pending,
        by: &Stamp,
    ) -> Result<(), TableError> {
        match table.log.find(write, Some(pending.base)).await? {
            Some(_) => {
                let snapshot = table.log.load().await?;
                self.publish_compaction(table, write, pending, by, Some(snapshot)).await.map(|_| ())
            }
            None => self.discard(table, write).await,
        }
    }

    /// Whether a row of the file has one of the keys.
    pub(crate) async fn has_any(
        &self,
        state: &Arc<DatasetState>,
        file: &DataFile,
        column: &ColumnName,
        keys: &Arc<Tombstones>,
    ) -> Result<bool, TableError> {
        if keys.is_empty() || state.schema.index_of(column.as_str()).is_err() {
            return Ok(false);
        }
        let alone = Arc::new(state.of_files(Arc::clone(&state.schema), vec![file.clone()]));
        let (column, keys) = (column.clone(), Arc::clone(keys));
        let look = async move {
            let mut batches = scan_column(&alone, &column).await?;
            while let Some(batch) = batches.try_next().await? {
                if keys.keep_mask(batch.column(0)).false_count() > 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.on_blocking(look).await
    }

    async fn put_intent(&self, table: &Table, write: &str, by: &Stamp, stage: Stage) -> Result<(), TableError> {
        let mut transaction = self.meta.begin().await?;
        transaction.put(write, &Intent::new(table, by, stage))?;
        Ok(transaction.commit().await?)
    }

    async fn undo(&self, table: &Table, write: &str) {
        if let Err(error) = self.discard(table, write).await {
            tracing::warn!(dataset = %table.name, error = %error, "files of a compaction that was not made stay until the next start");
        }
    }
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

#[cfg(test)]
impl Tables {
    /// Does what a compaction does up to its publication, and no more, as after a kill.
    pub(crate) async fn compact_behind(&self, name: &DatasetName, by: &Stamp, committed: bool) {
        let (table, state) = self.existing(name).expect("the dataset exists");
        let order = Order {
            by: by.clone(),
            scope: Scope::Whole,
            started: Instant::now(),
            progress: Arc::new(lakehouse_types::Unwatched),
        };
        let choice = self.choose(&state, &order.scope).await.expect("files are found");
        let write = fresh_id();
        let written = self.rewritten(&state, &choice, &write, &order).await.expect("files are written");
        let pending = self.pending(&table, &state, &choice, &written, &order);
        let actions = self.swap_actions(&state, &choice, written).expect("the log is read");
        self.put_intent(&table, &write, by, Stage::Compacting(Box::new(pending))).await.expect("an intent is kept");
        if committed {
            let operation = Operation::Compact { drops_rows: true };
            let snapshot = Some(&state.snapshot);
            let commit = Commit {
                snapshot,
                actions,
                writes: &[&write],
                epoch: self.meta.epoch(),
                operation,
                erasure: None,
                by: &[by],
                rows: 0,
            };
            table.log.commit(commit).await.expect("the log takes the commit");
        }
    }

    /// Whether a compaction that read `pinned` could take its place now.
    pub(crate) async fn could_swap(&self, pinned: &Arc<DatasetState>) -> bool {
        self.could_swap_in(pinned, &Scope::Whole).await
    }

    pub(crate) async fn could_swap_in(&self, pinned: &Arc<DatasetState>, scope: &Scope) -> bool {
        let choice = self.choose(pinned, scope).await.expect("files are found");
        let present = self.state(&pinned.name).expect("the dataset exists");
        self.goes_with(pinned, &present, &choice).await.expect("files are read")
    }
}
