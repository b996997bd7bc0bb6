//! Checks what a redactor returned, and makes it an Arrow array.
//!
//! **Invariant**: an array leaves here only if it has as many rows as were asked, no value where the input had none, nothing
//! under its nulls, and is of the type that was asked for, or text. Nothing is believed.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray},
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};

use crate::{
    column::scrub,
    error::Lie,
    wit::lakehouse::plugin::types::{ColumnResult, ValuesResult, VarlenResult},
};

/// What was asked.
pub(crate) struct Asked<'a> {
    pub(crate) rows: usize,
    /// The type of the call.
    pub(crate) data_type: &'a DataType,
    pub(crate) nulls: Option<&'a NullBuffer>,
}

/// The answer as an array.
pub(crate) fn accept(answer: ColumnResult, asked: &Asked<'_>) -> Result<ArrayRef, Lie> {
    let got = answered_type(&answer.values, asked.data_type)?;
    check_values(&answer.values, asked.rows)?;
    let nulls = validity(answer.validity, asked)?;
    let array: ArrayRef = match answer.values {
        ValuesResult::Text(VarlenResult { offsets, data }) => {
            let offsets = checked_offsets(offsets);
            Arc::new(StringArray::try_new(offsets, data.into(), nulls).map_err(|_| Lie::Utf8)?)
        }
        ValuesResult::Binary(VarlenResult { offsets, data }) => {
            let offsets = checked_offsets(offsets);
            Arc::new(BinaryArray::try_new(offsets, data.into(), nulls).map_err(|_| Lie::OffsetsDecrease)?)
        }
        ValuesResult::Int64(values) => Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), nulls)),
        ValuesResult::Float64(values) => Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls)),
        ValuesResult::Date32(values) => Arc::new(PrimitiveArray::<Date32Type>::new(values.into(), nulls)),
        ValuesResult::TimestampMicros(values) => {
            let array = PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls);
            let zone = if let DataType::Timestamp(_, zone) = &got { zone.clone() } else { None };
            Arc::new(array.with_timezone_opt(zone))
        }
        ValuesResult::Boolean(values) => {
            Arc::new(BooleanArray::new(values.iter().map(|byte| *byte == 1).collect::<BooleanBuffer>(), nulls))
        }
    };
    Ok(scrub(array))
}

/// The Arrow type of the answer, if the question allows it.
fn answered_type(values: &ValuesResult, asked: &DataType) -> Result<DataType, Lie> {
    let (name, got) = match values {
        ValuesResult::Text(_) => return Ok(DataType::Utf8),
        ValuesResult::Binary(_) => ("binary", DataType::Binary),
        ValuesResult::Int64(_) => ("int64", DataType::Int64),
        ValuesResult::Float64(_) => ("float64", DataType::Float64),
        ValuesResult::Boolean(_) => ("boolean", DataType::Boolean),
        ValuesResult::Date32(_) => ("date32", DataType::Date32),
        ValuesResult::TimestampMicros(_) => match asked {
            DataType::Timestamp(TimeUnit::Microsecond, _) => return Ok(asked.clone()),
            _ => ("timestamp-micros", DataType::Timestamp(TimeUnit::Microsecond, None)),
        },
    };
    if got == *asked { Ok(got) } else { Err(Lie::Type { asked: kind_name(asked), got: name }) }
}

/// The name of a call's type in WIT.
pub(crate) fn kind_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "text",
        DataType::Binary => "binary",
        DataType::Float64 => "float64",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date32",
        DataType::Timestamp(..) => "timestamp-micros",
        _ => "int64",
    }
}

/// Rows, offsets, booleans: all that Arrow would panic at.
fn check_values(values: &ValuesResult, rows: usize) -> Result<(), Lie> {
    let got = match values {
        ValuesResult::Text(varlen) | ValuesResult::Binary(varlen) => return check_offsets(varlen, rows),
        ValuesResult::Int64(values) | ValuesResult::TimestampMicros(values) => values.len(),
        ValuesResult::Float64(values) => values.len(),
        ValuesResult::Date32(values) => values.len(),
        ValuesResult::Boolean(values) if values.iter().any(|byte| *byte > 1) => return Err(Lie::Boolean),
        ValuesResult::Boolean(values) => values.len(),
    };
    if got == rows { Ok(()) } else { Err(Lie::RowCount { expected: rows, got }) }
}

fn check_offsets(varlen: &VarlenResult, rows: usize) -> Result<(), Lie> {
    let VarlenResult { offsets, data } = varlen;
    if offsets.first() != Some(&0) {
        return Err(Lie::OffsetsStart);
    }
    if offsets.len() != rows + 1 {
        return Err(Lie::RowCount { expected: rows, got: offsets.len() - 1 });
    }
    // Branch-free, so that it runs at memory speed.
    let decreases = offsets.iter().zip(&offsets[1..]).fold(0, |seen, (a, b)| seen | i32::from(a > b));
    if decreases != 0 {
        return Err(Lie::OffsetsDecrease);
    }
    let end = i64::from(offsets[rows]);
    if end != data.len() as i64 {
        return Err(Lie::OffsetsEnd { end, data: data.len() });
    }
    Ok(())
}

/// Offsets that [`check_offsets`] has passed.
#[expect(unsafe_code, reason = "a second pass over the offsets costs a tenth of a cheap rule's call")]
fn checked_offsets(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    debug_assert!(offsets.first() == Some(&0) && offsets.is_sorted());
    // SAFETY: `check_values` ran before on these very offsets: there is a first one, it is 0, and none is below the one before.
    unsafe { OffsetBuffer::new_unchecked(offsets.into()) }
}

fn validity(bitmap: Option<Vec<u8>>, asked: &Asked<'_>) -> Result<Option<NullBuffer>, Lie> {
    let hidden = asked.nulls.filter(|nulls| nulls.null_count() > 0);
    let Some(bitmap) = bitmap else {
        return if hidden.is_some() { Err(Lie::NullToValue) } else { Ok(None) };
    };
    let expected = asked.rows.div_ceil(8);
    if bitmap.len() != expected {
        return Err(Lie::Validity { expected, got: bitmap.len() });
    }
    let answered = NullBuffer::new(BooleanBuffer::new(bitmap.into(), 0, asked.rows));
    if let Some(hidden) = hidden {
        let appeared = answered.inner() & &!hidden.inner();
        if appeared.count_set_bits() > 0 {
            return Err(Lie::NullToValue);
        }
    }
    Ok((answered.null_count() > 0).then_some(answered))
}

#[cfg(test)]
mod tests;
