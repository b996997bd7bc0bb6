//! The rows of a batch that are to be seen, and batches made of them.
//!
//! They are copied once, into the batch that they are given out in: until then they are runs of the batch that was read. Only where there
//! are few of them, or where they are scattered, they are filtered before.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, MutableArrayData, RecordBatch, RecordBatchOptions, make_array};
use arrow::compute::{BatchCoalescer, concat, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

/// The average run is at least so long, or the rows are filtered at once.
const RUN_ROWS: usize = 8;
/// So many parts are copied run by run. Texts of more would hold the memory of every batch that they come from.
const FEW_PARTS: usize = 4;

/// Rows of a batch, in its order.
#[derive(Debug)]
pub(super) struct Visible {
    batch: RecordBatch,
    /// Ascending, none of them empty, none next to another.
    runs: Vec<Range<usize>>,
    rows: usize,
}

impl Visible {
    pub(super) fn all(batch: RecordBatch) -> Self {
        let rows = batch.num_rows();
        let whole = Some(0..rows).filter(|run| !run.is_empty());
        Self { batch, runs: whole.into_iter().collect(), rows }
    }

    /// The rows of which `kept` is true; it has no NULL.
    pub(super) fn of(batch: RecordBatch, kept: &BooleanArray) -> Result<Self, ArrowError> {
        let rows = kept.true_count();
        if rows == batch.num_rows() || rows == 0 {
            let rows = batch.slice(0, rows);
            return Ok(Self::all(rows));
        }
        let most = rows / RUN_ROWS;
        if rows * 2 >= batch.num_rows() {
            let runs: Vec<_> = kept.values().set_slices().take(most + 1).map(|(start, end)| start..end).collect();
            if runs.len() <= most {
                return Ok(Self { batch, runs, rows });
            }
        }
        Ok(Self::all(filter_record_batch(&batch, kept)?))
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What is held in memory, seen or not.
    pub(super) fn columns(&self) -> &[ArrayRef] {
        self.batch.columns()
    }

    /// The first `rows` rows, and the others.
    pub(super) fn split(self, rows: usize) -> (Self, Self) {
        let mut missing = rows;
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for run in self.runs {
            let cut = run.start + missing.min(run.len());
            missing -= cut - run.start;
            first.extend((run.start < cut).then_some(run.start..cut));
            others.extend((cut < run.end).then_some(cut..run.end));
        }
        let rest = Self { batch: self.batch.clone(), runs: others, rows: self.rows - rows };
        (Self { batch: self.batch, runs: first, rows }, rest)
    }

    /// They alone, as a batch.
    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        match self.runs.as_slice() {
            [] => Ok(self.batch.slice(0, 0)),
            [run] => Ok(self.batch.slice(run.start, run.len())),
            _ => joined(&self.batch.schema(), &[self]),
        }
    }
}

/// The rows of all parts in one batch.
pub(super) fn joined(schema: &SchemaRef, parts: &[&Visible]) -> Result<RecordBatch, ArrowError> {
    if let [Visible { batch, runs, .. }] = parts
        && let [run] = runs.as_slice()
    {
        return Ok(batch.slice(run.start, run.len()));
    }
    let rows: usize = parts.iter().map(|part| part.rows).sum();
    if rows == 0 {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    if parts.len() > FEW_PARTS {
        return coalesced(schema, parts, rows);
    }
    let columns = schema.fields().iter().enumerate().map(|(column, field)| spliced(parts, column, field.data_type(), rows));
    let columns = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

/// A column of all parts, copied run by run.
fn spliced(parts: &[&Visible], column: usize, kind: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
    let sources: Vec<&ArrayRef> = parts.iter().map(|part| part.batch.column(column)).collect();
    let runs = parts.iter().enumerate().flat_map(|(source, part)| part.runs.iter().map(move |run| (source, run)));
    if !(kind.is_primitive() || matches!(kind, DataType::Boolean | DataType::Utf8View | DataType::BinaryView)) {
        // What has parts of its own is put together by those who know it.
        let slices: Vec<ArrayRef> = runs.map(|(source, run)| sources[source].slice(run.start, run.len())).collect();
        return concat(&slices.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    }
    let data: Vec<_> = sources.iter().map(Array::to_data).collect();
    let mut copied = MutableArrayData::new(data.iter().collect(), false, rows);
    for (source, run) in runs {
        copied.try_extend(source, run.start, run.end)?;
    }
    Ok(make_array(copied.freeze()))
}

/// Texts of few rows in many batches do not hold the memory of all of these.
fn coalesced(schema: &SchemaRef, parts: &[&Visible], rows: usize) -> Result<RecordBatch, ArrowError> {
    if schema.fields().is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return RecordBatch::try_new_with_options(Arc::clone(schema), Vec::new(), &options);
    }
    let mut gathered = BatchCoalescer::new(Arc::clone(schema), rows.max(1));
    for part in parts {
        gathered.push_batch(part.batch()?)?;
    }
    gathered.finish_buffered_batch()?;
    Ok(gathered.next_completed_batch().unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray};
    use arrow::compute::{concat_batches, filter_record_batch};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::{Visible, joined};

    fn batch(from: i64, rows: usize) -> RecordBatch {
        let numbers: Vec<Option<i64>> = (from..).take(rows).map(|at| (at % 5 != 0).then_some(at)).collect();
        let texts = || numbers.iter().map(|number| number.map(|number| format!("text that is long, {number}")));
        let lists = numbers.iter().map(|number| number.map(|number| vec![Some(number), None]));
        let columns: [(&str, ArrayRef); 5] = [
            ("number", Arc::new(Int64Array::from(numbers.clone()))),
            ("plain", Arc::new(texts().collect::<StringArray>())),
            ("view", Arc::new(texts().collect::<StringViewArray>())),
            ("flag", Arc::new(numbers.iter().map(|number| number.map(|number| number % 2 == 0)).collect::<BooleanArray>())),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    /// Rows that are kept: by single rows, or in runs of up to sixty.
    fn kept() -> impl Strategy<Value = Vec<bool>> {
        let scattered = proptest::collection::vec(any::<bool>(), 0..200);
        let runs = proptest::collection::vec((any::<bool>(), 1..60usize), 0..8);
        let runs = runs.prop_map(|runs| runs.into_iter().flat_map(|(keeps, rows)| std::iter::repeat_n(keeps, rows)).collect());
        prop_oneof![scattered, runs]
    }

    proptest! {
        #[test]
        fn what_is_joined_is_what_was_kept(parts in proptest::collection::vec(kept(), 1..8), cuts in proptest::collection::vec(0.0..1.0f64, 8)) {
            let mut from = 0;
            let (mut visible, mut expected) = (Vec::new(), Vec::new());
            for (kept, cut) in parts.into_iter().zip(cuts) {
                let batch = batch(from, kept.len());
                from += i64::try_from(kept.len()).unwrap();
                let kept = BooleanArray::from(kept);
                expected.push(filter_record_batch(&batch, &kept).unwrap());
                let rows = Visible::of(batch, &kept).unwrap();
                prop_assert_eq!(rows.rows(), kept.true_count());
                #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a part of few rows")]
                let at = (rows.rows() as f64 * cut) as usize;
                let (first, others) = rows.split(at);
                prop_assert_eq!(first.rows(), at);
                visible.extend([first, others]);
            }
            let schema = expected[0].schema();
            let all = joined(&schema, &visible.iter().collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(&all, &concat_batches(&schema, &expected).unwrap());
            for pair in visible.chunks(2) {
                let both = joined(&schema, &pair.iter().collect::<Vec<_>>()).unwrap();
                prop_assert_eq!(&both, &expected.remove(0));
            }
        }
    }
}
