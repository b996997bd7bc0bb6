//! Redactors: as many rows, nulls that stay, one answer for one value.

use super::{broken, same_value, slice};
use crate::{Column, Error, Redactor, Values};

/// Redacts text values one column at a time and checks what the host would check.
///
/// # Errors
/// The rule's own, or [`Error::Internal`] naming the promise that the rule broke.
pub fn redact<'v, R: Redactor>(
    rule: &R,
    values: impl IntoIterator<Item = impl Into<Option<&'v str>>>,
) -> Result<Vec<Option<String>>, Error> {
    let input = Column::text(values)?;
    let output = redact_column(rule, &input)?;
    let text = output.into_text()?;
    Ok(text.iter().map(|value| value.map(str::to_owned)).collect())
}

/// Redacts a column and checks what the host would check.
///
/// # Errors
/// The rule's own, or [`Error::Internal`] naming the promise that the rule broke.
pub fn redact_column<R: Redactor>(rule: &R, input: &Column) -> Result<Column, Error> {
    let output = rule.redact_column(input.clone())?;
    let rows = input.rows();
    if output.rows() != rows {
        return Err(broken("as many rows out as in"));
    }
    if (0..rows).any(|row| input.is_null(row) && !output.is_null(row)) {
        return Err(broken("a null stays null"));
    }
    let same_type = output.values.type_name() == input.values.type_name();
    if !same_type && !matches!(output.values, Values::Text(_)) {
        return Err(broken("the output has the type of the input or is text"));
    }
    if let Values::Text(varlen) = &output.values {
        crate::TextMut::new(varlen.clone(), output.validity.clone()).map_err(|_| broken("text is UTF-8 under sound offsets"))?;
    }
    let nothing = rule.redact_column(slice(input, 0, 0))?;
    if nothing.values.type_name() != output.values.type_name() || nothing.rows() != 0 {
        return Err(broken("a column of no rows tells the type of the answer"));
    }
    for row in 0..rows {
        let alone = rule.redact_column(slice(input, row, row + 1))?;
        if alone.is_null(0) != output.is_null(row) || (!alone.is_null(0) && !same_value(&alone, 0, &output, row)) {
            return Err(broken("equal values get equal answers, whatever their neighbours"));
        }
    }
    Ok(output)
}
