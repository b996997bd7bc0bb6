//! The one table of types: what Arrow brings, what Delta stores, what people read; and how a dataset's schema grows.
//!
//! | Arrow | stored |
//! |---|---|
//! | signed integers, `Float32/64`, `Boolean`, `Date32`, `Decimal128` (scale 0 to precision) | as they are |
//! | unsigned 8, 16, 32 bits | the next wider signed integer |
//! | unsigned 64 bits | `Decimal128(20, 0)` |
//! | `Float16` | `Float32` |
//! | text of any layout, dictionaries and runs of it | `Utf8` |
//! | binary of any layout | `Binary` |
//! | timestamps of any unit | microseconds; with a zone: UTC |
//! | `Date64` | `Date32` |
//! | `Decimal32/64`, `Decimal256` up to 38 digits | `Decimal128` |
//! | wider decimals, times of day, columns that are all NULL | `Utf8` |
//! | lists of any layout, structs, maps | lists, structs, maps of stored types |
//! | intervals, durations, unions, negative scales, structs without fields | refused |
//!
//! **Invariant**: a conversion keeps every value or is refused; nanoseconds alone are cut to microseconds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use lakehouse_types::ColumnName;

use crate::TableError;

/// Columns that a dataset may have; members of objects do not count.
pub const MAX_COLUMNS: usize = 4096;

/// The type in which a table stores values of `data_type`; `None` if it cannot.
pub fn storable(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match data_type {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => data_type.clone(),
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Time32(_) | T::Time64(_) => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 => T::Date32,
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            let scale = u8::try_from(*s).ok().filter(|scale| scale <= p)?;
            if *p <= 38 { T::Decimal128(*p, scale.cast_signed()) } else { T::Utf8 }
        }
        T::Dictionary(_, values) => storable(values)?,
        T::RunEndEncoded(_, values) => storable(values.data_type())?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            list_of(storable(item.data_type())?)
        }
        T::Struct(fields) if !fields.is_empty() => {
            let stored = |field: &FieldRef| Some(Field::new(field.name(), storable(field.data_type())?, true));
            T::Struct(fields.iter().map(stored).collect::<Option<Fields>>()?)
        }
        T::Map(entries, _) => {
            let T::Struct(pair) = entries.data_type() else { return None };
            let [key, value] = pair.as_ref() else { return None };
            map_of(storable(key.data_type())?, storable(value.data_type())?)
        }
        T::Struct(_) | T::Duration(_) | T::Interval(_) | T::Union(_, _) => return None,
    })
}

/// A list as Delta's Arrow mapping names its item.
fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

/// A map as Delta's Arrow mapping names its parts.
fn map_of(key: DataType, value: DataType) -> DataType {
    let pair = DataType::Struct(vec![Field::new("key", key, false), Field::new("value", value, true)].into());
    DataType::Map(Arc::new(Field::new("key_value", pair, false)), false)
}

/// The name of a type for people.
pub fn friendly(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Boolean => "boolean".to_owned(),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => "integer".to_owned(),
        T::Float16 | T::Float32 | T::Float64 => "float".to_owned(),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text".to_owned(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary".to_owned(),
        T::Date32 | T::Date64 => "date".to_owned(),
        T::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        T::Timestamp(_, None) => "timestamp without zone".to_owned(),
        T::Time32(_) | T::Time64(_) => "time".to_owned(),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => format!("decimal({p}, {s})"),
        T::Dictionary(_, values) => friendly(values),
        T::RunEndEncoded(_, values) => friendly(values.data_type()),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            format!("list of {}", friendly(item.data_type()))
        }
        T::Struct(fields) => {
            let parts: Vec<String> =
                fields.iter().map(|field| format!("{}: {}", field.name(), friendly(field.data_type()))).collect();
            format!("object({})", parts.join(", "))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 => format!("map of {}", friendly(pair[1].data_type())),
            _ => "map".to_owned(),
        },
        T::Null => "nothing".to_owned(),
        T::Duration(_) => "duration".to_owned(),
        T::Interval(_) => "interval".to_owned(),
        T::Union(_, _) => "union".to_owned(),
    }
}

/// The type in which scans hand out values of a stored type: text and binary as views, which DataFusion reads fastest.
pub(crate) fn scanned(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        DataType::Binary => Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView)),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Fields>()))
}

/// Whether every value of `given` (a storable type) is a value of `stored`.
fn fits(stored: &DataType, given: &DataType) -> bool {
    use DataType as T;
    let digits = |integer: &T| match integer {
        T::Int8 => Some(3),
        T::Int16 => Some(5),
        T::Int32 => Some(10),
        T::Int64 => Some(19),
        _ => None,
    };
    match (stored, given) {
        (T::Decimal128(p, s), T::Decimal128(q, t)) => s >= t && i16::from(*p) - i16::from(*s) >= i16::from(*q) - i16::from(*t),
        (T::Decimal128(p, s), integer) => digits(integer).is_some_and(|digits| i16::from(*p) - i16::from(*s) >= digits),
        (T::Float64, T::Float32 | T::Int8 | T::Int16 | T::Int32) | (T::Float32, T::Int8 | T::Int16) => true,
        (T::List(stored), T::List(given)) => fits(stored.data_type(), given.data_type()),
        (T::Struct(stored), T::Struct(given)) => {
            let stored: HashMap<&str, &DataType> =
                stored.iter().map(|field| (field.name().as_str(), field.data_type())).collect();
            given.iter().all(|given| stored.get(given.name().as_str()).is_some_and(|stored| fits(stored, given.data_type())))
        }
        _ => stored == given || digits(stored).zip(digits(given)).is_some_and(|(stored, given)| stored > given),
    }
}

