//! The Arrow IPC stream. Views become plain columns: readers older than views understand them, and a view would carry whole
//! buffers for the few rows that it shows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use super::{Encoder, ProblemText};
use crate::{Outcome, QueryError};

pub(super) struct ArrowStream {
    schema: SchemaRef,
    /// Writes its header when it is made.
    writer: StreamWriter<Vec<u8>>,
    rows: u64,
}

impl ArrowStream {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(plain(field.data_type()))).collect();
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(|error| broken(&error))?;
        Ok(Self { schema, writer, rows: 0 })
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
        let columns: Vec<ArrayRef> =
            batch
                .columns()
                .iter()
                .zip(self.schema.fields())
                .map(|(column, field)| {
                    if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
                })
                .collect::<Result<_, _>>()
                .map_err(|error| broken(&error))?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|error| broken(&error))?;
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

    fn fail(&mut self, error: QueryError, _problem: &ProblemText, _out: &mut Vec<u8>) -> Result<(), QueryError> {
        Err(error)
    }
}
