//! Parquet and Arrow IPC: typed batches as they are.
//!
//! **Invariant**: the libraries see only lengths that the file has bytes for, because they allocate what is claimed and a failed
//! allocation ends the process; the table gets batches of bounded size.

mod footer; // Parquet's footer and page headers, walked
mod frames; // Arrow's messages, walked
mod thrift; // the compact protocol
mod width; // bytes of rows

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::delimited::MAX_COLUMNS;
use crate::rows::Rows;
use crate::spool::Spool;
use crate::{IngestError, IngestOptions};

/// Why a file is broken.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Plain values of a batch that goes on to the table, if it has more than one row.
const BATCH_BYTES: usize = 64 << 20;
/// Metadata that is read at once: a Parquet footer, an Arrow message without its body.
const MAX_METADATA_BYTES: u64 = 64 << 20;
/// Stands before the stream in an Arrow file, with zeros after it: to 8 bytes by the format, to 64 by some writers.
const ARROW_MAGIC: &[u8] = b"ARROW1";
const ARROW_ALIGNMENTS: (usize, usize) = (8, 64);

/// Reads a Parquet file.
pub(crate) fn read_parquet(spool: &Spool, options: &IngestOptions, rows: &Rows) -> Result<(), IngestError> {
    const WHAT: &str = "Parquet";
    let bytes = length(&spool.reader()?)?;
    footer::check_footer(spool.reader()?, bytes)?;
    let file = spool.reader()?;
    let builder = caught(WHAT, || ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|error| broken(WHAT, error))?;
    footer::check_pages(spool.reader()?, bytes, builder.metadata())?;
    let at_once = footer::rows_at_once(builder.metadata(), options.batch_rows)?;
    let reader = caught(WHAT, || builder.with_batch_size(at_once).build())?.map_err(|error| broken(WHAT, error))?;
    forward(reader, WHAT, options, rows)
}

/// Reads an Arrow IPC stream, or an Arrow file as the stream that is in it.
pub(crate) fn read_arrow(spool: &Spool, options: &IngestOptions, rows: &Rows) -> Result<(), IngestError> {
    const WHAT: &str = "Arrow";
    let bytes = length(&spool.reader()?)?;
    let begins = arrow_begins(spool.reader()?)?;
    let ends = frames::check(spool.reader()?, begins, bytes)?;
    // A file's footer repeats what the stream says. After a bare stream there is nothing, or another one that would be lost.
    if begins == 0 && ends < bytes {
        return Err(broken(WHAT, "something follows the end of the stream"));
    }
    let mut file = spool.reader()?;
    file.seek(SeekFrom::Start(begins)).map_err(IngestError::Spool)?;
    let reader = caught(WHAT, || StreamReader::try_new(BufReader::new(file), None))?.map_err(|error| broken(WHAT, error))?;
    forward(reader, WHAT, options, rows)
}

/// Where the stream begins: at 0, or after a file's magic.
fn arrow_begins(file: File) -> Result<u64, IngestError> {
    let (least, most) = ARROW_ALIGNMENTS;
    let mut head = Vec::new();
    file.take(most as u64).read_to_end(&mut head).map_err(IngestError::Spool)?;
    if !head.starts_with(ARROW_MAGIC) {
        return Ok(0);
    }
    // No message begins with zeros but the one that ends a stream.
    let begins = head.chunks(least).skip(1).position(|chunk| chunk.iter().any(|&byte| byte != 0));
    Ok(begins.map_or(most, |chunk| least * (chunk + 1)) as u64)
}

fn length(file: &File) -> Result<u64, IngestError> {
    Ok(file.metadata().map_err(IngestError::Spool)?.len())
}

fn broken(what: &'static str, source: impl Into<Source>) -> IngestError {
    IngestError::Broken { what, source: source.into() }
}

/// The libraries panic on some broken files.
fn caught<T>(what: &'static str, read: impl FnOnce() -> T) -> Result<T, IngestError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| broken(what, "the reader gave up"))
}

fn forward(
    mut batches: impl RecordBatchReader,
    what: &'static str,
    options: &IngestOptions,
    rows: &Rows,
) -> Result<(), IngestError> {
    let schema = batches.schema();
    if schema.fields().len() > MAX_COLUMNS {
        return Err(IngestError::TooManyColumns { limit: MAX_COLUMNS });
    }
    rows.send(RecordBatch::new_empty(schema))?;
    while let Some(batch) = caught(what, || batches.next())? {
        hand_on(batch.map_err(|error: ArrowError| broken(what, error))?, options, rows)?;
    }
    Ok(())
}

/// Sends the batch in parts of at most [`BATCH_BYTES`] and as many rows as other formats have in a batch.
fn hand_on(batch: RecordBatch, options: &IngestOptions, rows: &Rows) -> Result<(), IngestError> {
    let count = batch.num_rows();
    let is_small = || width::of_all(batch.columns()) <= BATCH_BYTES;
    if count <= 1 || count <= options.batch_rows && is_small() {
        return rows.send(batch);
    }
    let half = count / 2;
    hand_on(batch.slice(0, half), options, rows)?;
    hand_on(batch.slice(half, count - half), options, rows)
}

#[cfg(test)]
mod tests;
