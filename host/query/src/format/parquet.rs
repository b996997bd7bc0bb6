//! A Parquet file, written row group by row group as the rows come.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use super::{Encoder, Plain};
use crate::{Outcome, QueryError};

/// Bytes of rows that are held until their row group is written.
const GROUP_BYTES: usize = 32 * 1024 * 1024;
const GROUP_ROWS: usize = 256 * 1024;

pub(super) struct File {
    plain: Plain,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl File {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let plain = Plain::of(schema);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("lakehouse ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer =
            ArrowWriter::try_new(Vec::new(), Arc::clone(plain.schema()), Some(properties)).map_err(|error| broken(&error))?;
        Ok(Self { plain, writer, rows: 0 })
    }

    /// What was written since: the writer keeps count of its place itself.
    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.inner_mut());
    }
}

fn broken(error: &ParquetError) -> QueryError {
    match error {
        // A type that Parquet has not, such as an interval.
        ParquetError::NYI(_) | ParquetError::ArrowError(_) => {
            QueryError::Failed { operation: "a column of the result has a type that Parquet does not hold" }
        }
        _ => QueryError::Internal { detail: "a batch could not be written as Parquet".into() },
    }
}

impl Encoder for File {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.take(out);
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.writer.write(&self.plain.batch(batch)?).map_err(|error| broken(&error))?;
        self.rows += batch.num_rows() as u64;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(|error| broken(&error))?;
        }
        self.take(out);
        Ok(())
    }

    fn end(&mut self, outcome: &Outcome, out: &mut Vec<u8>) -> Result<(), QueryError> {
        if outcome.truncated() {
            return Err(QueryError::TooManyRows { limit: self.rows });
        }
        self.writer.finish().map_err(|error| broken(&error))?;
        self.take(out);
        Ok(())
    }
}
