//! Arrow arrays as columns of a call, without a copy where the layout already fits.
//!
//! **Invariant**: a guest sees exactly the values of its rows, as SQL and JSON show them: nothing before, after or under a null.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, GenericByteArray, Int64Array, PrimitiveArray, StringArray,
        StringBuilder,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{
        ArrowPrimitiveType, ByteArrayType, DataType, Date32Type, Field, Float32Type, Float64Type, Int64Type, TimeUnit,
        TimestampMicrosecondType,
    },
    json::writer::{EncoderOptions, make_encoder},
};

use crate::{
    PluginError,
    wit::lakehouse::plugin::types::{ColumnParam, ValuesParam, VarlenParam},
};

/// Below it a 32-bit number without a fraction has all its digits.
const EXACT_INTEGERS: f32 = 16_777_216.0;

/// The type a rule is called with for a column of type `input`.
pub(crate) fn called_as(input: &DataType) -> Result<DataType, PluginError> {
    Ok(match input {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Boolean => DataType::Boolean,
        DataType::Date32 => DataType::Date32,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Dictionary(_, values) => called_as(values)?,
        DataType::RunEndEncoded(_, values) => called_as(values.data_type())?,
        // Text as it is, decimals, 64-bit unsigned, times, intervals; lists and structs as JSON.
        _ => DataType::Utf8,
    })
}

/// A column in the layout of a call.
pub(crate) struct Column {
    /// Of a type that [`called_as`] returns; nothing hides under its nulls.
    array: ArrayRef,
    /// The validity bitmap from bit 0 on, where there are nulls.
    validity: Option<Buffer>,
    /// Offsets from 0, where the array's begin elsewhere.
    offsets: Option<Vec<i32>>,
    /// One byte a value, for booleans.
    booleans: Vec<u8>,
}

impl Column {
    /// # Errors
    /// When the type has no form in a call.
    pub(crate) fn of(input: &ArrayRef) -> Result<Self, PluginError> {
        Ok(Self::laid_out(scrub(normalize(input)?)))
    }

