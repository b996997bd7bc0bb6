//! A scalar function that is asked what it would cost before it runs.
//!
//! **Invariant**: a batch whose bound is too high is halved until the bound fits or one row is left, so that a loose bound costs
//! time and never refuses a modest result; what was really built is counted as well, and no value of it has more than
//! [`MAX_VALUE_BYTES`]. Between the parts the query may be ended. What planning makes a constant stays small: a refused constant is
//! called for the rows instead, where the limits are of rows. A function without costs is no larger than its arguments, and counted.

use std::{ops::Range, sync::Arc};

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    sort_properties::{ExprProperties, SortProperties},
};

use super::{
    MAX_ALL_FOLDED_BYTES, MAX_BATCH_BYTES, MAX_CALL_BYTES, MAX_FOLDED_BYTES, MAX_FOLDING_BYTES, MAX_VALUE_BYTES,
    cost::{Cost, array_bytes, longest, scalar_bytes},
};
use crate::{
    built::{is_small, is_view},
    error::QueryError,
    oversight::Oversight,
};

/// Wraps one function; looks like it in every other way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
    costs: &'static [Cost],
}

impl Bounded {
    pub(super) fn udf(inner: Arc<ScalarUDF>, costs: &'static [Cost]) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { inner, costs }))
    }

    /// Whether its results may be larger than its arguments.
    pub(super) fn multiplies(&self) -> bool {
        !self.costs.is_empty()
    }

    fn refuse(&self, limit: u64, unit: &'static str) -> QueryError {
        QueryError::TooCostly { function: self.inner.name().to_owned(), limit, unit }
    }

    /// The first of the costs that is beyond its limit.
    fn excess(&self, call: &ScalarFunctionArgs, bytes: u64) -> Option<Cost> {
        self.costs.iter().copied().find(|cost| cost.estimate(call) > cost.limit(bytes))
    }

    /// A call whose arguments are the same for all rows: it builds one value, and whoever uses it may copy that to each row.
    fn once(&self, mut call: ScalarFunctionArgs, share: &Share<'_>) -> Result<ColumnarValue> {
        let rows = call.number_rows.max(1) as u64;
        call.number_rows = 1;
        if let Some(cost) = self.excess(&call, share.bytes) {
            return Err(self.refuse(cost.limit(share.bytes), cost.unit()).into());
        }
        let value = self.inner.invoke_with_args(call)?;
        if is_small(&value.data_type()) {
            return Ok(value);
        }
        let bytes = match &value {
            ColumnarValue::Scalar(scalar) => scalar_bytes(scalar),
            ColumnarValue::Array(array) => array_bytes(array),
        };
        if bytes > MAX_VALUE_BYTES {
            return Err(self.refuse(MAX_VALUE_BYTES, "bytes").into());
        }
        match share.planning {
            Some(_) if bytes > MAX_FOLDED_BYTES => Err(self.refuse(MAX_FOLDED_BYTES, "bytes").into()),
            Some(oversight) if !oversight.fold(bytes, MAX_ALL_FOLDED_BYTES) => {
                Err(self.refuse(MAX_ALL_FOLDED_BYTES, "bytes").into())
            }
            // A view is given to each row without a copy.
            None if !is_view(&value.data_type()) && bytes.saturating_mul(rows) > share.bytes => {
                Err(self.refuse(share.bytes, "bytes").into())
            }
            _ => Ok(value),
        }
    }

    /// Runs `rows`, in halves where a bound is too high.
    fn run(&self, call: &ScalarFunctionArgs, rows: Range<usize>, share: &Share<'_>, parts: &mut Parts) -> Result<()> {
        share.check()?;
        let slice = slice(call, &rows);
        if let Some(cost) = self.excess(&slice, share.bytes) {
            if rows.len() <= 1 {
                return Err(self.refuse(cost.limit(share.bytes), cost.unit()).into());
            }
            let middle = rows.start + rows.len() / 2;
            self.run(call, rows.start..middle, share, parts)?;
            return self.run(call, middle..rows.end, share, parts);
        }
        let part = self.inner.invoke_with_args(slice)?.into_array(rows.len())?;
        parts.bytes += self.bytes_of(&part)?;
        if parts.bytes > share.bytes {
            return Err(self.refuse(share.bytes, "bytes").into());
        }
        parts.arrays.push(part);
        Ok(())
    }

