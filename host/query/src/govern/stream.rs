//! One partition of a governed relation: batches in, governed batches out.
//!
//! **Invariant**: a tombstoned row is gone before the row filter sees it, a filtered row before a redactor does, and a raw value
//! never leaves: a row on which the filter fails is a filtered row, and if a rule fails, the stream ends with its error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use futures::{StreamExt, stream::BoxStream};

use super::{
    Hidden, RowRedactor,
    deal::Dealer,
    exec::Slot,
    rule::as_declared,
    visible::{Visible, joined},
};
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

/// One partition of what `dealer` deals, in batches of `rows`: each call of a redactor has a price of its own.
pub(super) fn govern(
    rules: Arc<Rules>,
    dealer: Arc<Dealer>,
    input: &SchemaRef,
    rows: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let schema = Arc::new(input.project(&rules.places())?);
    let governed = async_stream::try_stream! {
        let mut redactors = rules.open();
        loop {
            let segments = dealer.next(rows).await?;
            if segments.is_empty() {
                break;
            }
            let raw = joined(&schema, &segments.iter().map(|segment| &segment.rows).collect::<Vec<_>>())?;
            // What was read ahead has been copied, or is on its way.
            drop(segments);
            yield rules.redact(raw, &mut redactors).await?;
        }
    };
    Ok(governed.boxed())
}

impl Rules {
    /// Where the columns of the output are read.
    fn places(&self) -> Vec<usize> {
        self.slots.iter().map(|slot| slot.place).collect()
    }

    /// The raw columns of the output, of the rows that are to be seen: neither tombstoned nor filtered.
    pub(super) fn visible(&self, batch: RecordBatch) -> Result<Visible> {
        let kept = self.hidden.as_ref().map(|(key, hidden)| hidden.keep(batch.column(*key)));
        let kept = kept.filter(|kept| kept.true_count() < batch.num_rows());
        let Some(filter) = &self.filter else { return self.output(&batch, kept.as_ref()) };
        let batch = match kept {
            Some(kept) => filter_record_batch(&batch, &kept)?,
            None => batch,
        };
        let mut mask = BooleanBufferBuilder::new(batch.num_rows());
        keep(filter, &batch, &mut mask)?;
        self.output(&batch, Some(&BooleanArray::new(mask.finish(), None)))
    }

    fn output(&self, batch: &RecordBatch, kept: Option<&BooleanArray>) -> Result<Visible> {
        let raw = batch.project(&self.places())?;
        match kept {
            Some(kept) => Ok(Visible::of(raw, kept)?),
            None => Ok(Visible::all(raw)),
        }
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
