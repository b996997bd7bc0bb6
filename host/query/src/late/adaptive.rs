//! A part of a scan's filter that is no longer asked when it lets much through.
//!
//! **Invariant**: it answers what its inner expression does, or that it is true of all rows: what it stands in must check again what it lets
//! through. Joins and sorts do so with what they tell a scan, and so does the filter above the scan with what the statement asks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::snapshot_generation;
use parking_lot::Mutex;

/// Rows after which is judged.
const SAMPLE_ROWS: usize = 65_536;
/// A filter that keeps one row in so many, or more, costs more than it spares: the columns that it reads are decoded for it apart, and what
/// it leaves out lies so scattered that the pages of the others are decoded all the same. Measured: docs/BENCHMARKS.md.
const KEPT_ONE_IN: usize = 10;

/// What a filter that changes while the scan runs was asked and has let through, by all readers of the scan. What it says anew is judged anew.
#[derive(Debug)]
pub(super) struct Tally {
    filter: Arc<dyn PhysicalExpr>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    generation: u64,
    asked: usize,
    kept: usize,
}

impl Tally {
    fn of(filter: &Arc<dyn PhysicalExpr>) -> Arc<Self> {
        Arc::new(Self { filter: Arc::clone(filter), counts: Mutex::default() })
    }

    /// Which of its states is worth asking; none if it lets too much through.
    fn worth_asking(&self) -> Option<u64> {
        let generation = snapshot_generation(&self.filter);
        let mut counts = self.counts.lock();
        if counts.generation != generation {
            *counts = Counts { generation, ..Counts::default() };
        }
        (counts.asked < SAMPLE_ROWS || counts.kept * KEPT_ONE_IN < counts.asked).then_some(generation)
    }

    fn note(&self, generation: u64, asked: usize, kept: usize) {
        let mut counts = self.counts.lock();
        if counts.generation == generation {
            counts.asked += asked;
            counts.kept += kept;
        }
    }
}

/// A part of a filter, asked while that is worth it.
#[derive(Debug)]
pub(super) struct Adaptive {
    inner: Arc<dyn PhysicalExpr>,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Changes while the scan runs, and is counted.
    Leads(Arc<Tally>),
    /// Comes after those, and is asked while one of them leaves out most rows.
    Follows(Arc<[Arc<Tally>]>),
}

/// The parts of a filter: first those that change while the scan runs, then the others, which follow them.
pub(super) fn adaptive(
    changing: Vec<Arc<dyn PhysicalExpr>>,
    others: Vec<Arc<dyn PhysicalExpr>>,
) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> {
    let tallies: Arc<[Arc<Tally>]> = changing.iter().map(Tally::of).collect();
    let leads: Vec<_> = tallies.iter().map(|tally| Role::Leads(Arc::clone(tally))).collect();
    let follows = std::iter::repeat_with(move || Role::Follows(Arc::clone(&tallies)));
    let part = |(inner, role)| Arc::new(Adaptive { inner, role }) as Arc<dyn PhysicalExpr>;
    changing.into_iter().zip(leads).chain(others.into_iter().zip(follows)).map(part)
}

impl PhysicalExpr for Adaptive {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        const ALL: ColumnarValue = ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)));
        match &self.role {
            Role::Leads(tally) => {
                let Some(generation) = tally.worth_asking() else { return Ok(ALL) };
                let value = self.inner.evaluate(batch)?;
                // A constant is what it is before the join knows its keys.
                if let ColumnarValue::Array(values) = &value
                    && let Some(values) = values.as_boolean_opt()
                {
                    tally.note(generation, values.len(), values.true_count());
                }
                Ok(value)
            }
            Role::Follows(tallies) => {
                let is_worth = tallies.iter().any(|tally| tally.worth_asking().is_some());
                if is_worth { self.inner.evaluate(batch) } else { Ok(ALL) }
            }
        }
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let (Some(inner), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("a part of a filter has one inner expression");
        };
        let role = match &self.role {
            Role::Leads(tally) => Role::Leads(Arc::clone(tally)),
            Role::Follows(tallies) => Role::Follows(Arc::clone(tallies)),
        };
        Ok(Arc::new(Self { inner, role }))
    }

    /// What prunes by statistics knows the inner expression, not this one.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        Ok(Some(self.inner.snapshot()?.unwrap_or_else(|| Arc::clone(&self.inner))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

