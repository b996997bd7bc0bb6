//! Typed cells become Arrow arrays.
//!
//! **Invariant**: a row is parsed whole before any of it is appended, so that a row that is left out leaves no trace.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder, Int16Builder,
    Int32Builder, Int64Builder, NullArray, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};

use crate::cell::{FRACTION, INTEGER, TOO_LARGE, boolean, date, float, integer, kind, moment};

/// Integers up to this are exact as floats of 32 bits.
const FLOAT32_INTEGERS: u64 = 1 << 24;

/// A value on its way into a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Days(i32),
    Micros(i64),
    Decimal(i128),
    Text(Cow<'a, str>),
}

/// Why a text is no cell of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    Type,
    Encoding,
}

impl<'a> Cell<'a> {
    /// The text as a value of `target`; the empty text is NULL.
    pub(crate) fn parse(text: Cow<'a, [u8]>, target: &DataType) -> Result<Self, Misfit> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        if *target == DataType::Utf8 {
            let text = match text {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            };
            return text.map(Self::Text).ok_or(Misfit::Encoding);
        }
        Self::of_text(&text, target).ok_or(Misfit::Type)
    }

    /// As [`Cell::parse`], for all targets but text.
    pub(crate) fn of_text(text: &[u8], target: &DataType) -> Option<Self> {
        Some(match target {
            DataType::Boolean => Self::Boolean(boolean(text)?),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::of_integer(integer(text)?, target)?,
            DataType::Float32 | DataType::Float64 => match integer(text) {
                // A zero may have a sign.
                Some(value) if value != 0 => Self::of_integer(value, target)?,
                _ if text.iter().skip_while(|byte| **byte == b'-').all(u8::is_ascii_digit) => Self::of_digits(text, target)?,
                _ => {
                    let value = float(text)?;
                    // Infinity is written in letters; digits that make one are too large.
                    let is_named = text.iter().any(|byte| matches!(byte, b'N' | b'n'));
                    Self::of_float(value, target).filter(|_| is_named || value.is_finite())?
                }
            },
            DataType::Date32 => Self::Days(date(text)?),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => match moment(text) {
                Some(moment) if moment.has_zone == zone.is_some() => Self::Micros(moment.micros),
                None if zone.is_none() => Self::Micros(i64::from(date(text)?) * 86_400_000_000),
                _ => return None,
            },
            DataType::Decimal128(precision, scale) => Self::Decimal(decimal(text, *precision, *scale)?),
            _ => return None,
        })
    }

    /// The integer, if the type is wide enough, and a float does not round it.
    pub(crate) fn of_integer(value: i64, target: &DataType) -> Option<Self> {
        let fits = match target {
            DataType::Int8 => i8::try_from(value).is_ok(),
            DataType::Int16 => i16::try_from(value).is_ok(),
            DataType::Int32 => i32::try_from(value).is_ok(),
            DataType::Float32 | DataType::Float64 if value.unsigned_abs() <= FLOAT32_INTEGERS => {
                return Some(Self::Float(value as f64));
            }
            DataType::Float32 | DataType::Float64 => return Self::of_digits(value.to_string().as_bytes(), target),
            _ => true,
        };
        fits.then_some(Self::Integer(value))
    }

    /// The float, if it does not become infinite in the column.
    pub(crate) fn of_float(value: f64, target: &DataType) -> Option<Self> {
        let is_kept = *target != DataType::Float32 || !value.is_finite() || (value as f32).is_finite();
        is_kept.then_some(Self::Float(value))
    }

    /// Digits of an integer as a float that equals it, or is written with the same digits.
    fn of_digits(text: &[u8], target: &DataType) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let value: f64 = text.parse().ok()?;
        let (kept, written) = match target {
            DataType::Float32 => (f64::from(value as f32), (value as f32).to_string()),
            _ => (value, value.to_string()),
        };
        let is_equal = text.parse::<i64>().is_ok_and(|digits| kept as i128 == i128::from(digits));
        (is_equal || written == text).then_some(Self::Float(value))
    }

    /// Bytes that the cell takes in a batch, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 8,
        }
    }
}

