//! The values of a statement's parameters, as literals of its plan.
//!
//! **Invariant**: a parameter is one value of a plain type; it is never read as SQL.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use serde_json::Value;

use crate::error::QueryError;

/// Values of `$1`, `$2`, ….
#[derive(Debug, Clone)]
pub enum Params {
    /// NULL, booleans, numbers and texts.
    Json(Vec<Value>),
    /// The columns of one row, in their order: each keeps its type.
    Row(RecordBatch),
}

impl Default for Params {
    fn default() -> Self {
        Self::Json(Vec::new())
    }
}

impl From<Vec<Value>> for Params {
    fn from(values: Vec<Value>) -> Self {
        Self::Json(values)
    }
}

impl Params {
    pub(crate) fn literals(&self) -> Result<Vec<ScalarValue>, QueryError> {
        match self {
            Self::Json(values) => values.iter().enumerate().map(|(at, value)| of_json(at + 1, value)).collect(),
            Self::Row(batch) if batch.num_columns() == 0 => Ok(Vec::new()),
            Self::Row(batch) if batch.num_rows() != 1 => {
                let message = format!("one row of parameters is bound at a time, {} are given", batch.num_rows());
                Err(QueryError::Parameters { message })
            }
            Self::Row(batch) => (0..batch.num_columns()).map(|at| of_column(at, batch)).collect(),
        }
    }
}

fn of_json(number: usize, value: &Value) -> Result<ScalarValue, QueryError> {
    const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;
    let refused = |what: &str| Err(QueryError::Parameters { message: format!("parameter ${number} is {what}") });
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Ok(ScalarValue::Int64(Some(value))),
            (_, Some(value), _) => Ok(ScalarValue::UInt64(Some(value))),
            // JSON's reader has made a float of an integer that is larger than any of ours: its last digits are gone.
            (_, _, Some(value)) if value >= TWO_TO_THE_64 || value <= -TWO_TO_THE_64 / 2.0 => {
                refused("a number beyond 64 bits: pass it as a text, and cast it")
            }
            (_, _, Some(value)) => Ok(ScalarValue::Float64(Some(value))),
            _ => refused("no number that fits"),
        },
        Value::Array(_) | Value::Object(_) => refused("a list or an object: pass its members"),
    }
}

fn of_column(at: usize, row: &RecordBatch) -> Result<ScalarValue, QueryError> {
    let column = row.column(at);
    let is_nested = matches!(column.data_type(), DataType::Union(..)) || column.data_type().is_nested();
    if is_nested {
        return Err(QueryError::Parameters { message: format!("parameter ${} is a list or a struct: pass its members", at + 1) });
    }
    ScalarValue::try_from_array(column, 0)
        .map_err(|_| QueryError::Parameters { message: format!("parameter ${} has a type that is not known here", at + 1) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Int32Array, ListArray, RecordBatch, StringArray, StringViewArray,
    };
    use arrow::datatypes::Int64Type;
    use datafusion::common::ScalarValue;
    use serde_json::json;

    use super::Params;

    fn row(columns: Vec<ArrayRef>) -> Params {
        let named = columns.into_iter().enumerate().map(|(at, column)| (at.to_string(), column));
        Params::Row(RecordBatch::try_from_iter(named).unwrap())
    }

    #[test]
    fn the_values_of_a_row_keep_their_types() {
        let decimal = Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap();
        let given = row(vec![
            Arc::new(Int32Array::from(vec![7])),
            Arc::new(Date32Array::from(vec![19_000])),
            Arc::new(decimal),
            Arc::new(StringViewArray::from(vec![Some("a")])),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ]);
        let expected = [
            ScalarValue::Int32(Some(7)),
            ScalarValue::Date32(Some(19_000)),
            ScalarValue::Decimal128(Some(12_345), 10, 2),
            ScalarValue::Utf8View(Some("a".into())),
            ScalarValue::Utf8(None),
        ];
        assert_eq!(given.literals().unwrap(), expected);
    }

    #[test]
    fn what_is_not_one_row_of_plain_values_is_refused() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        for given in [
            row(vec![Arc::new(Int32Array::from(vec![1, 2]))]),
            row(vec![Arc::new(Int32Array::from(Vec::<i32>::new()))]),
            row(vec![Arc::new(list)]),
            Params::Json(vec![json!([1])]),
            Params::Json(vec![json!({"a": 1})]),
            Params::Json(vec![json!(1e30)]),
        ] {
            assert!(given.literals().is_err(), "{given:?}");
        }
        assert!(Params::default().literals().unwrap().is_empty());
    }
}
