//! Binary values become Arrow arrays.
//!
//! **Invariant**: a value is kept as it is or refused; none is rounded, cut or replaced.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::array::items;
use super::kind::Kind;
use super::numeric::unscaled;

/// A value in another form than its type has.
pub(super) const BROKEN: &str = "not in the form of its type";
/// Days and microseconds from 1970 to 2000, where PostgreSQL counts from.
const DAYS_TO_2000: i32 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * DAY_MICROS;
/// The days of the years 1 to 9999, counted from 1970: what tables and their readers agree on.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;

/// An array in the making.
#[derive(Debug)]
pub(super) enum Column {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal { builder: Decimal128Builder, precision: u8, scale: u8 },
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Micros(TimestampMicrosecondBuilder),
    List { item: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder, items: Box<Column> },
}

impl Column {
    pub(super) fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::Int16 => Self::Int16(Int16Builder::new()),
            Kind::Int32 => Self::Int32(Int32Builder::new()),
            Kind::Int64 => Self::Int64(Int64Builder::new()),
            Kind::Oid => Self::Oid(Int64Builder::new()),
            Kind::Float32 => Self::Float32(Float32Builder::new()),
            Kind::Float64 => Self::Float64(Float64Builder::new()),
            Kind::Decimal { precision, scale } => {
                let builder = Decimal128Builder::new().with_data_type(kind.data_type());
                Self::Decimal { builder, precision: *precision, scale: *scale }
            }
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Binary => Self::Binary(BinaryBuilder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Timestamp | Kind::Instant => Self::Micros(TimestampMicrosecondBuilder::new().with_data_type(kind.data_type())),
            Kind::List(item) => Self::List {
                item: match kind.data_type() {
                    DataType::List(field) => field,
                    other => Arc::new(arrow::datatypes::Field::new_list_field(other, true)),
                },
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
                items: Box::new(Self::new(item)),
            },
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// What the value is, for people. The column is then good for nothing.
    pub(super) fn append(&mut self, raw: Option<&[u8]>) -> Result<(), &'static str> {
        let Some(raw) = raw else {
            self.append_null();
            return Ok(());
        };
        match self {
            Self::Boolean(builder) => builder.append_value(fixed::<1>(raw)? != [0]),
            Self::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(raw)?)),
            Self::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(raw)?)),
            Self::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(raw)?)),
            Self::Oid(builder) => builder.append_value(u32::from_be_bytes(fixed(raw)?).into()),
            Self::Float32(builder) => builder.append_value(f32::from_be_bytes(fixed(raw)?)),
            Self::Float64(builder) => builder.append_value(f64::from_be_bytes(fixed(raw)?)),
            Self::Decimal { builder, precision, scale } => builder.append_value(unscaled(raw, *precision, *scale)?),
            Self::Text(builder) => builder.append_value(std::str::from_utf8(raw).map_err(|_| "no UTF-8 text")?),
            Self::Binary(builder) => builder.append_value(raw),
            Self::Date(builder) => builder.append_value(date(i32::from_be_bytes(fixed(raw)?))?),
            Self::Micros(builder) => builder.append_value(moment(i64::from_be_bytes(fixed(raw)?))?),
            Self::List { offsets, nulls, items: column, .. } => {
                let values = items(raw)?;
                for value in &values {
                    column.append(*value)?;
                }
                let grown = i32::try_from(values.len()).map_err(|_| BROKEN)?;
                let end =
                    offsets.last().copied().unwrap_or_default().checked_add(grown).ok_or("an array too long for a batch")?;
                offsets.push(end);
                nulls.append(true);
            }
        }
        Ok(())
    }

    fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) | Self::Oid(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal { builder, .. } => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Micros(builder) => builder.append_null(),
            Self::List { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or_default());
                nulls.append(false);
            }
        }
    }

    /// The array; the column starts anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) | Self::Oid(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal { builder, .. } => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Micros(builder) => Arc::new(builder.finish()),
            Self::List { item, offsets, nulls, items } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                Arc::new(ListArray::try_new(Arc::clone(item), offsets, items.finish()?, nulls.finish())?)
            }
        })
    }
}

/// A value of fixed width.
pub(super) fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], &'static str> {
    raw.try_into().map_err(|_| BROKEN)
}

/// Days since 2000 as days since 1970.
fn date(days: i32) -> Result<i32, &'static str> {
    match days {
        i32::MAX | i32::MIN => Err("an infinite date"),
        days => days
            .checked_add(DAYS_TO_2000)
            .filter(|days| (FIRST_DAY..=LAST_DAY).contains(days))
            .ok_or("a date beyond the years 1 to 9999"),
    }
}

/// Microseconds since 2000 as microseconds since 1970.
fn moment(micros: i64) -> Result<i64, &'static str> {
    match micros {
        i64::MAX | i64::MIN => Err("an infinite timestamp"),
        micros => micros
            .checked_add(MICROS_TO_2000)
            .filter(|micros| (i64::from(FIRST_DAY)..=i64::from(LAST_DAY)).contains(&micros.div_euclid(DAY_MICROS)))
            .ok_or("a timestamp beyond the years 1 to 9999"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::{DAYS_TO_2000, FIRST_DAY, LAST_DAY, date, moment};

    #[test]
    fn the_calendar_is_bounded_where_it_says() {
        let days = |year, month, day| {
            let date = NaiveDate::from_ymd_opt(year, month, day).unwrap();
            i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).unwrap()
        };
        assert_eq!((days(2000, 1, 1), days(1, 1, 1), days(9999, 12, 31)), (DAYS_TO_2000, FIRST_DAY, LAST_DAY));
        assert_eq!(date(0), Ok(DAYS_TO_2000));
        assert_eq!(date(LAST_DAY - DAYS_TO_2000), Ok(LAST_DAY));
        assert!(date(LAST_DAY - DAYS_TO_2000 + 1).is_err() && date(i32::MAX).is_err() && date(i32::MAX - 1).is_err());
        assert_eq!(moment(-946_684_800_000_000), Ok(0));
        assert!(moment(i64::MIN).is_err() && moment(i64::MAX - 1).is_err() && moment(i64::MIN + 1).is_err());
    }
}