    /// `array` is of a type of a call, and scrubbed.
    fn laid_out(array: ArrayRef) -> Self {
        let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().sliced());
        let (mut offsets, mut booleans) = (None, Vec::new());
        match array.data_type() {
            DataType::Utf8 => offsets = from_zero(array.as_string::<i32>().value_offsets()),
            DataType::Binary => offsets = from_zero(array.as_binary::<i32>().value_offsets()),
            DataType::Boolean => booleans = array.as_boolean().values().iter().map(u8::from).collect(),
            _ => {}
        }
        Self { array, validity, offsets, booleans }
    }

    /// Bytes of the values as they are handed over.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_of(0..self.len())
    }

    /// Consecutive rows in parts of at most `most_bytes` and `most_rows`; a row that is larger is a part of its own.
    pub(crate) fn parts(&self, most_bytes: usize, most_rows: usize) -> impl Iterator<Item = Self> {
        let mut begin = 0;
        std::iter::from_fn(move || {
            if begin == self.len() {
                return None;
            }
            let mut end = begin + 1;
            while end < self.len() && end - begin < most_rows && self.bytes_of(begin..end + 1) <= most_bytes {
                end += 1;
            }
            let part = Self::laid_out(self.array.slice(begin, end - begin));
            begin = end;
            Some(part)
        })
    }

    fn bytes_of(&self, rows: Range<usize>) -> usize {
        let payload = |offsets: &[i32]| offsets[rows.end].abs_diff(offsets[rows.start]) as usize;
        match self.array.data_type() {
            DataType::Utf8 => payload(self.array.as_string::<i32>().value_offsets()) + 4 * rows.len(),
            DataType::Binary => payload(self.array.as_binary::<i32>().value_offsets()) + 4 * rows.len(),
            _ => 8 * rows.len(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    pub(crate) fn data_type(&self) -> &DataType {
        self.array.data_type()
    }

    /// The values as they are handed over.
    pub(crate) fn array(&self) -> &ArrayRef {
        &self.array
    }

    pub(crate) fn nulls(&self) -> Option<&NullBuffer> {
        self.array.nulls()
    }

    /// The arguments of the call, borrowed from the array.
    pub(crate) fn as_param(&self) -> ColumnParam<'_> {
        let array = self.array.as_ref();
        let values = match array.data_type() {
            DataType::Utf8 => ValuesParam::Text(self.varlen(array.as_string::<i32>())),
            DataType::Binary => ValuesParam::Binary(self.varlen(array.as_binary::<i32>())),
            DataType::Boolean => ValuesParam::Boolean(&self.booleans),
            DataType::Float64 => ValuesParam::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Date32 => ValuesParam::Date32(array.as_primitive::<Date32Type>().values()),
            DataType::Timestamp(..) => ValuesParam::TimestampMicros(array.as_primitive::<TimestampMicrosecondType>().values()),
            _ => ValuesParam::Int64(array.as_primitive::<Int64Type>().values()),
        };
        ColumnParam { values, validity: self.validity.as_ref().map(Buffer::as_slice) }
    }

    fn varlen<'a, T: ByteArrayType<Offset = i32>>(&'a self, array: &'a GenericByteArray<T>) -> VarlenParam<'a> {
        let given = array.value_offsets();
        let (start, end) = (given[0] as usize, given[given.len() - 1] as usize);
        VarlenParam { offsets: self.offsets.as_deref().unwrap_or(given), data: &array.value_data()[start..end] }
    }
}

fn from_zero(offsets: &[i32]) -> Option<Vec<i32>> {
    let start = offsets[0];
    (start != 0).then(|| offsets.iter().map(|offset| offset - start).collect())
}

/// The array in the type of the call.
fn normalize(input: &ArrayRef) -> Result<ArrayRef, PluginError> {
    let target = called_as(input.data_type())?;
    if *input.data_type() == target {
        return Ok(Arc::clone(input));
    }
    let failed = |error: arrow::error::ArrowError| match error {
        arrow::error::ArrowError::OffsetOverflowError(_) => PluginError::InputTooLarge { bytes: input.get_array_memory_size() },
        _ => PluginError::InputType(input.data_type().to_string()),
    };
    match input.data_type() {
        DataType::LargeUtf8 | DataType::LargeBinary | DataType::Utf8View | DataType::BinaryView => {
            cast(input, &target).map_err(failed)
        }
        DataType::Timestamp(..) | DataType::Date64 => cast(input, &target).map_err(failed),
        DataType::Float16 | DataType::Float32 => {
            let narrow = cast(input, &DataType::Float32).map_err(failed)?;
            Ok(Arc::new(narrow.as_primitive::<Float32Type>().unary::<_, Float64Type>(widened)))
        }
        DataType::Dictionary(_, values) if target == DataType::Float64 => normalize(&cast(input, values).map_err(failed)?),
        DataType::RunEndEncoded(_, values) if target == DataType::Float64 => {
            normalize(&cast(input, values.data_type()).map_err(failed)?)
        }
        other if other.is_nested() => json_text(input),
        _ => cast(input, &target).map_err(failed),
    }
}

/// The 64-bit number with the digits of the 32-bit one: 0.1, where the one of the same value is 0.10000000149011612. Both are written
/// alike from 1e-5 to 1e13; outside, an exponent sets in earlier or later.
fn widened(narrow: f32) -> f64 {
    // Whole numbers are written the same, and formatting is not free.
    if narrow.fract() == 0.0 && narrow.abs() < EXACT_INTEGERS {
        return f64::from(narrow);
    }
    format!("{narrow:e}").parse().unwrap_or_else(|_| f64::from(narrow))
}

/// One JSON text a row.
fn json_text(input: &ArrayRef) -> Result<ArrayRef, PluginError> {
    let unsupported = |_| PluginError::InputType(input.data_type().to_string());
    let field = Arc::new(Field::new("value", input.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, input.as_ref(), &options).map_err(unsupported)?;
    let mut texts = StringBuilder::with_capacity(input.len(), input.len() * 32);
    let mut text = Vec::new();
    for row in 0..input.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        let text = std::str::from_utf8(&text).map_err(|_| PluginError::InputType(input.data_type().to_string()))?;
        texts.append_value(text);
    }
    Ok(Arc::new(texts.finish()))
}

/// The same array with nothing left under its nulls: a kernel before us may have only cleared the bit.
pub(crate) fn scrub(array: ArrayRef) -> ArrayRef {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return array };
    match array.data_type() {
        DataType::Utf8 => scrub_varlen(array.as_string::<i32>(), nulls).map_or(Arc::clone(&array), |clean| Arc::new(clean) as _),
        DataType::Binary => {
            scrub_varlen(array.as_binary::<i32>(), nulls).map_or(Arc::clone(&array), |clean| Arc::new(clean) as _)
        }
        DataType::Boolean => {
            let values = array.as_boolean().values() & nulls.inner();
            Arc::new(BooleanArray::new(values, Some(nulls.clone())))
        }
        DataType::Int64 => Arc::new(scrub_primitive::<Int64Type>(array.as_primitive(), nulls)),
        DataType::Float64 => Arc::new(scrub_primitive::<Float64Type>(array.as_primitive(), nulls)),
        DataType::Date32 => Arc::new(scrub_primitive::<Date32Type>(array.as_primitive(), nulls)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let clean = scrub_primitive::<TimestampMicrosecondType>(array.as_primitive(), nulls);
            Arc::new(clean.with_timezone_opt(zone.clone()))
        }
        _ => array,
    }
}

fn scrub_primitive<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, nulls: &NullBuffer) -> PrimitiveArray<T> {
    let values: Vec<T::Native> =
        array.values().iter().zip(nulls).map(|(value, valid)| if valid { *value } else { T::Native::default() }).collect();
    PrimitiveArray::new(values.into(), Some(nulls.clone()))
}

fn scrub_varlen<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>, nulls: &NullBuffer) -> Option<GenericByteArray<T>> {
    let offsets = array.value_offsets();
    let hidden = offsets.windows(2).zip(nulls).any(|(bounds, valid)| !valid && bounds[0] != bounds[1]);
    if !hidden {
        return None;
    }
    let data = array.value_data();
    let mut kept = Vec::with_capacity(data.len());
    let mut ends = Vec::with_capacity(offsets.len());
    ends.push(0);
    for (bounds, valid) in offsets.windows(2).zip(nulls) {
        if valid {
            kept.extend_from_slice(&data[bounds[0] as usize..bounds[1] as usize]);
        }
        ends.push(kept.len() as i32);
    }
    // Whole values of a valid array, at their own boundaries.
    GenericByteArray::try_new(OffsetBuffer::new(ends.into()), kept.into(), Some(nulls.clone())).ok()
}

/// An empty column of the type a rule is called with.
pub(crate) fn empty(data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Utf8 => Arc::new(StringArray::from(Vec::<&str>::new())),
        DataType::Binary => Arc::new(BinaryArray::from(Vec::<&[u8]>::new())),
        DataType::Int64 => Arc::new(Int64Array::from(Vec::<i64>::new())),
        other => arrow::array::new_empty_array(other),
    }
}

#[cfg(test)]
mod tests;
