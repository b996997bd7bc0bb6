//! Data files written anew, without the rows of some keys.
//!
//! **Invariant**: the new files are read back before anybody names them, and hold exactly the rows that were kept: the same number,
//! and the same sum over the rows' contents. The old files stay as they are.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch, not};
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream, execute_stream_partitioned};
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use futures::future::try_join_all;
use lakehouse_types::{ColumnName, Progress};

use crate::encode::{Encoder, Target};
use crate::schema::conform;
use crate::{DatasetState, TableError, Tables, Tombstones};

/// Rows of each batch that is read.
const BATCH_ROWS: usize = 8192;

/// What to write anew.
pub(crate) struct Rewrite {
    /// Made by [`DatasetState::of_files`]; its schema is that of the new files.
    pub(crate) files: Arc<DatasetState>,
    /// The rows to leave out: those whose column has one of the keys.
    pub(crate) without: Option<(ColumnName, Arc<Tombstones>)>,
    /// The id of the write, with which the names of the new files begin.
    pub(crate) write: String,
    /// Number of the first of them.
    pub(crate) first: usize,
    pub(crate) progress: Arc<dyn Progress>,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) adds: Vec<Add>,
    /// Rows in the new files.
    pub(crate) rows: u64,
    /// Rows that were left out.
    pub(crate) dropped: u64,
    /// Those of them that a tombstone hid.
    pub(crate) dropped_hidden: u64,
}

impl Tables {
    /// Writes the files anew, on a thread that may block.
    ///
    /// # Errors
    /// When a file cannot be read or written, the new files are not what was written, or the work was cancelled. The new files may
    /// be there in part, under the write's id.
    pub(crate) async fn rewrite(&self, what: Rewrite) -> Result<Rewritten, TableError> {
        let (io, modified) = (self.io.clone(), self.clock.now().timestamp_millis());
        self.on_blocking(async move { what.run(&io, modified).await }).await
    }

    /// Runs work that decodes files on a thread that may block.
    pub(crate) async fn on_blocking<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TableError>> + Send + 'static,
    ) -> Result<T, TableError> {
        let io = self.io.clone();
        self.io.spawn_blocking(move || io.block_on(work)).await?
    }
}

impl Tables {
    /// Shows every batch of a state to `look`, on as many threads as there are cores, each of which gathers for itself.
    pub(crate) async fn look_at_all<T: Default + Send + 'static>(
        &self,
        state: &Arc<DatasetState>,
        look: impl Fn(&RecordBatch, &mut T) -> Result<(), TableError> + Clone + Send + 'static,
    ) -> Result<Vec<T>, TableError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (plan, context) = plan(state, None, threads).await?;
        let parts = execute_stream_partitioned(plan, context)?.into_iter().map(|mut batches| {
            let look = look.clone();
            self.on_blocking(async move {
                let mut gathered = T::default();
                while let Some(batch) = batches.try_next().await? {
                    look(&batch, &mut gathered)?;
                }
                Ok(gathered)
            })
        });
        try_join_all(parts).await
    }
}

impl Rewrite {
    async fn run(self, io: &tokio::runtime::Handle, modified_ms: i64) -> Result<Rewritten, TableError> {
        let target = Target {
            bucket: self.files.folder.bucket().clone(),
            folder: self.files.folder.path(),
            write: self.write.clone(),
            first: self.first,
        };
        let encoder = Encoder::start(io, Arc::clone(&self.files.schema), target, modified_ms);
        match self.write(&encoder).await {
            Ok((mut written, sum)) => {
                written.adds = encoder.finish().await?;
                self.verify(&written, sum).await?;
                Ok(written)
            }
            // An encoder that failed tells why.
            Err(error @ TableError::Internal { .. }) => encoder.finish().await.map_or_else(Err, |_| Err(error)),
            Err(error) => {
                encoder.discard().await;
                Err(error)
            }
        }
    }

