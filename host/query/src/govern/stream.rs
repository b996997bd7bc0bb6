//! One partition of a governed relation: batches in, governed batches out.
//!
//! **Invariant**: a tombstoned row is gone before the row filter sees it, a filtered row before a redactor does, and a raw value
//! never leaves: a row on which the filter fails is a filtered row, and if a rule fails, the stream ends with its error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use futures::{Stream, StreamExt};

use super::{Hidden, RowRedactor, exec::Slot, rule::as_declared};
use crate::error::QueryError;

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) relation: String,
    pub(super) schema: SchemaRef,
    pub(super) slots: Vec<Slot>,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) hidden: Option<(usize, Arc<dyn Hidden>)>,
}

/// Appends whether `filter` is true of each row. A row on which it fails is not kept, as one of which it is NULL is not: an error
/// would tell, by coming or not, what the rows hold that nobody may see. What fails is halved until the row is found.
fn keep(filter: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, mask: &mut BooleanBufferBuilder) -> Result<(), QueryError> {
    let rows = batch.num_rows();
    match filter.evaluate(batch).and_then(|value| value.into_array(rows)) {
        Ok(values) => match values.as_boolean_opt() {
            Some(values) => mask.append_buffer(&match values.nulls() {
                Some(nulls) => values.values() & nulls.inner(),
                None => values.values().clone(),
            }),
            // The type of NULL: true of no row.
            None => mask.append_n(rows, false),
        },
        Err(error) => match QueryError::execution(&error) {
            over @ (QueryError::Timeout { .. } | QueryError::Memory) => return Err(over),
            _ if rows <= 1 => mask.append_n(rows, false),
            _ => {
                let half = rows / 2;
                keep(filter, &batch.slice(0, half), mask)?;
                keep(filter, &batch.slice(half, rows - half), mask)?;
            }
        },
    }
    Ok(())
}

/// Governs `input`, gathering rows into batches of about `rows` before a redactor is called: each call has a price of its own.
pub(super) fn govern(
    rules: Arc<Rules>,
    mut input: SendableRecordBatchStream,
    rows: usize,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    async_stream::try_stream! {
        let mut gathered = Gathered::new(&rules, &input.schema(), rows)?;
        let mut redactors = rules.open();
        loop {
            let batch = input.next().await;
            let ended = batch.is_none();
            match batch {
                // What failed below may quote a row.
                Some(batch) => {
                    let batch = batch.map_err(|error| QueryError::execution(&error))?;
                    let (batch, mask) = rules.visible(batch)?;
                    gathered.push(&batch, mask.as_ref())?;
                }
                None => gathered.finish()?,
            }
            while let Some(raw) = gathered.next() {
                yield rules.redact(raw, &mut redactors).await?;
            }
            if ended {
                break;
            }
        }
    }
}

impl Rules {
    /// Rows, and a mask of those that are to be seen: neither tombstoned nor filtered.
    fn visible(&self, batch: RecordBatch) -> Result<(RecordBatch, Option<BooleanArray>)> {
        let kept = self.hidden.as_ref().map(|(key, hidden)| hidden.keep(batch.column(*key)));
        let kept = kept.filter(|kept| kept.true_count() < batch.num_rows());
        let Some(filter) = &self.filter else { return Ok((batch, kept)) };
        let batch = match kept {
            Some(kept) => filter_record_batch(&batch, &kept)?,
            None => batch,
        };
        let mut mask = BooleanBufferBuilder::new(batch.num_rows());
        keep(filter, &batch, &mut mask)?;
        Ok((batch, Some(BooleanArray::new(mask.finish(), None))))
    }

    fn open(&self) -> Vec<Option<Box<dyn RowRedactor>>> {
        self.slots.iter().map(|slot| slot.rule.as_ref().map(|rule| rule.open())).collect()
    }

    fn failed(&self, fault: Arc<dyn lakehouse_types::Fault>) -> QueryError {
        QueryError::Rule { relation: self.relation.clone(), fault }
    }

