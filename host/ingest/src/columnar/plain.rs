//! Columns without what a table would expand.
//!
//! A slice of a list, a run or a list view still holds the values of the whole batch, and a table converts all that it is given.
//!
//! **Invariant**: what is in a plain column belongs to its rows, but for plain values of a dictionary and the bytes behind views; its
//! text is UTF-8.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;

/// The batch with nothing in it but its rows.
pub(super) fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(plain_column).collect::<Result<Vec<_>, _>>()?;
    let fields: Fields = batch.schema_ref().fields().iter().zip(&columns).map(|(field, column)| of_type(field, column)).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
}

/// The schema in which text and binary are views, which share what a dictionary holds, and dictionaries are what is in them.
pub(super) fn viewed(schema: &Schema) -> Schema {
    Schema::new_with_metadata(viewed_fields(schema.fields()), schema.metadata().clone())
}

fn viewed_fields(fields: &Fields) -> Fields {
    fields.iter().map(viewed_field).collect()
}

fn viewed_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(viewed_type(field.data_type())))
}

fn viewed_type(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Utf8 | T::LargeUtf8 => T::Utf8View,
        T::Binary | T::LargeBinary => T::BinaryView,
        T::Dictionary(_, values) => viewed_type(values),
        T::List(item) => T::List(viewed_field(item)),
        T::LargeList(item) => T::LargeList(viewed_field(item)),
        T::ListView(item) => T::ListView(viewed_field(item)),
        T::LargeListView(item) => T::LargeListView(viewed_field(item)),
        T::FixedSizeList(item, size) => T::FixedSizeList(viewed_field(item), *size),
        T::Map(entries, is_sorted) => T::Map(viewed_field(entries), *is_sorted),
        T::Struct(fields) => T::Struct(viewed_fields(fields)),
        other => other.clone(),
    }
}

fn plain_column(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use DataType as T;
    Ok(match array.data_type() {
        T::List(item) => plain_list::<i32>(array, item)?,
        T::LargeList(item) => plain_list::<i64>(array, item)?,
        T::ListView(item) => plain_column(&cast(array, &T::List(Arc::clone(item)))?)?,
        T::LargeListView(item) => plain_column(&cast(array, &T::LargeList(Arc::clone(item)))?)?,
        T::FixedSizeList(item, size) => {
            let list = array.as_fixed_size_list();
            let values = plain_column(list.values())?;
            let (item, nulls) = (of_type(item, &values), list.nulls().cloned());
            Arc::new(FixedSizeListArray::try_new_with_length(item, *size, values, nulls, list.len())?)
        }
        T::Map(entries, is_sorted) => {
            let map = array.as_map();
            let (offsets, start, length) = rebased(map.offsets());
            let pairs = plain_column(&(Arc::new(map.entries().slice(start, length)) as ArrayRef))?;
            let (entries, nulls) = (of_type(entries, &pairs), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries, offsets, pairs.as_struct().clone(), nulls, *is_sorted)?)
        }
        T::Struct(fields) => {
            let object = array.as_struct();
            let members = object.columns().iter().map(plain_column).collect::<Result<Vec<_>, _>>()?;
            let fields: Fields = fields.iter().zip(&members).map(|(field, member)| of_type(field, member)).collect();
            Arc::new(StructArray::try_new_with_length(fields, members, object.nulls().cloned(), object.len())?)
        }
        T::RunEndEncoded(_, values) => plain_column(&cast(array, values.data_type())?)?,
        T::Dictionary(_, values) if !is_its_own(values) => {
            let dictionary = array.as_any_dictionary();
            plain_column(&take(dictionary.values(), dictionary.keys(), None)?)?
        }
        T::Utf8View => {
            // The Parquet reader does not look at text that is only by its Arrow type text, nor at JSON.
            let bytes = array.as_string_view().clone().to_binary_view();
            let is_text = bytes.iter().flatten().all(|value| std::str::from_utf8(value).is_ok());
            if !is_text {
                return Err(ArrowError::InvalidArgumentError("text is not UTF-8".to_owned()));
            }
            Arc::clone(array)
        }
        _ => Arc::clone(array),
    })
}

/// Whether values of this type are no larger than the bytes that they are in.
fn is_its_own(data_type: &DataType) -> bool {
    use DataType as T;
    !data_type.is_nested() && !matches!(data_type, T::Utf8View | T::BinaryView | T::Dictionary(_, _) | T::RunEndEncoded(_, _))
}

fn plain_list<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let (offsets, start, length) = rebased(list.offsets());
    let values = plain_column(&list.values().slice(start, length))?;
    Ok(Arc::new(GenericListArray::try_new(of_type(item, &values), offsets, values, list.nulls().cloned())?))
}

/// The offsets from 0 on; where the values started, and how many there are.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, usize, usize) {
    let start = offsets[0].as_usize();
    let length = offsets[offsets.len() - 1].as_usize() - start;
    (OffsetBuffer::from_lengths(offsets.lengths()), start, length)
}

fn of_type(field: &Field, values: &ArrayRef) -> FieldRef {
    Arc::new(field.clone().with_data_type(values.data_type().clone()))
}
