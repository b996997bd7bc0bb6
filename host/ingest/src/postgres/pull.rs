//! One ingest from a database: begin, read to the end.
//!
//! **Invariant**: a read that is dropped cancels its query and leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;
use lakehouse_journal::Stamp;
use lakehouse_tables::{Begin, Idempotency, TableWriter, WriteSpec};
use lakehouse_types::{BucketName, ColumnName, DatasetName};
use tokio::time::timeout_at;

use super::plan::Plan;
use super::session::Session;
use super::{PostgresSource, Selection, SourceError};
use crate::delimited::BATCH_BYTES;
use crate::{Ingest, IngestError, IngestMode, Pulled, WholeRead};

/// How much longer than its own limit the database is given to say that it was reached.
const GRACE: Duration = Duration::from_secs(5);
/// Rows that are taken before others get the thread.
const ROWS_AT_ONCE: usize = 256;

/// Rows of a database that are about to become rows of a dataset.
#[derive(Debug)]
pub struct PullRequest {
    pub dataset: DatasetName,
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    pub selection: Selection,
    /// The column that identifies rows.
    pub key: Option<ColumnName>,
    pub idempotency_key: Option<String>,
    pub by: Stamp,
}

impl Ingest {
    /// Reads a table or query to its end. When the future is dropped, the query is cancelled and what was read is forgotten.
    ///
    /// # Errors
    /// When the database cannot be read, or its rows do not fit the dataset; nothing is left behind.
    pub async fn pull(&self, source: &Arc<PostgresSource>, request: PullRequest) -> Result<Pulled, IngestError> {
        let started = Instant::now();
        let mode = request.mode.into();
        let idempotency = request.idempotency_key.as_ref().map(|key| fingerprint(key, source, &request));
        let spec = WriteSpec {
            dataset: request.dataset,
            bucket: request.bucket,
            mode,
            key: request.key,
            idempotency,
            by: request.by,
            started,
        };
        let mut writer = match self.tables.begin(spec).await? {
            Begin::Replayed(report) => return Ok(Pulled::Replayed(report)),
            Begin::Writer(writer) => writer,
        };
        match read(source, &request.selection, self.options.batch_rows, &mut writer).await {
            Ok(()) => Ok(Pulled::Whole(Box::new(WholeRead { writer, rejected: Vec::new(), rejected_rows: 0 }))),
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }
}

/// What the request asks for. Its text is a digest: a query may hold values.
fn fingerprint(key: &str, source: &PostgresSource, request: &PullRequest) -> Idempotency {
    let PullRequest { dataset, bucket, mode, selection, key: column, .. } = request;
    let fingerprint = format!("source {} {} {dataset} {bucket:?} {mode:?} {column:?}", source.name, selection.digest());
    Idempotency { key: key.to_owned(), fingerprint }
}

/// Moves every row to the writer.
async fn read(
    source: &Arc<PostgresSource>,
    selection: &Selection,
    batch_rows: usize,
    writer: &mut TableWriter,
) -> Result<(), IngestError> {
    let mut session = Session::open(source).await?;
    let after = source.statement_timeout;
    let until = tokio::time::Instant::now() + after + GRACE;
    let too_slow = || SourceError::TimedOut { name: source.name.clone(), after };
    let begun = async {
        let plan = Plan::of(&mut session, selection).await?;
        let rows = session.rows(&plan.statement).await?;
        Ok::<_, SourceError>((plan, rows))
    };
    let (plan, rows) = timeout_at(until, begun).await.map_err(|_| too_slow())??;
    // Declares the columns, whether or not a row comes.
    writer.write(RecordBatch::new_empty(Arc::clone(&plan.schema))).await?;
    let mut rows = std::pin::pin!(rows);
    let mut batch = plan.batch();
    while let Some(row) = timeout_at(until, rows.next()).await.map_err(|_| too_slow())? {
        match row {
            Ok(row) => batch.append(&row)?,
            Err(error) => return Err(session.told(&error).await.without_position().into()),
        }
        if batch.rows >= batch_rows || batch.bytes >= BATCH_BYTES {
            writer.write(batch.finish()?).await?;
        } else if batch.rows.is_multiple_of(ROWS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    session.has_read();
    if batch.rows > 0 {
        writer.write(batch.finish()?).await?;
    }
    Ok(())
}
