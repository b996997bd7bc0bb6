//! Small files become large ones, and rows that tombstones hide are gone for good.
//!
//! **Invariant**: what is read before and after is the same, whatever stops it in between: files are written beside the old ones and
//! read back, then one commit swaps them, and the tombstones that it applied go in the transaction that publishes it. A row that
//! somebody showed again meanwhile is not dropped, and one that came in meanwhile under a hidden key stays hidden.

#[cfg(test)]
mod behind; // as after a kill
mod swap; // from what was written to what is seen

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use lakehouse_journal::Stamp;
use lakehouse_types::{ColumnName, DatasetName, Progress};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, watch};

pub(crate) use self::swap::Pending;
use crate::records::Stage;
use crate::rewrite::{Rewrite, Rewritten, scan_column};
use crate::shape::SMALL_BYTES;
use crate::state::DataFile;
use crate::table::{Queue, Table};
use crate::tables::fresh_id;
use crate::{DatasetState, TableError, Tables, Tombstones};

/// What to compact.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Merges small files, and drops every row that a tombstone hides.
    Whole,
    /// Drops the rows of these keys alone, and writes only the files anew that have them. They need not be tombstoned. The commit is
    /// made even if there are none, and the table bears the erasure's number from then on: a copy with a lower one is from before.
    /// The rows are there until the gate is passed, if there is one.
    Erase { column: ColumnName, keys: Arc<Tombstones>, number: u64, gate: Option<Gate> },
}

/// Holds a compaction back that has written its files, until somebody is done with the rows that are to go.
#[derive(Debug, Clone)]
pub struct Gate(watch::Receiver<bool>);

/// Opens a [`Gate`]. Dropped, it shuts it for good: the compaction is cancelled.
#[derive(Debug)]
pub struct GateKeeper(watch::Sender<bool>);

impl GateKeeper {
    pub fn new() -> (Self, Gate) {
        let (opened, gate) = watch::channel(false);
        (Self(opened), Gate(gate))
    }

    pub fn open(self) {
        self.0.send_replace(true);
    }
}

impl Gate {
    /// Waits; answers whether it was opened.
    async fn pass(&self) -> bool {
        self.0.clone().wait_for(|is_open| *is_open).await.is_ok()
    }
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

/// One try of a compaction, under an id of its own.
struct Attempt<'t> {
    tables: &'t Tables,
    table: &'t Arc<Table>,
    order: &'t Order,
    write: String,
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
        self.io.spawn(async move { tables.compact_now(&name, &order).await }).await?
    }

    async fn compact_now(&self, name: &DatasetName, order: &Order) -> Result<CompactionReport, TableError> {
        let (table, _) = self.existing(name)?;
        if let Some(report) = Attempt::new(self, &table, order).run(None).await? {
            return Ok(report);
        }
        // What came in between would come again: the others wait this time.
        let mut queue = table.queue().await?;
        self.settle(&table, &mut queue).await?;
        let report = Attempt::new(self, &table, order).run(Some(queue)).await?;
        report.ok_or(TableError::Internal { what: "a compaction met another writer while it held the queue" })
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
}

impl<'t> Attempt<'t> {
    fn new(tables: &'t Tables, table: &'t Arc<Table>, order: &'t Order) -> Self {
        Self { tables, table, order, write: fresh_id() }
    }

    /// Runs to its end, or leaves nothing behind. `None`: what happened meanwhile does not go with what was written.
    async fn run(&self, held: Option<OwnedMutexGuard<Queue>>) -> Result<Option<CompactionReport>, TableError> {
        let outcome = self.try_run(held).await;
        // One that may be in the log is settled by whoever holds the queue next.
        if !matches!(outcome, Ok(Some(_)) | Err(TableError::OutcomeUnknown { .. }))
            && let Err(error) = self.tables.discard(self.table, &self.write).await
        {
            tracing::warn!(dataset = %self.table.name, error = %error, "files of a compaction that was not made stay until the next start");
        }
        outcome
    }

    /// Writes anew what the present state asks for, then takes the queue, unless it is held.
    async fn try_run(&self, held: Option<OwnedMutexGuard<Queue>>) -> Result<Option<CompactionReport>, TableError> {
        let pinned = self.table.state().ok_or_else(|| self.table.refusal())?;
        let choice = self.choose(&pinned).await?;
        let written = if self.commits(&choice) { self.rewrite(&pinned, &choice).await? } else { Rewritten::default() };
        if let Scope::Erase { gate: Some(gate), .. } = &self.order.scope
            && !gate.pass().await
        {
            return Err(TableError::Cancelled { dataset: self.table.name.clone() });
        }
        let mut queue = match held {
            Some(queue) => queue,
            None => {
                let mut queue = self.table.queue().await?;
                self.tables.settle(self.table, &mut queue).await?;
                queue
            }
        };
        let present = self.table.state().ok_or_else(|| self.table.refusal())?;
        if !Arc::ptr_eq(&present, &pinned) && !self.goes_with(&pinned, &present, &choice).await? {
            return Ok(None);
        }
        self.swap(&mut queue, &present, &choice, written).await.map(Some)
    }

    /// Whether the log changes: an erasure leaves its number there even where no row goes.
    fn commits(&self, choice: &Choice) -> bool {
        !choice.files.is_empty() || self.order.scope.erasure().is_some()
    }

    async fn rewrite(&self, pinned: &Arc<DatasetState>, choice: &Choice) -> Result<Rewritten, TableError> {
        self.tables.put_intent(self.table, &self.write, &self.order.by, Stage::Writing).await?;
        let files = Arc::new(pinned.of_files(Arc::clone(&pinned.schema), choice.files.clone()));
        self.order.progress.begin("rows", Some(files.rows));
        if choice.files.is_empty() {
            return Ok(Rewritten::default());
        }
        let (without, progress) = (choice.without.clone(), Arc::clone(&self.order.progress));
        self.tables.rewrite(Rewrite { files, without, write: self.write.clone(), first: 0, progress }).await
    }

    /// The files to write anew.
    async fn choose(&self, state: &Arc<DatasetState>) -> Result<Choice, TableError> {
        let without = match &self.order.scope {
            Scope::Erase { column, keys, .. } => Some((column.clone(), Arc::clone(keys))),
            Scope::Whole => {
                let tombstones = &state.tombstones;
                tombstones.column.clone().filter(|_| !tombstones.is_empty()).map(|column| (column, Arc::clone(tombstones)))
            }
        };
        let is_small = |file: &&DataFile| file.meta.size < SMALL_BYTES;
        let merges = matches!(self.order.scope, Scope::Whole) && state.files.iter().filter(is_small).count() > 1;
        let mut files = Vec::new();
        for file in state.files.iter() {
            let is_chosen = match &without {
                _ if merges && is_small(&file) => true,
                Some((column, keys)) => self.tables.has_any(state, file, column, keys).await?,
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
            if self.tables.has_any(present, file, column, keys).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
