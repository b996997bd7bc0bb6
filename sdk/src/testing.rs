//! Runs a rule natively, for its tests, and holds it to what the host will demand.
//!
//! **Invariant**: a rule that passes here answers the host with as many rows as it got, keeps nulls null, answers equal values
//! equally whatever their neighbours, and knows its output type without a row.

use crate::{Column, Condition, Config, Context, Error, Redactor, Value, Values, Verdict, config};

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
    let broken = |promise: &str| Error::Internal(format!("the rule broke a promise: {promise}"));
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

/// Judges one context.
///
/// # Errors
/// The rule's own, or [`Error::InvalidInput`] when the context is no JSON object.
pub fn evaluate<C: Condition>(rule: &C, context: &Value) -> Result<Verdict, Error> {
    let Value::Object(members) = context else {
        return Err(Error::input("a context must be a JSON object"));
    };
    rule.evaluate(&Context::from(members.clone()))
}

/// What is said to whoever writes this configuration; empty when it fits.
pub fn config_error<C: Config>(config: &str) -> String {
    match config::parse::<C>(config) {
        Ok(_) => String::new(),
        Err(Error::InvalidConfig(message)) => message,
        Err(other) => other.to_string(),
    }
}

/// The JSON Schema of a configuration, as the component carries it.
///
/// # Panics
/// When it is not JSON, which would be a bug of this crate.
pub fn config_schema<C: Config>() -> Value {
    serde_json::from_str(&crate::schema::to_json(&C::SCHEMA)).expect("schemas render as JSON")
}

fn slice(column: &Column, from: usize, to: usize) -> Column {
    let varlen = |v: &crate::Varlen| {
        let (mut offsets, mut data) = (vec![0], Vec::new());
        for row in from..to {
            data.extend_from_slice(v.get(row).unwrap_or_default());
            offsets.push(i32::try_from(data.len()).unwrap_or_default());
        }
        crate::Varlen { offsets, data }
    };
    let values = match &column.values {
        Values::Text(v) => Values::Text(varlen(v)),
        Values::Binary(v) => Values::Binary(varlen(v)),
        Values::Int64(v) => Values::Int64(v[from..to].to_vec()),
        Values::Float64(v) => Values::Float64(v[from..to].to_vec()),
        Values::Boolean(v) => Values::Boolean(v[from..to].to_vec()),
        Values::Date32(v) => Values::Date32(v[from..to].to_vec()),
        Values::TimestampMicros(v) => Values::TimestampMicros(v[from..to].to_vec()),
    };
    let validity = column.validity.as_ref().map(|bits| (from..to).map(|row| bits.get(row)).collect());
    Column { values, validity }
}

fn same_value(left: &Column, row: usize, right: &Column, other: usize) -> bool {
    match (&left.values, &right.values) {
        (Values::Text(a), Values::Text(b)) | (Values::Binary(a), Values::Binary(b)) => a.get(row) == b.get(other),
        (Values::Float64(a), Values::Float64(b)) => a[row].to_bits() == b[other].to_bits(),
        (Values::Int64(a), Values::Int64(b)) | (Values::TimestampMicros(a), Values::TimestampMicros(b)) => a[row] == b[other],
        (Values::Boolean(a), Values::Boolean(b)) => a[row] == b[other],
        (Values::Date32(a), Values::Date32(b)) => a[row] == b[other],
        _ => false,
    }
}