    /// Hands the kept rows to the encoder; answers their number and sum.
    async fn write(&self, encoder: &Encoder) -> Result<(Rewritten, u64), TableError> {
        let mut batches = scan(&self.files).await?;
        let (mut written, mut sum) = (Rewritten::default(), 0u64);
        while let Some(batch) = batches.try_next().await? {
            if self.progress.is_cancelled() {
                return Err(TableError::Cancelled { dataset: self.files.name.clone() });
            }
            self.progress.advance(batch.num_rows() as u64);
            let kept = self.keep(&batch, &mut written)?;
            if kept.num_rows() == 0 {
                continue;
            }
            written.rows += kept.num_rows() as u64;
            sum = sum.wrapping_add(sum_of(&kept)?);
            let stored = conform(&kept, &self.files.schema, 1)?;
            encoder.write(stored).await.map_err(|_| TableError::Internal { what: "the encoder stopped" })?;
        }
        Ok((written, sum))
    }

    fn keep(&self, batch: &RecordBatch, written: &mut Rewritten) -> Result<RecordBatch, TableError> {
        let Some((column, without)) = &self.without else { return Ok(batch.clone()) };
        // Rows from before the key column have NULL there.
        let Some(keys) = batch.column_by_name(column.as_str()) else { return Ok(batch.clone()) };
        let mask = without.keep_mask(keys);
        let dropped = mask.false_count();
        if dropped == 0 {
            return Ok(batch.clone());
        }
        written.dropped += dropped as u64;
        written.dropped_hidden += self.hidden_among(keys, &mask)?;
        Ok(filter_record_batch(batch, &mask)?)
    }

    /// Rows that go and that a tombstone hides.
    fn hidden_among(&self, keys: &ArrayRef, kept: &BooleanArray) -> Result<u64, TableError> {
        let tombstones = &self.files.tombstones;
        if tombstones.is_empty() {
            return Ok(0);
        }
        let going = filter(keys, &not(kept)?)?;
        Ok(tombstones.keep_mask(&going).false_count() as u64)
    }

    /// Reads the new files back.
    async fn verify(&self, written: &Rewritten, sum: u64) -> Result<(), TableError> {
        let damaged = || TableError::Corrupt {
            dataset: self.files.name.clone(),
            what: "rewritten files do not read as they were written; the old ones stay",
        };
        let read = Arc::new(self.files.with_files(Arc::clone(&self.files.schema), &written.adds));
        let (mut rows, mut read_sum) = (0, 0u64);
        if !written.adds.is_empty() {
            let mut batches = scan(&read).await?;
            while let Some(batch) = batches.try_next().await? {
                rows += batch.num_rows() as u64;
                read_sum = read_sum.wrapping_add(sum_of(&batch)?);
            }
        }
        if (rows, read_sum) == (written.rows, sum) { Ok(()) } else { Err(damaged()) }
    }
}

/// All rows of a state, in one stream, bounded by a batch.
pub(crate) async fn scan(state: &Arc<DatasetState>) -> Result<SendableRecordBatchStream, TableError> {
    scan_columns(state, None).await
}

/// The same of one column.
pub(crate) async fn scan_column(state: &Arc<DatasetState>, column: &ColumnName) -> Result<SendableRecordBatchStream, TableError> {
    let index = state.scan_schema.index_of(column.as_str())?;
    scan_columns(state, Some(&vec![index])).await
}

async fn scan_columns(
    state: &Arc<DatasetState>,
    projection: Option<&Vec<usize>>,
) -> Result<SendableRecordBatchStream, TableError> {
    let (plan, context) = plan(state, projection, 1).await?;
    Ok(execute_stream(plan, context)?)
}

async fn plan(
    state: &Arc<DatasetState>,
    projection: Option<&Vec<usize>>,
    partitions: usize,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), TableError> {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(BATCH_ROWS);
    let session = SessionContext::new_with_config(config);
    let bucket = state.folder.bucket();
    session.register_object_store(&bucket.url(), bucket.compat());
    let plan = state.provider().scan(&session.state(), projection, &[], None).await?;
    Ok((plan, Arc::new(TaskContext::from(&session))))
}

/// The sum of a number of each row's content: the same whatever the order of rows and the cut of batches.
fn sum_of(batch: &RecordBatch) -> Result<u64, TableError> {
    const SEED: u64 = 0x6c61_6b65_686f_7573;
    let mut hashes = vec![0; batch.num_rows()];
    create_hashes(batch.columns(), &QualityRandomState::with_seed(SEED), &mut hashes)?;
    Ok(hashes.iter().fold(0, |sum, hash| sum.wrapping_add(*hash)))
}