    async fn redact(&self, raw: RecordBatch, open: &mut [Option<Box<dyn RowRedactor>>]) -> Result<RecordBatch> {
        let rows = raw.num_rows();
        let (_, mut columns, _) = raw.into_parts();
        for ((column, redactor), slot) in columns.iter_mut().zip(open).zip(&self.slots) {
            if let Some(redactor) = redactor {
                let redacted = redactor.redact(column).await.map_err(|fault| self.failed(fault))?;
                *column = self.checked(redacted, column, slot)?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|_| {
            QueryError::Internal { detail: format!("`{}` gave out another type than it declared", self.relation) }.into()
        })
    }

    fn checked(&self, redacted: ArrayRef, raw: &ArrayRef, slot: &Slot) -> Result<ArrayRef> {
        if redacted.len() != raw.len() {
            let detail = format!("a rule of `{}` returned {} rows for {}", self.relation, redacted.len(), raw.len());
            return Err(QueryError::Internal { detail }.into());
        }
        as_declared(redacted, slot.field.data_type())
            .ok_or_else(|| QueryError::Internal { detail: format!("a rule of `{}` changed its type", self.relation) }.into())
    }
}

/// Raw output columns of the rows that are kept, in batches worth a call.
struct Gathered {
    places: Vec<usize>,
    schema: SchemaRef,
    /// `None` where no column is asked for and rows are only counted.
    columns: Option<BatchCoalescer>,
    counted: usize,
    /// The most rows of a batch that is counted together.
    rows: usize,
    ended: bool,
}

impl Gathered {
    fn new(rules: &Rules, input: &SchemaRef, rows: usize) -> Result<Self> {
        let places: Vec<usize> = rules.slots.iter().map(|slot| slot.place).collect();
        let schema = Arc::new(input.project(&places)?);
        // A batch that is large already goes through as it is.
        let columns = (!places.is_empty())
            .then(|| BatchCoalescer::new(Arc::clone(&schema), rows).with_biggest_coalesce_batch_size(Some(rows / 2)));
        Ok(Self { places, schema, columns, counted: 0, rows: rows.max(1), ended: false })
    }

    fn push(&mut self, batch: &RecordBatch, mask: Option<&BooleanArray>) -> Result<()> {
        match (&mut self.columns, mask) {
            (None, None) => self.counted += batch.num_rows(),
            (None, Some(mask)) => self.counted += mask.true_count(),
            (Some(columns), mask) => {
                let batch = batch.project(&self.places)?;
                match mask {
                    Some(mask) if mask.true_count() < batch.num_rows() => columns.push_batch_with_filter(batch, mask)?,
                    _ if batch.num_rows() > 0 => columns.push_batch(batch)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        if let Some(columns) = &mut self.columns {
            columns.finish_buffered_batch()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<RecordBatch> {
        if let Some(columns) = &mut self.columns {
            return columns.next_completed_batch();
        }
        // What is left at the end is given out as it is.
        let full = self.counted >= self.rows;
        if self.counted == 0 || !(full || self.ended) {
            return None;
        }
        let rows = self.counted.min(self.rows);
        self.counted -= rows;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), Vec::new(), &options).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
    use arrow::datatypes::Schema;

    use super::{Gathered, Rules};

    /// A count asks for no column: its batches come as they are full, and are no larger than any other's.
    #[test]
    fn rows_without_columns_come_as_they_are_counted() {
        let schema = Arc::new(Schema::empty());
        let rules = Rules { relation: "v".into(), schema, slots: Vec::new(), filter: None, hidden: None };
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..250));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let even: BooleanArray = (0..250).map(|n| Some(n % 2 == 0)).collect();
        let mut gathered = Gathered::new(&rules, &batch.schema(), 100).unwrap();
        let full =
            |gathered: &mut Gathered| std::iter::from_fn(|| gathered.next()).map(|rows| rows.num_rows()).collect::<Vec<_>>();
        gathered.push(&batch, None).unwrap();
        assert_eq!(full(&mut gathered), [100, 100]);
        gathered.push(&batch, Some(&even)).unwrap();
        assert_eq!(full(&mut gathered), [100]);
        gathered.finish().unwrap();
        assert_eq!(full(&mut gathered), [75]);
    }
}
