//! JSON values become Arrow arrays.
//!
//! **Invariant**: [`Builder::append`] is given only what is no [`Builder::misfit`], so that every column grows by one a row.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::value::Value;
use crate::column::{Cell, Column, found};

/// An array in the making.
#[derive(Debug)]
pub(super) enum Builder {
    Scalar { data_type: DataType, column: Column },
    List { item: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder, items: Box<Builder> },
    Object { fields: Fields, nulls: NullBufferBuilder, members: Vec<Builder>, rows: usize },
}

impl Builder {
    /// For a type that JSON can hold; `None` for others.
    pub(super) fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::List(item) => Self::List {
                item: Arc::clone(item),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
                items: Box::new(Self::new(item.data_type())?),
            },
            DataType::Struct(fields) => Self::Object {
                fields: fields.clone(),
                nulls: NullBufferBuilder::new(0),
                members: fields.iter().map(|field| Self::new(field.data_type())).collect::<Option<_>>()?,
                rows: 0,
            },
            _ => Self::Scalar { data_type: data_type.clone(), column: Column::new(data_type)? },
        })
    }

    /// What the value, or one in it, is that this type does not take, for people; `None` for a value of this type.
    pub(super) fn misfit(&self, value: &Value) -> Option<&'static str> {
        match (self, value) {
            (_, Value::Null) => None,
            (Self::Scalar { data_type, .. }, value) if cell(value, data_type).is_some() => None,
            (Self::Scalar { data_type, .. }, value) => Some(kind(value, data_type)),
            (Self::List { items, .. }, Value::List(values)) => values.iter().find_map(|value| items.misfit(value)),
            (Self::Object { fields, members, .. }, Value::Object(object)) => {
                object.iter().find_map(|(name, value)| match fields.iter().zip(members).find(|(field, _)| field.name() == name) {
                    Some((_, member)) => member.misfit(value),
                    None => Some("an object with another member"),
                })
            }
            (_, value) => Some(kind(value, &DataType::Null)),
        }
    }

    pub(super) fn append(&mut self, value: &Value) {
        match self {
            Self::Scalar { data_type, column } => column.append(cell(value, data_type).unwrap_or(Cell::Null)),
            Self::List { offsets, nulls, items, .. } => {
                let values = if let Value::List(values) = value { Some(values) } else { None };
                values.into_iter().flatten().for_each(|value| items.append(value));
                let last = offsets.last().copied().unwrap_or_default();
                let grown = values.map_or(0, |values| i32::try_from(values.len()).unwrap_or(i32::MAX));
                offsets.push(last.saturating_add(grown));
                nulls.append(values.is_some());
            }
            Self::Object { fields, nulls, members, rows } => {
                let object = if let Value::Object(object) = value { Some(object) } else { None };
                for (field, member) in fields.iter().zip(members) {
                    member.append(object.and_then(|object| object.get(field.name())).unwrap_or(&Value::Null));
                }
                nulls.append(object.is_some());
                *rows += 1;
            }
        }
    }

    /// The array; the builder starts anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Scalar { column, .. } => column.finish(),
            Self::List { item, offsets, nulls, items } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                Arc::new(ListArray::try_new(Arc::clone(item), offsets, items.finish()?, nulls.finish())?)
            }
            Self::Object { fields, nulls, members, rows } => {
                let arrays = members.iter_mut().map(Self::finish).collect::<Result<_, _>>()?;
                let length = std::mem::take(rows);
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls.finish(), length)?)
            }
        })
    }
}

/// What the value is, for people.
fn kind(value: &Value, target: &DataType) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Boolean(_) => "a boolean",
        Value::Number(number) => found(number.to_string().as_bytes(), target),
        Value::Long(digits) => found(digits.as_bytes(), target),
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The value as a cell of `target`; `None` if it is no such value.
fn cell<'a>(value: &'a Value, target: &DataType) -> Option<Cell<'a>> {
    use DataType as T;
    Some(match (value, target) {
        (Value::Null, _) => Cell::Null,
        (Value::Text(text), T::Utf8) => Cell::Text(Cow::Borrowed(text)),
        (other, T::Utf8) => Cell::Text(Cow::Owned(other.to_string())),
        (Value::Boolean(value), T::Boolean) => Cell::Boolean(*value),
        (Value::Number(number), T::Int8 | T::Int16 | T::Int32 | T::Int64) => Cell::of_integer(number.as_i64()?, target)?,
        (Value::Number(number), T::Float32 | T::Float64) => match number.as_i64() {
            Some(value) => Cell::of_integer(value, target)?,
            None if number.is_f64() => Cell::of_float(number.as_f64()?, target)?,
            None => Cell::of_text(number.to_string().as_bytes(), target)?,
        },
        (Value::Number(number), T::Decimal128(_, _)) => Cell::of_text(number.to_string().as_bytes(), target)?,
        (Value::Long(digits), T::Float32 | T::Float64 | T::Decimal128(_, _)) => Cell::of_text(digits.as_bytes(), target)?,
        (Value::Text(text), T::Date32 | T::Timestamp(_, _) | T::Decimal128(_, _)) => Cell::of_text(text.as_bytes(), target)?,
        _ => return None,
    })
}
