//! 64-bit integers as text, for clients whose JSON numbers are floats: beyond 2^53 they would lose digits.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use futures::StreamExt;

use crate::{Answer, QueryError};

/// The same answer, its 64-bit integers written as their digits in quotes, at any depth. The schema still tells their types.
#[must_use]
pub fn with_integers_as_text(answer: Answer) -> Answer {
    let Answer { schema, batches, outcome } = answer;
    let batches = batches.map(|batch| batch.and_then(|batch| spelled(&batch))).boxed();
    Answer { schema, batches, outcome }
}

fn spelled(batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let fields: Vec<FieldRef> = batch.schema().fields().iter().map(field).collect();
    let columns: Result<Vec<ArrayRef>, _> = batch
        .columns()
        .iter()
        .zip(&fields)
        .map(
            |(column, field)| {
                if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
            },
        )
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    columns
        .and_then(|columns| RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options))
        .map_err(|error| QueryError::arrow(&error))
}

fn field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), data_type(field.data_type()), field.is_nullable()))
}

fn data_type(of: &DataType) -> DataType {
    match of {
        DataType::Int64 | DataType::UInt64 => DataType::Utf8,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(field(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        // An index has no values of its own.
        DataType::Dictionary(key, value) if data_type(value) != **value => {
            DataType::Dictionary(key.clone(), Box::new(data_type(value)))
        }
        other => other.clone(),
    }
}
