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

    fn generation(&self) -> u64 {
        snapshot_generation(&self.filter)
    }

    fn is_worth_asking(&self) -> bool {
        let generation = self.generation();
        let mut counts = self.counts.lock();
        if counts.generation != generation {
            *counts = Counts { generation, ..Counts::default() };
        }
        counts.asked < SAMPLE_ROWS || counts.kept * KEPT_ONE_IN < counts.asked
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
                if !tally.is_worth_asking() {
                    return Ok(ALL);
                }
                let generation = tally.generation();
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
                let is_worth = tallies.iter().any(|tally| tally.is_worth_asking());
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
