//! Rows on their way into a table.
//!
//! A small write stays in memory until it is about to be committed, so that one intent is enough for it: a durable file without one
//! would never be found again.
//!
//! **Invariant**: nothing is visible before [`TableWriter::finish`]; a writer that is dropped leaves nothing behind.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use deltalake_core::kernel::Add;
use lakehouse_journal::Stamp;
use lakehouse_types::ColumnName;

use crate::encode::{Encoder, Held, Target};
use crate::records::Stage;
use crate::schema::{conform, widen};
use crate::table::Table;
use crate::tables::{Flight, fresh_id};
use crate::upsert::{Keys, Replaced};
use crate::{CommitReport, DatasetState, Idempotency, Rejected, TableError, Tables, Tombstones, WriteMode, WriteSpec};

/// Rows up to this size are small.
const WAITING_BYTES: usize = 256 << 10;

/// Takes batches for one dataset and commits them together.
#[derive(Debug)]
pub struct TableWriter {
    work: Option<Work>,
}

/// What a write has gathered.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) tables: Arc<Tables>,
    pub(crate) table: Arc<Table>,
    pub(crate) mode: WriteMode,
    pub(crate) key: Option<ColumnName>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) by: Stamp,
    /// The id of the write: its intent's key, its files' prefix, its mark in the Delta log.
    pub(crate) id: String,
    /// The dataset's schema once this is committed, as far as known now.
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) adds: Vec<Add>,
    pub(crate) rows: u64,
    pub(crate) tombstoned: u64,
    /// The keys of an upsert's rows.
    pub(crate) keys: Keys,
    /// What an upsert took out, once it holds the queue.
    pub(crate) replaced: Replaced,
    pub(crate) started: Instant,
    pub(crate) base: Option<Arc<DatasetState>>,
    /// Those that `tombstoned` was counted by.
    pub(crate) tombstones: Option<Arc<Tombstones>>,
    /// The schema of the batch before, which needs no second look.
    seen: Option<SchemaRef>,
    encoder: Option<(SchemaRef, Encoder)>,
    /// Rows in memory, while they are few.
    pub(crate) waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    /// The file that they became, which `adds` names and which is nowhere yet.
    held: Option<Held>,
    /// Whether there may be an intent.
    pub(crate) intended: bool,
    _flight: Option<Flight>,
}

impl TableWriter {
    pub(crate) fn new(tables: Arc<Tables>, table: Arc<Table>, spec: WriteSpec, flight: Option<Flight>) -> Self {
        let (base, tombstones) = (table.state(), table.tombstones());
        let schema = base.as_ref().filter(|_| spec.mode.adds()).map(|state| Arc::clone(&state.schema));
        let work = Work {
            tables,
            table,
            mode: spec.mode,
            key: spec.key,
            idempotency: spec.idempotency,
            by: spec.by,
            id: fresh_id(),
            schema,
            adds: Vec::new(),
            rows: 0,
            tombstoned: 0,
            keys: Keys::default(),
            replaced: Replaced::default(),
            started: spec.started,
            base,
            tombstones,
            seen: None,
            encoder: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            held: None,
            intended: false,
            _flight: flight,
        };
        Self { work: Some(work) }
    }

    /// The schema that new rows must fit: that of the dataset, in an append to one that exists.
    pub fn existing_schema(&self) -> Option<SchemaRef> {
        let work = self.work.as_ref()?;
        work.base.as_ref().filter(|_| work.mode.adds()).map(|state| Arc::clone(&state.schema))
    }

