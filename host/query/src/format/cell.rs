//! One column, written value by value.
//!
//! **Invariant**: the type is looked at once a batch; a value is then written by one call, without an intermediate.

mod moments;
mod nested;

use std::io::Write;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericByteArray, GenericByteViewArray, PrimitiveArray,
    types::{
        BinaryViewType, ByteArrayType, ByteViewType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DecimalType,
        Float16Type, Float32Type, Float64Type, GenericBinaryType, GenericStringType, Int8Type, Int16Type, Int32Type, Int64Type,
        StringViewType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use self::{
    moments::{Clock, Days, MillisAsDate, Stamp},
    nested::{Dictionary, List, Map, Struct},
};
use super::json::escape;
use crate::QueryError;

/// Writes the values of one column. Rows that are NULL are never asked for.
pub(super) trait Cell {
    /// As JSON.
    fn json(&self, row: usize, out: &mut Vec<u8>);

    /// As plain text, for CSV.
    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        self.json(row, out);
    }
}

/// A column and its NULLs.
pub(super) struct Column<'a> {
    nulls: Option<arrow::buffer::NullBuffer>,
    cell: Box<dyn Cell + 'a>,
}

impl std::fmt::Debug for Column<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").finish_non_exhaustive()
    }
}

impl<'a> Column<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Result<Self, QueryError> {
        Ok(Self { nulls: array.logical_nulls(), cell: cell(array)? })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn json(&self, row: usize, out: &mut Vec<u8>) {
        self.cell.json(row, out);
    }

    pub(super) fn plain(&self, row: usize, out: &mut Vec<u8>) {
        self.cell.plain(row, out);
    }
}

/// The writer of a column's type.
fn cell(array: &ArrayRef) -> Result<Box<dyn Cell + '_>, QueryError> {
    macro_rules! integer {
        ($type:ty) => {
            Box::new(Integer::<$type>(array.as_primitive()))
        };
    }
    macro_rules! clock {
        ($type:ty, $nanos:expr) => {
            Box::new(Clock::<$type> { values: array.as_primitive(), nanos: $nanos })
        };
    }
    macro_rules! stamp {
        ($type:ty, $per_second:expr, $zone:expr) => {
            Box::new(Stamp::<$type> { values: array.as_primitive(), per_second: $per_second, zoned: $zone.is_some() })
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Box::new(Nothing),
        DataType::Boolean => Box::new(Boolean(array.as_boolean())),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float16 => Box::new(Float::<Float16Type>(array.as_primitive())),
        DataType::Float32 => Box::new(Float::<Float32Type>(array.as_primitive())),
        DataType::Float64 => Box::new(Float::<Float64Type>(array.as_primitive())),
        DataType::Decimal128(..) => Box::new(Decimal::<Decimal128Type>(array.as_primitive())),
        DataType::Decimal256(..) => Box::new(Decimal::<Decimal256Type>(array.as_primitive())),
        DataType::Utf8 => Box::new(Text::<GenericStringType<i32>>(array.as_bytes())),
        DataType::LargeUtf8 => Box::new(Text::<GenericStringType<i64>>(array.as_bytes())),
        DataType::Utf8View => Box::new(TextView(array.as_byte_view::<StringViewType>())),
        DataType::Binary => Box::new(Bytes::<GenericBinaryType<i32>>(array.as_bytes())),
        DataType::LargeBinary => Box::new(Bytes::<GenericBinaryType<i64>>(array.as_bytes())),
        DataType::BinaryView => Box::new(BytesView(array.as_byte_view::<BinaryViewType>())),
        DataType::FixedSizeBinary(_) => Box::new(FixedBytes(array.as_fixed_size_binary())),
        DataType::Date32 => Box::new(Days(array.as_primitive::<Date32Type>())),
        DataType::Date64 => Box::new(MillisAsDate(array.as_primitive::<Date64Type>())),
        DataType::Time32(TimeUnit::Second) => clock!(Time32SecondType, 1_000_000_000),
        DataType::Time32(_) => clock!(Time32MillisecondType, 1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => clock!(Time64MicrosecondType, 1_000),
        DataType::Time64(_) => clock!(Time64NanosecondType, 1),
        DataType::Timestamp(TimeUnit::Second, zone) => stamp!(TimestampSecondType, 1, zone),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => stamp!(TimestampMillisecondType, 1_000, zone),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => stamp!(TimestampMicrosecondType, 1_000_000, zone),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => stamp!(TimestampNanosecondType, 1_000_000_000, zone),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets().iter().map(|at| usize::try_from(*at).unwrap_or(0)).collect();
            Box::new(List { offsets, items: Column::new(list.values())? })
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets().iter().map(|at| usize::try_from(*at).unwrap_or(0)).collect();
            Box::new(List { offsets, items: Column::new(list.values())? })
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            let length = usize::try_from(*length).unwrap_or(0);
            let offsets = (0..=list.len()).map(|row| (row + list.offset()) * length).collect();
            Box::new(List { offsets, items: Column::new(list.values())? })
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(Column::new).collect::<Result<_, _>>()?;
            let names = fields.iter().map(|field| member_name(field.name())).collect();
            Box::new(Struct { names, columns })
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let offsets = map.value_offsets().iter().map(|at| usize::try_from(*at).unwrap_or(0)).collect();
            Box::new(Map { offsets, keys: Column::new(map.keys())?, values: Column::new(map.values())? })
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let places = cast(dictionary.keys(), &DataType::Int64).map_err(|error| QueryError::arrow(&error))?;
            let places = places.as_primitive::<Int64Type>().values().iter().map(|at| usize::try_from(*at).unwrap_or(0)).collect();
            Box::new(Dictionary { places, values: Column::new(dictionary.values())? })
        }
        _ => Box::new(Other(ArrayFormatter::try_new(array, &OTHER).map_err(|error| QueryError::arrow(&error))?)),
    })
}

