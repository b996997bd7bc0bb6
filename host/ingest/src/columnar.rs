//! Parquet and Arrow IPC: typed batches as they are.
//!
//! **Invariant**: the libraries see only lengths that the file has bytes for, because they allocate what is claimed and a failed
//! allocation ends the process; what they hold at once is bounded before they read it; the table gets batches whose plain values are
//! bounded, however few bytes stand for them.

mod footer; // Parquet's footer, walked
mod frames; // Arrow's messages, walked
mod packed; // Parquet's packed integers
mod pages; // what reading a row group takes
mod plain; // columns with nothing but their rows
mod thrift; // the compact protocol
mod width; // bytes of rows

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::delimited::MAX_COLUMNS;
use crate::rows::Rows;
use crate::spool::Spool;
use crate::{IngestError, IngestOptions};

/// Why a file is broken.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Plain values of a batch that goes on to the table, if it has more than one row.
const BATCH_BYTES: usize = 64 << 20;
/// Plain values of one row.
const MAX_ROW_MIB: u64 = 256;
const MAX_ROW_BYTES: usize = (MAX_ROW_MIB << 20) as usize;
/// Metadata that is read at once: a Parquet footer, an Arrow message without its body.
const MAX_METADATA_BYTES: u64 = 64 << 20;
/// Stands before the stream in an Arrow file, with zeros after it: to 8 bytes by the format, to 64 by some writers.
const ARROW_MAGIC: &[u8] = b"ARROW1";
const ARROW_ALIGNMENTS: (usize, usize) = (8, 64);

/// Reads a Parquet file, a row group at a time.
pub(crate) fn read_parquet(spool: &Spool, options: &IngestOptions, rows: &Rows) -> Result<(), IngestError> {
    const WHAT: &str = "Parquet";
    let bytes = length(&spool.reader()?)?;
    footer::check_footer(spool.reader()?, bytes)?;
    let file = spool.reader()?;
    let load = || {
        let named = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let viewed = ArrowReaderOptions::new().with_schema(Arc::new(plain::viewed(named.schema())));
        ArrowReaderMetadata::try_new(Arc::clone(named.metadata()), viewed)
    };
    let metadata = caught(WHAT, load)?.map_err(|error| broken(WHAT, error))?;
    begin(metadata.schema(), rows)?;
    for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
        let at_once = pages::rows_at_once(&file, bytes, group, options.batch_rows)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(spool.reader()?, metadata.clone());
        let build = || builder.with_row_groups(vec![index]).with_batch_size(at_once).build();
        forward(caught(WHAT, build)?.map_err(|error| broken(WHAT, error))?, WHAT, options, rows)?;
    }
    Ok(())
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
    begin(&reader.schema(), rows)?;
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

/// Sends a batch without rows: a file without rows makes a table too, and what a table cannot store is refused at once.
fn begin(schema: &Arc<Schema>, rows: &Rows) -> Result<(), IngestError> {
    if schema.fields().len() > MAX_COLUMNS {
        return Err(IngestError::TooManyColumns { limit: MAX_COLUMNS });
    }
    rows.send(RecordBatch::new_empty(Arc::clone(schema)))
}

fn forward(
    mut batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    what: &'static str,
    options: &IngestOptions,
    rows: &Rows,
) -> Result<(), IngestError> {
    while let Some(batch) = caught(what, || batches.next())? {
        hand_on(&batch.map_err(|error| broken(what, error))?, what, options, rows)?;
    }
    Ok(())
}

/// Sends the batch in parts of at most [`BATCH_BYTES`] and as many rows as other formats have in a batch.
fn hand_on(batch: &RecordBatch, what: &'static str, options: &IngestOptions, rows: &Rows) -> Result<(), IngestError> {
    let count = batch.num_rows();
    let fits = |bytes: usize| caught(what, || width::of_all(batch.columns(), bytes) <= bytes);
    if count > 1 && (count > options.batch_rows || !fits(BATCH_BYTES)?) {
        let half = count / 2;
        hand_on(&batch.slice(0, half), what, options, rows)?;
        return hand_on(&batch.slice(half, count - half), what, options, rows);
    }
    if count == 1 && !fits(MAX_ROW_BYTES)? {
        return Err(IngestError::PartTooLarge { part: "a row of the file", limit_mib: MAX_ROW_MIB });
    }
    rows.send(caught(what, || plain::plain(batch))?.map_err(|error| broken(what, error))?)
}

#[cfg(test)]
mod tests;