/// Whether values of this stored type can identify rows: text and integers, those of unsigned 64 bits among them.
pub(crate) fn is_key_type(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Utf8 | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Decimal128(_, 0))
}

/// Whether nothing but NULLs can be in a column of this type.
fn is_void(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Null)
}

/// Checks that the columns of an input can be columns of a table, and the members of their objects members.
pub(crate) fn check_names(schema: &Schema) -> Result<(), TableError> {
    if schema.fields().is_empty() {
        return Err(TableError::NoColumns);
    }
    if let Some(index) = schema.fields().iter().position(|field| ColumnName::new(field.name()).is_err()) {
        return Err(TableError::InvalidColumnName { position: index + 1 });
    }
    check_twins(schema.fields(), "")?;
    schema.fields().iter().try_for_each(|field| check_members(field.data_type(), field.name()))
}

/// `place` stands before the names: empty, or the object with a dot.
fn check_twins(fields: &Fields, place: &str) -> Result<(), TableError> {
    let mut seen: HashMap<String, &str> = HashMap::with_capacity(fields.len());
    for field in fields {
        if let Some(first) = seen.insert(field.name().to_lowercase(), field.name()) {
            return Err(TableError::DuplicateColumn {
                first: format!("{place}{first}"),
                second: format!("{place}{}", field.name()),
            });
        }
    }
    Ok(())
}

/// The members of all objects in a type. Items of lists and parts of maps get the names that Delta has for them.
fn check_members(data_type: &DataType, place: &str) -> Result<(), TableError> {
    use DataType as T;
    match data_type {
        T::Struct(fields) => {
            if fields.iter().any(|field| ColumnName::new(field.name()).is_err()) {
                return Err(TableError::InvalidMemberName { column: place.to_owned() });
            }
            check_twins(fields, &format!("{place}."))?;
            fields.iter().try_for_each(|field| check_members(field.data_type(), &format!("{place}.{}", field.name())))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) => pair.iter().try_for_each(|part| check_members(part.data_type(), place)),
            _ => Ok(()),
        },
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            check_members(item.data_type(), place)
        }
        T::RunEndEncoded(_, values) => check_members(values.data_type(), place),
        T::Dictionary(_, values) => check_members(values, place),
        _ => Ok(()),
    }
}

/// The stored schema after rows of `given` came to a dataset of `stored`: its columns, then the new ones.
///
/// `row` is the row of the input (from 1) at which the batch with schema `given` starts.
pub(crate) fn widen(stored: Option<&Schema>, given: &Schema, row: u64) -> Result<SchemaRef, TableError> {
    check_names(given)?;
    let mut fields: Vec<FieldRef> = stored.map(|stored| stored.fields().iter().cloned().collect()).unwrap_or_default();
    let mut places: HashMap<String, usize> =
        fields.iter().enumerate().map(|(place, field)| (field.name().to_lowercase(), place)).collect();
    for field in given.fields() {
        let unstorable = || TableError::UnstorableType { column: field.name().clone(), given: friendly(field.data_type()) };
        let wanted = storable(field.data_type()).ok_or_else(unstorable)?;
        let lower = field.name().to_lowercase();
        match places.get(&lower).map(|&place| &fields[place]) {
            Some(stored) if stored.name() != field.name() => {
                return Err(TableError::NameConflict { stored: stored.name().clone(), given: field.name().clone() });
            }
            Some(stored) if is_void(field.data_type()) || fits(stored.data_type(), &wanted) => {}
            Some(stored) => {
                return Err(TableError::SchemaConflict {
                    column: field.name().clone(),
                    row,
                    stored: friendly(stored.data_type()),
                    given: friendly(field.data_type()),
                });
            }
            None if fields.len() >= MAX_COLUMNS => return Err(TableError::TooManyColumns { limit: MAX_COLUMNS }),
            None => {
                places.insert(lower, fields.len());
                fields.push(Arc::new(Field::new(field.name(), wanted, true)));
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The batch with the columns and types of `schema`, which [`widen`] made: missing columns are NULL.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef, row: u64) -> Result<RecordBatch, TableError> {
    let given = batch.schema_ref().fields().iter().zip(batch.columns());
    let given: HashMap<&str, &ArrayRef> = given.map(|(field, values)| (field.name().as_str(), values)).collect();
    let column = |field: &FieldRef| match given.get(field.name().as_str()) {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(values) => adapt(values, field.data_type()).map_err(|_| TableError::OutOfRange {
            column: field.name().clone(),
            row,
            target: friendly(field.data_type()),
        }),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn adapt(values: &ArrayRef, target: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    use DataType as T;
    const CHECKED: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };
    match (values.data_type(), target) {
        (given, target) if given == target => Ok(Arc::clone(values)),
        (T::Null, _) => Ok(new_null_array(target, values.len())),
        (T::Struct(_), T::Struct(fields)) => {
            let given = values.as_struct();
            let parts: HashMap<&str, &ArrayRef> = given.column_names().into_iter().zip(given.columns()).collect();
            let part = |field: &FieldRef| match parts.get(field.name().as_str()) {
                Some(part) => adapt(part, field.data_type()),
                None => Ok(new_null_array(field.data_type(), given.len())),
            };
            let parts = fields.iter().map(part).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), parts, given.nulls().cloned())?))
        }
        (T::List(_), T::List(item)) => {
            let given = values.as_list::<i32>();
            let items = adapt(given.values(), item.data_type())?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), given.offsets().clone(), items, given.nulls().cloned())?))
        }
        (T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item), T::List(_)) => {
            let plain = cast_with_options(values, &T::List(Arc::clone(item)), &CHECKED)?;
            adapt(&plain, target)
        }
        _ => cast_with_options(values, target, &CHECKED),
    }
}

#[cfg(test)]
mod tests;
