//! `sum` of integers, right or an error.
//!
//! **Invariant**: integers are added as 128-bit numbers, which no number of rows can fill, and the sum is converted once: a sum that fits
//! is given however the rows were ordered, one that does not fit fails.
//!
//! Read in DataFusion 55: `SumAccumulator` and its kin add with `add_wrapping`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature,
};

pub(super) const SUM: &str = "sum";
/// The widest decimal without a fraction.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Wraps DataFusion's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sum(Arc<AggregateUDF>);

impl Sum {
    pub(super) fn udaf(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self(inner)))
    }
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64)
}

/// What the inner function is told of a sum of integers.
fn wide(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), WIDE, true))
}

fn widened(values: &ArrayRef) -> ArrayRef {
    fn of<T: ArrowPrimitiveType<Native: Into<i128>>>(values: &ArrayRef) -> ArrayRef {
        let wide: Decimal128Array = values.as_primitive::<T>().unary(Into::into);
        Arc::new(wide.with_data_type(WIDE))
    }
    match values.data_type() {
        DataType::Int64 => of::<Int64Type>(values),
        DataType::UInt64 => of::<UInt64Type>(values),
        _ => Arc::clone(values),
    }
}

fn all_widened(values: &[ArrayRef]) -> Vec<ArrayRef> {
    values.iter().map(widened).collect()
}

/// Without the value: it is a sum of what rows hold.
fn overflow() -> ArrowError {
    ArrowError::ArithmeticOverflow("a sum of integers".to_owned())
}

fn narrowed<T: ArrowPrimitiveType<Native: TryFrom<i128>>>(sums: &ArrayRef) -> Result<ArrayRef> {
    let sums = sums.as_primitive::<Decimal128Type>();
    let narrow: PrimitiveArray<T> = sums.try_unary(|sum| sum.try_into().map_err(|_| overflow()))?;
    Ok(Arc::new(narrow))
}

/// Adds wide numbers for integers.
#[derive(Debug)]
struct Widened {
    inner: Box<dyn Accumulator>,
    is_signed: bool,
}

impl Accumulator for Widened {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&all_widened(values))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = match self.inner.evaluate()? {
            ScalarValue::Decimal128(sum, ..) => sum,
            other => return Ok(other),
        };
        Ok(if self.is_signed {
            ScalarValue::Int64(sum.map(i64::try_from).transpose().map_err(|_| overflow())?)
        } else {
            ScalarValue::UInt64(sum.map(u64::try_from).transpose().map_err(|_| overflow())?)
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&all_widened(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The same for many groups.
struct WidenedGroups {
    inner: Box<dyn GroupsAccumulator>,
    is_signed: bool,
}

impl GroupsAccumulator for WidenedGroups {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.inner.update_batch(&all_widened(values), groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        if self.is_signed { narrowed::<Int64Type>(&sums) } else { narrowed::<UInt64Type>(&sums) }
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&all_widened(values), filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

/// The arguments as the inner function is to see them, and whether the sum is signed; `None` of what are no integers.
fn widely<'a>(args: &AccumulatorArgs<'a>, fields: &'a [FieldRef]) -> Option<(AccumulatorArgs<'a>, bool)> {
    let is_signed = args.return_field.data_type() == &DataType::Int64;
    is_integer(args.return_field.data_type()).then(|| {
        let args = AccumulatorArgs {
            return_field: wide(&args.return_field),
            expr_fields: fields,
            schema: args.schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys,
            is_reversed: args.is_reversed,
            name: args.name,
            is_distinct: args.is_distinct,
            exprs: args.exprs,
        };
        (args, is_signed)
    })
}

impl AggregateUDFImpl for Sum {
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
        if !is_integer(args.return_field.data_type()) {
            return self.0.state_fields(args);
        }
        let return_field = wide(&args.return_field);
        self.0.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let fields: Vec<FieldRef> = args.expr_fields.iter().map(wide).collect();
        match widely(&args, &fields) {
            Some((wide, is_signed)) => Ok(Box::new(Widened { inner: self.0.accumulator(wide)?, is_signed })),
            None => self.0.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        // DataFusion slides over distinct values only where they are integers, and adds them so that they wrap.
        if args.is_distinct && is_integer(args.return_field.data_type()) {
            return Err(crate::QueryError::Plan { message: "sum(DISTINCT …) over a sliding frame is not answered".into() }.into());
        }
        let fields: Vec<FieldRef> = args.expr_fields.iter().map(wide).collect();
        match widely(&args, &fields) {
            Some((wide, is_signed)) => Ok(Box::new(Widened { inner: self.0.create_sliding_accumulator(wide)?, is_signed })),
            None => self.0.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let fields: Vec<FieldRef> = args.expr_fields.iter().map(wide).collect();
        match widely(&args, &fields) {
            Some((wide, is_signed)) => Ok(Box::new(WidenedGroups { inner: self.0.create_groups_accumulator(wide)?, is_signed })),
            None => self.0.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}