const OTHER: FormatOptions<'static> = FormatOptions::new();

/// `"name":` with its escapes.
pub(super) fn member_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    escape(name.as_bytes(), &mut out);
    out.push(b':');
    out
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

struct Nothing;

impl Cell for Nothing {
    fn json(&self, _row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }
}

struct Boolean<'a>(&'a BooleanArray);

impl Cell for Boolean<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.0.value(row) { b"true" } else { b"false" });
    }
}

struct Integer<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Cell for Integer<'_, T>
where
    T::Native: Into<i128>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        let value: i128 = self.0.value(row).into();
        // Every integer type but a large u64 fits 64 bits, where division is cheap.
        match i64::try_from(value) {
            Ok(value) => {
                if value < 0 {
                    out.push(b'-');
                }
                digits(value.unsigned_abs(), out);
            }
            Err(_) => digits(u64::try_from(value).unwrap_or(u64::MAX), out),
        }
    }
}

fn digits(mut value: u64, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

struct Float<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Float<'_, T>
where
    T::Native: std::fmt::Debug + Into<f64>,
{
    fn write(&self, row: usize, out: &mut Vec<u8>, json: bool) {
        let value = self.0.value(row);
        let wide: f64 = value.into();
        if wide.is_finite() {
            // Debug gives the shortest digits that read back the same, with an exponent where that is shorter.
            let _ = write!(out, "{value:?}");
            return;
        }
        let text: &[u8] = match wide {
            wide if wide.is_nan() => b"NaN",
            wide if wide > 0.0 => b"Infinity",
            _ => b"-Infinity",
        };
        if json { quoted(out, |out| out.extend_from_slice(text)) } else { out.extend_from_slice(text) }
    }
}

impl<T: ArrowPrimitiveType> Cell for Float<'_, T>
where
    T::Native: std::fmt::Debug + Into<f64>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        self.write(row, out, true);
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        self.write(row, out, false);
    }
}

struct Decimal<'a, T: DecimalType>(&'a PrimitiveArray<T>);

impl<T: DecimalType> Cell for Decimal<'_, T> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.value_as_string(row).as_bytes());
    }
}

struct Text<'a, T: ByteArrayType>(&'a GenericByteArray<T>);

impl<T: ByteArrayType> Cell for Text<'_, T>
where
    T::Native: AsRef<[u8]>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        let value: &[u8] = self.0.value(row).as_ref();
        escape(value, out);
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        let value: &[u8] = self.0.value(row).as_ref();
        out.extend_from_slice(value);
    }
}

struct TextView<'a, T: ByteViewType>(&'a GenericByteViewArray<T>);

impl<T: ByteViewType> Cell for TextView<'_, T>
where
    T::Native: AsRef<[u8]>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        let value: &[u8] = self.0.value(row).as_ref();
        escape(value, out);
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        let value: &[u8] = self.0.value(row).as_ref();
        out.extend_from_slice(value);
    }
}

fn base64(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(value).as_bytes());
}

struct Bytes<'a, T: ByteArrayType>(&'a GenericByteArray<T>);

impl<T: ByteArrayType> Cell for Bytes<'_, T>
where
    T::Native: AsRef<[u8]>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        base64(self.0.value(row).as_ref(), out);
    }
}

struct BytesView<'a>(&'a GenericByteViewArray<BinaryViewType>);

impl Cell for BytesView<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        base64(self.0.value(row), out);
    }
}

struct FixedBytes<'a>(&'a arrow::array::FixedSizeBinaryArray);

impl Cell for FixedBytes<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        base64(self.0.value(row), out);
    }
}

/// Durations, intervals, unions: as Arrow prints them.
struct Other<'a>(ArrayFormatter<'a>);

impl Cell for Other<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        escape(self.0.value(row).to_string().as_bytes(), out);
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        let _ = write!(out, "{}", self.0.value(row));
    }
}