    /// The schema that new rows must fit now: the existing one, and what was written since.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.work.as_ref().and_then(|work| work.schema.clone())
    }

    /// Takes a batch; one without rows declares columns. Waits while the encoder is behind.
    ///
    /// # Errors
    /// For columns that do not fit the dataset or cannot be stored, and when a file cannot be written.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<(), TableError> {
        match self.work.as_mut() {
            Some(work) => work.write(batch).await,
            None => Err(TableError::Internal { what: "a finished writer was written to" }),
        }
    }

    /// Closes the files: what is left is to commit. When the caller leaves, the write is undone.
    ///
    /// # Errors
    /// When a file cannot be written; the write is undone then.
    pub async fn close(mut self) -> Result<Self, TableError> {
        let Some(mut work) = self.work.take() else {
            return Err(TableError::Internal { what: "a finished writer was closed" });
        };
        let io = work.tables.io.clone();
        io.spawn(async move {
            match work.close().await {
                Ok(()) => Ok(Self { work: Some(work) }),
                Err(error) => {
                    work.discard().await;
                    Err(error)
                }
            }
        })
        .await?
    }

    /// Commits all batches as one version. Goes on when the caller leaves. The answer is durable, and visible to the next read.
    ///
    /// `rejected` are the first of the `rejected_rows` rows that the reader left out.
    ///
    /// # Errors
    /// When another writer made the write impossible, or the storage fails; the dataset is as before, unless the error is
    /// [`TableError::OutcomeUnknown`].
    pub async fn finish(mut self, rejected: Vec<Rejected>, rejected_rows: u64) -> Result<CommitReport, TableError> {
        let Some(mut work) = self.work.take() else {
            return Err(TableError::Internal { what: "a writer was finished twice" });
        };
        let io = work.tables.io.clone();
        io.spawn(async move {
            let closed = work.close().await;
            match closed {
                Ok(()) => work.commit(rejected, rejected_rows).await,
                Err(error) => {
                    work.discard().await;
                    Err(error)
                }
            }
        })
        .await?
    }

    /// Undoes the write.
    pub async fn abort(mut self) {
        if let Some(work) = self.work.take() {
            let io = work.tables.io.clone();
            // Undoing again at the next start is all that a failure costs.
            let _ = io.spawn(work.discard()).await;
        }
    }
}

#[cfg(test)]
impl TableWriter {
    /// The work of a writer that will neither finish nor clean up, as after a kill.
    pub(crate) fn disarm(mut self) -> Work {
        self.work.take().expect("the writer is open")
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let io = work.tables.io.clone();
            io.spawn(work.discard());
        }
    }
}

impl Work {
    async fn write(&mut self, batch: RecordBatch) -> Result<(), TableError> {
        let row = self.rows + 1;
        if self.seen.as_ref().is_none_or(|seen| *seen != batch.schema()) {
            let wide = widen(self.schema.as_deref(), &batch.schema(), row).map_err(|error| at_first_value(error, &batch))?;
            self.schema = Some(wide);
            self.seen = Some(batch.schema());
        }
        let Some(schema) = self.schema.clone() else {
            return Err(TableError::NoColumns);
        };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // As it came: a column that is filled up has no keys.
        self.gather_keys(&batch, row)?;
        let batch = conform(&batch, &schema, row)?;
        self.tombstoned += self.tombstones.as_ref().map_or(0, |tombstones| hidden_rows(tombstones, &batch));
        self.rows += batch.num_rows() as u64;
        if self.encoder.is_none() {
            let bytes = batch.columns().iter().map(size_of_rows).fold(self.waiting_bytes, usize::saturating_add);
            if bytes <= WAITING_BYTES {
                self.waiting_bytes = bytes;
                self.waiting.push(batch);
                return Ok(());
            }
        }
        self.intend().await?;
        for batch in std::mem::take(&mut self.waiting).into_iter().chain([batch]) {
            self.encode(batch).await?;
        }
        Ok(())
    }

    async fn encode(&mut self, batch: RecordBatch) -> Result<(), TableError> {
        let schema = batch.schema();
        if self.encoder.as_ref().is_some_and(|(encoded, _)| *encoded != schema) {
            self.close().await?;
        }
        let encoder = match self.encoder.take() {
            Some(open) => open,
            None => {
                let encoder = Encoder::start(&self.tables.io, Arc::clone(&schema), self.target(self.adds.len()), self.now());
                (schema, encoder)
            }
        };
        let written = encoder.1.write(batch).await;
        self.encoder = Some(encoder);
        match written {
            Ok(()) => Ok(()),
            Err(_) => {
                self.close().await?;
                Err(TableError::Internal { what: "the encoder stopped" })
            }
        }
    }

