//! `string_agg`, with an end in sight.
//!
//! **Invariant**: what an aggregate will join is counted while it gathers, and is part of the size that is reserved for it, so that
//! joining allocates nothing that the pool has not given; no joined text has more than [`MAX_CALL_BYTES`].
//!
//! Read in DataFusion 55: `StringAggAccumulator::evaluate`, for ORDER BY and DISTINCT, joins all values in one allocation that nobody
//! has reserved, with a delimiter of any length between any two of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion::physical_expr::expressions::Literal;

use super::{
    MAX_BATCH_BYTES, MAX_CALL_BYTES,
    cost::{scalar_bytes, text_bytes},
};
use crate::error::QueryError;

pub(super) const STRING_AGG: &str = "string_agg";
/// Bytes between two values.
const MAX_DELIMITER_BYTES: u64 = 1024;
/// No value takes fewer bytes of an accumulator that gathers values one by one.
const LEAST_VALUE_BYTES: u64 = 32;

/// Wraps DataFusion's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StringAgg(Arc<AggregateUDF>);

impl StringAgg {
    pub(super) fn udaf(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self(inner)))
    }
}

/// Bytes of the delimiter; a delimiter that is no literal is refused by the function itself.
fn delimiter(args: &AccumulatorArgs<'_>) -> Result<u64> {
    let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
    let bytes = literal.filter(|literal| !literal.value().is_null()).map_or(0, |literal| scalar_bytes(literal.value()));
    if bytes > MAX_DELIMITER_BYTES {
        let (what, limit) = ("bytes in a delimiter of string_agg", MAX_DELIMITER_BYTES as usize);
        return Err(QueryError::TooComplex { what, limit }.into());
    }
    Ok(bytes)
}

/// How an accumulator keeps what it will join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// One text that grows.
    Text,
    /// Every value.
    Values,
    /// Every value once.
    DistinctValues,
}

/// Counts what the inner accumulator will join.
#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    keeps: Keeps,
    delimiter: u64,
    /// Bytes of all values with a delimiter for each.
    gathered: u64,
    /// Bytes of all texts given out: a window asks for one for each row.
    given: u64,
}

impl Counted {
    /// An upper bound of the joined text.
    fn joined(&self) -> u64 {
        match self.keeps {
            Keeps::Text | Keeps::Values => self.gathered,
            Keeps::DistinctValues => {
                let kept = self.inner.size() as u64;
                self.gathered.min(kept.saturating_add((kept / LEAST_VALUE_BYTES).saturating_mul(self.delimiter)))
            }
        }
    }

    fn gather(&mut self, values: Option<&ArrayRef>) -> Result<()> {
        let bytes = values.map_or(0, |values| joined_bytes(values, self.delimiter));
        self.gathered = self.gathered.saturating_add(bytes);
        // Of distinct values it is not known yet how many they are.
        if self.keeps != Keeps::DistinctValues {
            within(self.gathered, MAX_CALL_BYTES)?;
        }
        Ok(())
    }
}

fn within(bytes: u64, limit: u64) -> Result<()> {
    if bytes > limit {
        return Err(QueryError::TooCostly { function: STRING_AGG.to_owned(), limit, unit: "bytes" }.into());
    }
    Ok(())
}

/// Bytes of the texts of an array, or of the lists of texts that are states, with a delimiter for each.
fn joined_bytes(values: &ArrayRef, delimiter: u64) -> u64 {
    if let DataType::List(_) = values.data_type() {
        let list = values.as_list::<i32>();
        let (Some(first), Some(last)) = (list.value_offsets().first(), list.value_offsets().last()) else { return 0 };
        let (first, last) = (usize::try_from(*first).unwrap_or(0), usize::try_from(*last).unwrap_or(0));
        return joined_bytes(&list.values().slice(first, last - first), delimiter);
    }
    text_bytes(values).saturating_add((values.len() as u64).saturating_mul(delimiter))
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gather(values.first())?;
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.gather(states.first())?;
        self.inner.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.keeps == Keeps::DistinctValues && self.joined() > MAX_CALL_BYTES {
            // The bound is loose; the state has the values as they would be joined.
            if let Some(ScalarValue::List(values)) = self.inner.state()?.first() {
                within(joined_bytes(&(Arc::clone(values) as ArrayRef), self.delimiter), MAX_CALL_BYTES)?;
            }
        }
        let joined = self.inner.evaluate()?;
        self.given = self.given.saturating_add(scalar_bytes(&joined));
        within(self.given, MAX_BATCH_BYTES)?;
        Ok(joined)
    }

    fn size(&self) -> usize {
        let inner = self.inner.size();
        // The joined text, and its copy in the column of results.
        let joined = if self.keeps == Keeps::Text { 0 } else { self.joined().saturating_mul(2) };
        inner.saturating_add(usize::try_from(joined).unwrap_or(usize::MAX))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }
}

impl AggregateUDFImpl for StringAgg {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let delimiter = delimiter(&args)?;
        let keeps = match (args.is_distinct, args.order_bys) {
            (true, _) => Keeps::DistinctValues,
            (false, []) => Keeps::Text,
            (false, _) => Keeps::Values,
        };
        let inner = self.0.accumulator(args)?;
        Ok(Box::new(Counted { inner, keeps, delimiter, gathered: 0, given: 0 }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        delimiter(&args)?;
        self.0.create_groups_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.0.reverse_udf() {
            ReversedUDAF::Reversed(_) => ReversedUDAF::Reversed(Arc::new(AggregateUDF::new_from_impl(self.clone()))),
            other => other,
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}
