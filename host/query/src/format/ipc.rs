//! The Arrow IPC stream. Views become plain columns: readers older than views understand them, and a view would carry whole
//! buffers for the few rows that it shows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use super::Encoder;
use crate::{Outcome, QueryError};

/// Batches of an answer with plain columns.
#[derive(Debug, Clone)]
pub struct Plain(SchemaRef);

impl Plain {
    /// For answers of this schema.
    pub fn of(schema: &Schema) -> Self {
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(plain(field.data_type()))).collect();
        Self(Arc::new(Schema::new(fields)))
    }

    /// Every column may hold NULLs, for clients that compare what was promised with what comes: planning and execution do not always agree on
    /// which never do.
    #[must_use]
    pub fn all_nullable(self) -> Self {
        let fields: Vec<Field> = self.0.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        Self(Arc::new(Schema::new(fields)))
    }

    /// What [`Plain::batch`] makes.
    pub fn schema(&self) -> &SchemaRef {
        &self.0
    }

    /// # Errors
    /// When a text column is too large for offsets of 32 bits.
    pub fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
        let plain = |(column, field): (&ArrayRef, &FieldRef)| {
            if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
        };
        let columns = batch.columns().iter().zip(self.0.fields()).map(plain).collect::<Result<_, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        columns
            .and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(&self.0), columns, &options))
            .map_err(|error| broken(&error))
    }
}

pub(super) struct ArrowStream {
    plain: Plain,
    /// Writes its header when it is made.
    writer: StreamWriter<Vec<u8>>,
    rows: u64,
}

impl ArrowStream {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let plain = Plain::of(schema);
        let writer = StreamWriter::try_new(Vec::new(), plain.schema()).map_err(|error| broken(&error))?;
        Ok(Self { plain, writer, rows: 0 })
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
}

fn broken(error: &ArrowError) -> QueryError {
    match error {
        ArrowError::CastError(_) | ArrowError::InvalidArgumentError(_) => QueryError::arrow(error),
        _ => QueryError::Internal { detail: "a batch could not be written as Arrow IPC".into() },
    }
}

/// The type without views, at any depth.
fn plain(data_type: &DataType) -> DataType {
    let within = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) | DataType::ListView(field) => DataType::List(within(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(within(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(within(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        DataType::Map(field, sorted) => DataType::Map(within(field), *sorted),
        DataType::Dictionary(key, value) => DataType::Dictionary(key.clone(), Box::new(plain(value))),
        other => other.clone(),
    }
}

impl Encoder for ArrowStream {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.take(out);
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let batch = self.plain.batch(batch)?;
        self.writer.write(&batch).map_err(|error| broken(&error))?;
        self.rows += batch.num_rows() as u64;
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