/// What a text is that is no cell of `target`, for people.
pub(crate) fn found(text: &[u8], target: &DataType) -> &'static str {
    match (kind(text), target) {
        (INTEGER, DataType::Int8 | DataType::Int16 | DataType::Int32) => "an integer too large for the column",
        (INTEGER | TOO_LARGE, DataType::Float32 | DataType::Float64) => "an integer that the column would round",
        (FRACTION, DataType::Float32) => "a number too large for the column",
        (INTEGER | FRACTION, DataType::Decimal128(_, _)) => "a number with too many digits",
        (kind, _) => kind,
    }
}

/// Digits with at most `scale` places that say something, as an unscaled integer below 10^`precision`.
fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let plain = text.strip_prefix(b"-").unwrap_or(text);
    let point = plain.iter().position(|&byte| byte == b'.').unwrap_or(plain.len());
    let (whole, fraction) = (&plain[..point], plain.get(point + 1..).unwrap_or_default());
    if whole.len() + fraction.len() == 0 || fraction.iter().skip(scale).any(|&byte| byte != b'0') {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', scale.saturating_sub(fraction.len()));
    let value = whole.iter().chain(fraction.iter().take(scale)).chain(padding).try_fold(0_i128, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    let fits = value < 10_i128.checked_pow(u32::from(precision))?;
    fits.then_some(if plain.len() < text.len() { -value } else { value })
}

/// An array in the making.
#[derive(Debug)]
pub(crate) enum Column {
    /// Nothing but NULLs so far.
    Void(usize),
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Days(Date32Builder),
    Micros(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
}

impl Column {
    /// For a type that cells can have; `None` for others.
    pub(crate) fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Void(0),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(Int8Builder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Date32 => Self::Days(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Micros(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::Decimal128(_, _) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            _ => return None,
        })
    }

    /// Appends a cell that was parsed for this column's type; any other is NULL.
    pub(crate) fn append(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Void(rows), _) => *rows += 1,
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Int8(builder), Cell::Integer(value)) => builder.append_option(i8::try_from(value).ok()),
            (Self::Int8(builder), _) => builder.append_null(),
            (Self::Int16(builder), Cell::Integer(value)) => builder.append_option(i16::try_from(value).ok()),
            (Self::Int16(builder), _) => builder.append_null(),
            (Self::Int32(builder), Cell::Integer(value)) => builder.append_option(i32::try_from(value).ok()),
            (Self::Int32(builder), _) => builder.append_null(),
            (Self::Int64(builder), Cell::Integer(value)) => builder.append_value(value),
            (Self::Int64(builder), _) => builder.append_null(),
            (Self::Float32(builder), Cell::Float(value)) => builder.append_value(value as f32),
            (Self::Float32(builder), _) => builder.append_null(),
            (Self::Float64(builder), Cell::Float(value)) => builder.append_value(value),
            (Self::Float64(builder), _) => builder.append_null(),
            (Self::Days(builder), Cell::Days(value)) => builder.append_value(value),
            (Self::Days(builder), _) => builder.append_null(),
            (Self::Micros(builder), Cell::Micros(value)) => builder.append_value(value),
            (Self::Micros(builder), _) => builder.append_null(),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Decimal(builder), _) => builder.append_null(),
            (Self::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Self::Text(builder), _) => builder.append_null(),
        }
    }

    /// The array; the column starts anew.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Void(rows) => Arc::new(NullArray::new(std::mem::take(rows))),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Days(builder) => Arc::new(builder.finish()),
            Self::Micros(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use arrow::datatypes::{DataType, TimeUnit};

    use super::{Cell, Misfit, found};

    #[test]
    fn texts_fit_types_or_say_no() {
        let local = DataType::Timestamp(TimeUnit::Microsecond, None);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let cases: [(&str, &DataType, Result<Cell<'_>, Misfit>); 36] = [
            ("", &DataType::Int64, Ok(Cell::Null)),
            ("", &DataType::Utf8, Ok(Cell::Null)),
            ("007", &DataType::Utf8, Ok(Cell::Text("007".into()))),
            ("007", &DataType::Int64, Err(Misfit::Type)),
            ("128", &DataType::Int8, Err(Misfit::Type)),
            ("1e5", &DataType::Float64, Ok(Cell::Float(1e5))),
            ("x", &DataType::Float64, Err(Misfit::Type)),
            ("", &DataType::Float64, Ok(Cell::Null)),
            ("-", &DataType::Float64, Err(Misfit::Type)),
            ("--1", &DataType::Float64, Err(Misfit::Type)),
            ("007", &DataType::Float64, Ok(Cell::Float(7.0))),
            ("9007199254740992", &DataType::Float64, Ok(Cell::Float(9_007_199_254_740_992.0))),
            ("9007199254740993", &DataType::Float64, Err(Misfit::Type)),
            ("-9007199254740994", &DataType::Float64, Ok(Cell::Float(-9_007_199_254_740_994.0))),
            ("9223372036854775807", &DataType::Float64, Err(Misfit::Type)),
            ("12345678901234567000", &DataType::Float64, Ok(Cell::Float(12_345_678_901_234_567_000.0))),
            ("12345678901234567890", &DataType::Float64, Err(Misfit::Type)),
            ("1e300", &DataType::Float64, Ok(Cell::Float(1e300))),
            ("1e400", &DataType::Float64, Err(Misfit::Type)),
            ("-inf", &DataType::Float64, Ok(Cell::Float(f64::NEG_INFINITY))),
            ("16777216", &DataType::Float32, Ok(Cell::Float(16_777_216.0))),
            ("16777217", &DataType::Float32, Err(Misfit::Type)),
            ("16777218", &DataType::Float32, Ok(Cell::Float(16_777_218.0))),
            ("1e300", &DataType::Float32, Err(Misfit::Type)),
            ("0.1", &DataType::Float32, Ok(Cell::Float(0.1))),
            ("inf", &DataType::Float32, Ok(Cell::Float(f64::INFINITY))),
            ("TRUE", &DataType::Boolean, Ok(Cell::Boolean(true))),
            ("1", &DataType::Boolean, Err(Misfit::Type)),
            ("1970-01-02", &local, Ok(Cell::Micros(86_400_000_000))),
            ("1970-01-02", &utc, Err(Misfit::Type)),
            ("1970-01-02T00:00Z", &local, Err(Misfit::Type)),
            ("1970-01-01T00:00Z", &utc, Ok(Cell::Micros(0))),
            ("-1.50", &DataType::Decimal128(5, 2), Ok(Cell::Decimal(-150))),
            ("1.505", &DataType::Decimal128(5, 2), Err(Misfit::Type)),
            ("1000", &DataType::Decimal128(5, 2), Err(Misfit::Type)),
            ("18446744073709551615", &DataType::Decimal128(20, 0), Ok(Cell::Decimal(18_446_744_073_709_551_615))),
        ];
        for (text, target, expected) in cases {
            assert_eq!(Cell::parse(Cow::Borrowed(text.as_bytes()), target), expected, "{text} as {target}");
        }
        let zero = Cell::parse(Cow::Borrowed(b"-0"), &DataType::Float64);
        assert!(matches!(zero, Ok(Cell::Float(zero)) if zero.is_sign_negative()), "{zero:?}");
        assert_eq!(found(b"128", &DataType::Int8), "an integer too large for the column");
        assert_eq!(found(b"9007199254740993", &DataType::Float64), "an integer that the column would round");
        assert_eq!(found(b"12345678901234567890", &DataType::Float64), "an integer that the column would round");
        assert_eq!(found(b"1e300", &DataType::Float32), "a number too large for the column");
        assert_eq!(found(b"1.505", &DataType::Decimal128(5, 2)), "a number with too many digits");
        assert_eq!(found(b"x", &DataType::Int8), "text");
        assert_eq!(Cell::parse(Cow::Borrowed(&[0xff]), &DataType::Utf8), Err(Misfit::Encoding));
    }
}