    /// Files of this write, from number `first` on.
    pub(crate) fn target(&self, first: usize) -> Target {
        let folder = &self.table.folder;
        Target { bucket: folder.bucket().clone(), folder: folder.path(), write: self.id.clone(), first }
    }

    /// In milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.tables.clock.now().timestamp_millis()
    }

    /// Makes the intent durable, before the first file exists.
    pub(crate) async fn intend(&mut self) -> Result<(), TableError> {
        if self.intended { Ok(()) } else { self.put_intent(Stage::Writing).await }
    }

    pub(crate) async fn put_intent(&mut self, stage: Stage) -> Result<(), TableError> {
        // Also if it fails: it may be there all the same.
        self.intended = true;
        self.tables.put_intent(&self.table, &self.id, &self.by, stage).await
    }

    /// Makes rows in memory a file in memory.
    pub(crate) async fn encode_waiting(&mut self) -> Result<(), TableError> {
        let Some(schema) = self.schema.clone().filter(|_| !self.waiting.is_empty()) else { return Ok(()) };
        let batches = std::mem::take(&mut self.waiting);
        let (file, add) = self.tables.encode(schema, batches, self.target(self.adds.len())).await?;
        self.held = Some(file);
        self.adds.push(add);
        Ok(())
    }

    /// Puts the file in memory where it belongs. The intent is durable.
    pub(crate) async fn land(&mut self) -> Result<(), TableError> {
        match self.held.take() {
            Some(file) => file.put(self.table.folder.bucket()).await,
            None => Ok(()),
        }
    }

    /// Closes the open file.
    pub(crate) async fn close(&mut self) -> Result<(), TableError> {
        if let Some((_, encoder)) = self.encoder.take() {
            self.adds.extend(encoder.finish().await?);
        }
        Ok(())
    }

    /// Deletes files and intent, and the table if it never came to be.
    pub(crate) async fn discard(mut self) {
        if let Some((_, encoder)) = self.encoder.take() {
            encoder.discard().await;
        }
        if self.intended
            && let Err(error) = self.tables.discard(&self.table, &self.id).await
        {
            tracing::warn!(dataset = %self.table.name, error = %error, "an undone write stays until the next start");
        }
        self.tables.forget_unborn(&self.table);
    }
}

impl Tables {
    /// Makes a few batches that fit a schema a file of it, in memory.
    pub(crate) async fn encode(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        target: Target,
    ) -> Result<(Held, Add), TableError> {
        let modified = self.clock.now().timestamp_millis();
        self.io.spawn_blocking(move || Held::encode(&schema, &batches, &target, modified)).await?
    }
}

/// Rows of a batch that tombstones hide.
pub(crate) fn hidden_rows(tombstones: &Tombstones, batch: &RecordBatch) -> u64 {
    let column = tombstones.column.as_ref().filter(|_| !tombstones.is_empty());
    // Rows without a key column have NULL there, which hides nothing.
    let keys = column.and_then(|column| batch.column_by_name(column.as_str()));
    keys.map_or(0, |keys| tombstones.keep_mask(keys).false_count() as u64)
}

/// What the rows of a column take; a batch may be a part of a larger one.
fn size_of_rows(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(usize::MAX)
}

/// A type conflict names the first row with a value in the column.
fn at_first_value(error: TableError, batch: &RecordBatch) -> TableError {
    match error {
        TableError::SchemaConflict { column, row, stored, given } => {
            let values = batch.column_by_name(&column);
            let first = values.and_then(|values| (0..values.len()).find(|&index| values.is_valid(index))).unwrap_or(0);
            TableError::SchemaConflict { column, row: row + first as u64, stored, given }
        }
        other => other,
    }
}
