//! One ingest: spool, infer, read, commit.
//!
//! **Invariant**: an idempotent request is recognized by its body's digest and its parameters, whatever its file is called.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::Stream;
use lakehouse_journal::Stamp;
use lakehouse_tables::{Begin, CommitReport, Idempotency, Rejected, Tables, WriteMode, WriteSpec};
use lakehouse_types::{BucketName, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::rows::Rows;
use crate::spool::Spool;
use crate::whole::{Pulled, WholeRead};
use crate::{Format, IngestError, columnar, delimited, json};

/// Batches that wait for the table.
pub(crate) const QUEUE: usize = 2;

/// What an ingest did.
pub type IngestReport = CommitReport;

/// How new rows meet the rows that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IngestMode {
    #[default]
    Append,
    Replace,
    /// Rows take the place of those with the same key.
    Upsert,
}

impl From<IngestMode> for WriteMode {
    fn from(mode: IngestMode) -> Self {
        match mode {
            IngestMode::Append => Self::Append,
            IngestMode::Replace => Self::Replace,
            IngestMode::Upsert => Self::Upsert,
        }
    }
}

/// What happens to a row that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The whole ingest fails and leaves nothing.
    #[default]
    Fail,
    /// The row is left out and reported.
    Skip,
}

/// A word that is no value of its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct UnknownWord {
    pub expected: &'static str,
}

impl FromStr for IngestMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "append" => Ok(Self::Append),
            "replace" => Ok(Self::Replace),
            "upsert" => Ok(Self::Upsert),
            _ => Err(UnknownWord { expected: "append, replace or upsert" }),
        }
    }
}

impl FromStr for OnError {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(UnknownWord { expected: "fail or skip" }),
        }
    }
}

/// A file that is about to become rows.
#[derive(Debug)]
pub struct IngestRequest {
    pub dataset: DatasetName,
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    /// As the caller says; else found by name, media type or first bytes.
    pub format: Option<Format>,
    pub file_name: Option<String>,
    pub content_type: Option<String>,
    /// The column that identifies rows.
    pub key: Option<ColumnName>,
    pub on_error: OnError,
    pub idempotency_key: Option<String>,
    pub by: Stamp,
}

/// Settings of ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Where bodies are spooled.
    pub spool: PathBuf,
    /// Size of a plain body at most.
    pub max_spool_bytes: u64,
    /// Size of one record of a text format at most.
    pub max_record_bytes: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

impl IngestOptions {
    /// The defaults, with a spool folder.
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        Self { spool: spool.into(), max_spool_bytes: 64 << 30, max_record_bytes: 16 << 20, batch_rows: 8192 }
    }
}

/// Turns files into rows of datasets.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) tables: Arc<Tables>,
    pub(crate) options: Arc<IngestOptions>,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Ingest {
    pub fn new(tables: Arc<Tables>, options: IngestOptions) -> Self {
        Self { tables, options: Arc::new(options) }
    }

    /// Takes a body and commits its rows as one version. Its answer is durable and visible to the next read.
    ///
    /// # Errors
    /// When the body is broken, does not fit the dataset, or cannot be stored; the dataset is then as before.
    pub async fn run(
        &self,
        request: IngestRequest,
        body: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<IngestReport, IngestError> {
        match self.read(request, body).await? {
            Pulled::Replayed(report) => Ok(report),
            Pulled::Whole(whole) => whole.commit().await,
        }
    }

    /// Takes a body and writes its rows, none of which is visible before they are committed.
    ///
    /// # Errors
    /// When the body is broken, does not fit the dataset, or cannot be stored; the dataset is then as before.
    pub async fn read(
        &self,
        request: IngestRequest,
        body: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Pulled, IngestError> {
        let started = Instant::now();
        let mode = request.mode.into();
        let named = request
            .format
            .or_else(|| request.file_name.as_deref().and_then(Format::of_name))
            .or_else(|| request.content_type.as_deref().and_then(Format::of_content_type));
        let spool = Spool::take(&self.options.spool, self.options.max_spool_bytes, body).await?;
        let format = match named {
            Some(format) => format,
            None => Format::of_magic(&spool.head()?).ok_or(IngestError::UnknownFormat)?,
        };
        let idempotency = request.idempotency_key.as_ref().map(|key| fingerprint(key, &request, format, &spool));
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
        let (out, mut batches) = mpsc::channel(QUEUE);
        let rows = Rows::new(out, request.on_error);
        let reader = Reader { format, spool, existing: writer.existing_schema(), options: Arc::clone(&self.options) };
        let reading = tokio::task::spawn_blocking(move || reader.read(rows));
        while let Some(batch) = batches.recv().await {
            if let Err(error) = writer.write(batch).await {
                drop(batches);
                writer.abort().await;
                return Err(error.into());
            }
        }
        match reading.await? {
            Ok((rejected, rejected_rows)) => {
                let writer = writer.close().await?;
                Ok(Pulled::Whole(Box::new(WholeRead { writer, rejected, rejected_rows })))
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }
}

/// What the request asks for, body included.
fn fingerprint(key: &str, request: &IngestRequest, format: Format, spool: &Spool) -> Idempotency {
    let IngestRequest { dataset, bucket, mode, key: column, on_error, .. } = request;
    let fingerprint = format!("{} {dataset} {bucket:?} {mode:?} {format:?} {column:?} {on_error:?}", spool.digest);
    Idempotency { key: key.to_owned(), fingerprint }
}

/// One pass over a spool, on a thread that may block.
pub(crate) struct Reader {
    pub(crate) format: Format,
    pub(crate) spool: Spool,
    pub(crate) existing: Option<SchemaRef>,
    pub(crate) options: Arc<IngestOptions>,
}

impl Reader {
    /// Answers what was left out. The way to the table ends with the reading: whoever receives would wait for more else.
    pub(crate) fn read(self, mut rows: Rows) -> Result<(Vec<Rejected>, u64), IngestError> {
        let (spool, options, existing) = (&self.spool, self.options.as_ref(), self.existing.as_deref());
        match self.format {
            Format::Csv => delimited::read(spool, None, existing, options, &mut rows)?,
            Format::Tsv => delimited::read(spool, Some(b'\t'), existing, options, &mut rows)?,
            Format::Json => json::read(spool, false, existing, options, &mut rows)?,
            Format::Ndjson => json::read(spool, true, existing, options, &mut rows)?,
            Format::Parquet => columnar::read_parquet(spool, options, &rows)?,
            Format::Arrow => columnar::read_arrow(spool, options, &rows)?,
        }
        Ok((rows.rejected, rows.rejected_rows))
    }
}

#[cfg(test)]
pub(crate) mod tests;
