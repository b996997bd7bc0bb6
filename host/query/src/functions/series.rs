//! `range` and `generate_series`, as functions and as tables, with an end in sight.

use std::sync::Arc;

use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{ColumnarValue, Expr};

use super::{MAX_SERIES, allowed};
use crate::error::QueryError;

/// The table functions of a session: none reads a file.
pub(super) fn table_functions() -> Vec<Arc<TableFunction>> {
    SessionStateDefaults::default_table_functions()
        .into_iter()
        .filter(|function| allowed::TABLE.contains(&function.name()))
        .map(|function| {
            let name = function.name().to_owned();
            Arc::new(TableFunction::new(name, Arc::new(BoundedSeries(function))))
        })
        .collect()
}

#[derive(Debug)]
struct BoundedSeries(Arc<TableFunction>);

impl TableFunctionImpl for BoundedSeries {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let literals: Vec<ColumnarValue> = args
            .exprs()
            .iter()
            .filter_map(|expr| match expr {
                Expr::Literal(scalar, _) => Some(ColumnarValue::Scalar(scalar.clone())),
                _ => None,
            })
            .collect();
        // Arguments that are no literals are refused by the function itself.
        if literals.len() == args.exprs().len() && elements(&literals, 1) > MAX_SERIES {
            return Err(QueryError::TooCostly { function: self.0.name().to_owned(), limit: MAX_SERIES, unit: "rows" }.into());
        }
        self.0.create_table_provider_with_args(args)
    }
}

/// How many elements a series has, at most, over all rows.
pub(super) fn elements(args: &[ColumnarValue], rows: u64) -> u64 {
    let scalars: Option<Vec<&ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Scalar(scalar) => Some(scalar),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    if let Some(scalars) = scalars {
        return one(&scalars).saturating_mul(rows);
    }
    (0..usize::try_from(rows).unwrap_or(usize::MAX)).fold(0u64, |total, row| {
        let row: Option<Vec<ScalarValue>> = args
            .iter()
            .map(|arg| match arg {
                ColumnarValue::Scalar(scalar) => Some(scalar.clone()),
                ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row).ok(),
            })
            .collect();
        total.saturating_add(row.map_or(u64::MAX, |row| one(&row.iter().collect::<Vec<_>>())))
    })
}

/// Nanoseconds since the epoch, or the number itself.
fn position(scalar: &ScalarValue) -> Option<i128> {
    const DAY: i128 = 86_400_000_000_000;
    match scalar {
        ScalarValue::Date32(Some(days)) => Some(i128::from(*days) * DAY),
        ScalarValue::Date64(Some(millis)) => Some(i128::from(*millis) * 1_000_000),
        ScalarValue::TimestampNanosecond(Some(n), _) => Some(i128::from(*n)),
        ScalarValue::TimestampMicrosecond(Some(n), _) => Some(i128::from(*n) * 1_000),
        ScalarValue::TimestampMillisecond(Some(n), _) => Some(i128::from(*n) * 1_000_000),
        ScalarValue::TimestampSecond(Some(n), _) => Some(i128::from(*n) * 1_000_000_000),
        // The shortest that a month can be, so that the count is never too low.
        ScalarValue::IntervalMonthDayNano(Some(step)) => {
            Some(i128::from(step.months) * 28 * DAY + i128::from(step.days) * DAY + i128::from(step.nanoseconds))
        }
        ScalarValue::IntervalYearMonth(Some(months)) => Some(i128::from(*months) * 28 * DAY),
        ScalarValue::IntervalDayTime(Some(step)) => Some(i128::from(step.days) * DAY + i128::from(step.milliseconds) * 1_000_000),
        other => match other.cast_to(&arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) => Some(i128::from(n)),
            _ => None,
        },
    }
}

/// `1 month -28 days`: such a step may stand still, and then a series never ends.
fn has_mixed_signs(scalar: &ScalarValue) -> bool {
    let parts = match scalar {
        ScalarValue::IntervalMonthDayNano(Some(step)) => [i64::from(step.months), i64::from(step.days), step.nanoseconds],
        ScalarValue::IntervalDayTime(Some(step)) => [0, i64::from(step.days), i64::from(step.milliseconds)],
        _ => return false,
    };
    parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0)
}

fn one(args: &[&ScalarValue]) -> u64 {
    if args.iter().any(|arg| arg.is_null()) {
        return 0;
    }
    if args.iter().any(|arg| has_mixed_signs(arg)) {
        return u64::MAX;
    }
    let positions: Option<Vec<i128>> = args.iter().map(|arg| position(arg)).collect();
    let (start, stop, step) = match positions.as_deref() {
        Some([stop]) => (0, *stop, 1),
        Some([start, stop]) => (*start, *stop, 1),
        Some([start, stop, step]) => (*start, *stop, *step),
        _ => return u64::MAX,
    };
    if step == 0 {
        return 0;
    }
    let count = (stop - start).checked_div(step).map_or(i128::MAX, |count| count + 1);
    u64::try_from(count.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;

    use super::one;

    #[test]
    fn a_series_is_counted_before_it_is_made() {
        let count = |numbers: &[i64]| {
            let scalars: Vec<ScalarValue> = numbers.iter().map(|n| ScalarValue::from(*n)).collect();
            one(&scalars.iter().collect::<Vec<_>>())
        };
        assert_eq!(count(&[10]), 11);
        assert_eq!(count(&[0, 1_000_000_000_000]), 1_000_000_000_001);
        assert_eq!(count(&[10, 0, -1]), 11);
        assert_eq!(count(&[0, 10, -1]), 0);
        assert!(count(&[i64::MIN, i64::MAX, 1]) > 1 << 62);
    }
}
