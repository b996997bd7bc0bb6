//! Rows that a join may repeat.
//!
//! **Invariant**: where a batch of one row, repeated, would have more bytes than all calls may build for a batch, so many are
//! reserved before the join gets the row. Views of text are sixteen bytes, however often they are repeated; lists and plain text are
//! copied.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::{Stream, StreamExt};

use crate::{
    built::{is_small, is_view},
    error::QueryError,
    functions::{MAX_BATCH_BYTES, longest},
};

/// Whether rows have parts that are copied and may be large.
pub(super) fn copies(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| is_copied(field.data_type()))
}

fn is_copied(data_type: &DataType) -> bool {
    !is_small(data_type) && !is_view(data_type)
}

/// The input, with a batch of its largest row reserved where that is much.
pub(super) fn repeatable(
    mut input: SendableRecordBatchStream,
    held: Arc<MemoryReservation>,
    batch_rows: usize,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    async_stream::try_stream! {
        let batch_rows = batch_rows.max(1) as u64;
        let free = MAX_BATCH_BYTES / batch_rows;
        let mut largest = free;
        while let Some(batch) = input.next().await {
            let batch = batch?;
            let row = row_bytes(&batch, largest);
            if row > largest {
                largest = row;
                // In words of ours: from DataFusion's a nested loop join would conclude that its left side has to be spilled.
                held.try_resize(usize::try_from(row.saturating_mul(batch_rows)).unwrap_or(usize::MAX))
                    .map_err(|_| QueryError::Memory)?;
            }
            yield batch;
        }
    }
}

/// Bytes of the largest row, or of a larger one that has the largest values of several; `enough` where none has more.
fn row_bytes(batch: &RecordBatch, enough: u64) -> u64 {
    let copied = batch.columns().iter().filter(|column| is_copied(column.data_type()));
    let columns = copied.clone().count().max(1) as u64;
    // Small values of many columns are as one large.
    let each = enough / columns;
    let sum = copied.map(|column| longest(column, each)).fold(0u64, u64::saturating_add);
    sum.max(enough)
}