    /// Bytes of a result, none of whose values is too large.
    fn bytes_of(&self, result: &ArrayRef) -> Result<u64, QueryError> {
        let bytes = array_bytes(result);
        if bytes > MAX_VALUE_BYTES && longest(result, MAX_VALUE_BYTES) > MAX_VALUE_BYTES {
            return Err(self.refuse(MAX_VALUE_BYTES, "bytes"));
        }
        Ok(bytes)
    }

    /// Measures what was built of a whole batch: estimates are of what functions are known to do.
    fn measured(&self, value: ColumnarValue, share: &Share<'_>) -> Result<ColumnarValue> {
        if let ColumnarValue::Array(result) = &value
            && !is_small(result.data_type())
        {
            if self.multiplies() && self.bytes_of(result)? > share.bytes {
                return Err(self.refuse(share.bytes, "bytes").into());
            }
            share.count(result)?;
        }
        Ok(value)
    }
}

/// What has been built of a batch.
#[derive(Default)]
struct Parts {
    bytes: u64,
    arrays: Vec<ArrayRef>,
}

/// What a call may build, and whether anybody still waits for it.
pub(super) struct Share<'a> {
    pub(super) bytes: u64,
    oversight: Option<&'a Oversight>,
    /// Set while constants are folded.
    planning: Option<&'a Oversight>,
    partitions: usize,
}

impl<'a> Share<'a> {
    pub(super) fn of(options: &'a ConfigOptions) -> Self {
        let oversight = Oversight::of(options);
        let calls = oversight.map(Oversight::calls);
        let bytes = match calls {
            Some(Some(calls)) => MAX_CALL_BYTES.min(MAX_BATCH_BYTES / calls.multiplying.max(1)),
            Some(None) => MAX_FOLDING_BYTES,
            None => MAX_CALL_BYTES,
        };
        let partitions = options.execution.target_partitions;
        Self { bytes, oversight, planning: oversight.filter(|_| calls == Some(None)), partitions }
    }

    pub(super) fn check(&self) -> Result<(), QueryError> {
        self.oversight.map_or(Ok(()), Oversight::check)
    }

    /// Counts the result of a whole batch.
    pub(super) fn count(&self, result: &ArrayRef) -> Result<(), QueryError> {
        let Some((oversight, calls)) = self.oversight.and_then(|oversight| Some((oversight, oversight.calls()?))) else {
            return Ok(());
        };
        oversight.built().count(result, calls.building, self.partitions)
    }
}

fn slice(call: &ScalarFunctionArgs, rows: &Range<usize>) -> ScalarFunctionArgs {
    let args = call.args.iter().map(|arg| match arg {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(rows.start, rows.len())),
        ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
    });
    ScalarFunctionArgs {
        args: args.collect(),
        arg_fields: call.arg_fields.clone(),
        number_rows: rows.len(),
        return_field: Arc::clone(&call.return_field),
        config_options: Arc::clone(&call.config_options),
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let options = Arc::clone(&args.config_options);
        let share = Share::of(&options);
        share.check()?;
        if !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            return self.once(args, &share);
        }
        if self.excess(&args, share.bytes).is_none() {
            let value = self.inner.invoke_with_args(args)?;
            return self.measured(value, &share);
        }
        let mut parts = Parts::default();
        self.run(&args, 0..args.number_rows, &share, &mut parts)?;
        let arrays: Vec<&dyn Array> = parts.arrays.iter().map(AsRef::as_ref).collect();
        let whole = concat(&arrays)?;
        share.count(&whole)?;
        Ok(ColumnarValue::Array(whole))
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(input)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Whether a value is a NULL that makes a call free.
pub(super) fn is_null(value: &ColumnarValue) -> bool {
    matches!(value, ColumnarValue::Scalar(scalar) if scalar.is_null() || matches!(scalar, ScalarValue::Null))
}