impl fmt::Display for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Two that ask the same are the same, whatever they have counted.
impl PartialEq for Adaptive {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Adaptive {}

impl Hash for Adaptive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::logical_expr::{ColumnarValue, Operator};
    use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, lit};
    use datafusion::physical_expr::{PhysicalExpr, conjunction};
    use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;

    use super::{Adaptive, KEPT_ONE_IN, SAMPLE_ROWS, adaptive};

    const BATCH: usize = 8_192;

    fn compared(operator: Operator, value: i64) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(Arc::new(Column::new("a", 0)), operator, lit(value)))
    }

    /// A filter that a join would tell, `a <> 7` of the statement beside it, and the two as parts.
    fn parts() -> (Arc<DynamicFilterPhysicalExpr>, [Arc<dyn PhysicalExpr>; 2]) {
        let told = Arc::new(DynamicFilterPhysicalExpr::new(vec![Arc::new(Column::new("a", 0))], lit(true)));
        let parts: Vec<_> = adaptive(vec![Arc::clone(&told) as _], vec![compared(Operator::NotEq, 7)]).collect();
        (told, parts.try_into().unwrap())
    }

    fn batch() -> RecordBatch {
        let rows: ArrayRef = Arc::new((0i64..).take(BATCH).collect::<Int64Array>());
        RecordBatch::try_from_iter([("a", rows)]).unwrap()
    }

    /// How many rows are kept; none if nothing was asked.
    fn kept(part: &Arc<dyn PhysicalExpr>) -> Option<usize> {
        match part.evaluate(&batch()).unwrap() {
            ColumnarValue::Array(values) => Some(values.as_boolean().true_count()),
            ColumnarValue::Scalar(value) => {
                assert_eq!(value.to_string(), "true");
                None
            }
        }
    }

    #[test]
    fn what_lets_much_through_is_asked_for_a_while_and_what_it_says_anew_is_asked_again() {
        let (told, [leads, follows]) = parts();
        // The join knows nothing yet: that is no sample.
        for _ in 0..2 * SAMPLE_ROWS / BATCH {
            assert_eq!(kept(&leads), None);
            assert_eq!(kept(&follows), Some(BATCH - 1));
        }
        let one_in_ten = i64::try_from(BATCH / KEPT_ONE_IN + 1).unwrap();
        told.update(compared(Operator::Lt, one_in_ten)).unwrap();
        for _ in 0..SAMPLE_ROWS / BATCH {
            assert_eq!(kept(&follows), Some(BATCH - 1));
            assert_eq!(kept(&leads), Some(BATCH / KEPT_ONE_IN + 1));
        }
        assert_eq!((kept(&leads), kept(&follows)), (None, None), "enough is known");
        told.update(compared(Operator::Lt, 5)).unwrap();
        for _ in 0..2 * SAMPLE_ROWS / BATCH {
            assert_eq!((kept(&leads), kept(&follows)), (Some(5), Some(BATCH - 1)));
        }
    }

    /// Each file and each range of it has a copy, whose columns are its own.
    #[test]
    fn copies_of_a_part_count_together() {
        let (told, [leads, _]) = parts();
        told.update(compared(Operator::GtEq, 0)).unwrap();
        let copies = [(); 2].map(|()| {
            let children = leads.children().into_iter().map(Arc::clone).collect();
            Arc::clone(&leads).with_new_children(children).unwrap()
        });
        for at in 0..SAMPLE_ROWS / BATCH {
            assert_eq!(kept(&copies[at % 2]), Some(BATCH));
        }
        assert_eq!(copies.each_ref().map(kept), [None, None]);
    }

    /// What prunes files and row groups by statistics gets the expressions themselves, also of what is asked no more.
    #[test]
    fn a_snapshot_is_of_what_is_inside() {
        let (told, parts) = parts();
        told.update(compared(Operator::Lt, 5)).unwrap();
        let snapshot = snapshot_physical_expr(conjunction(parts)).unwrap();
        assert_eq!(snapshot.to_string(), "a@0 < 5 AND a@0 != 7");
        snapshot
            .apply(|node| {
                assert!(!node.is::<Adaptive>());
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
    }
}
