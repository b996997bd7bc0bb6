//! Answers of different engines, so that they can be compared.

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    compute::cast,
    datatypes::{DataType, Float64Type},
    error::ArrowError,
    ipc::reader::StreamReader,
};

use crate::host::Failure;

/// The rows of an Arrow stream as lines, in an order of their own: numbers to two decimals, whatever their type.
pub(super) fn rows(stream: &[u8]) -> Result<Vec<String>, Failure> {
    let mut rows = Vec::new();
    for batch in StreamReader::try_new(stream, None)? {
        let batch = batch?;
        let columns = batch.columns().iter().map(text).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |column: &StringArray| if column.is_null(row) { "NULL".to_owned() } else { column.value(row).to_owned() };
            rows.push(columns.iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort_unstable();
    Ok(rows)
}

fn text(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    /// Lifts what lies between two roundings, which one engine has as a decimal and another as a float a little below.
    const LIFT: f64 = 1e-6;
    if column.data_type().is_numeric() {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>().iter();
        return Ok(numbers.map(|number| number.map(|number| format!("{:.2}", number + LIFT))).collect());
    }
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}
