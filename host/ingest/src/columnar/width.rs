//! How many bytes rows take once they are plain, whatever layout they came in.
//!
//! What an array holds in memory says little: the arrays of an Arrow batch share one buffer, and a view, a run or a dictionary
//! stands for more than it holds. Each value counts by itself: an average would hide a long one that all keys name.
//!
//! **Invariant**: counting takes no longer than the limit is large: whatever is counted one by one counts as a byte at least.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, downcast_dictionary_array};
use arrow::datatypes::{ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType};

/// Bytes of all values of all columns, about; beyond `limit` it is only said that they are more.
pub(super) fn of_all(columns: &[ArrayRef], limit: usize) -> usize {
    total(columns, limit, |column, left| bytes_of(column, 0..column.len(), left))
}

fn total<T>(parts: impl IntoIterator<Item = T>, limit: usize, mut bytes: impl FnMut(T, usize) -> usize) -> usize {
    let mut sum = 0_usize;
    for part in parts {
        if sum > limit {
            break;
        }
        sum = sum.saturating_add(bytes(part, limit - sum).max(1));
    }
    sum
}

fn bytes_of(array: &dyn Array, rows: Range<usize>, limit: usize) -> usize {
    use DataType as T;
    match array.data_type() {
        T::Utf8 => span(array.as_string::<i32>().value_offsets(), rows).len(),
        T::LargeUtf8 => span(array.as_string::<i64>().value_offsets(), rows).len(),
        T::Binary => span(array.as_binary::<i32>().value_offsets(), rows).len(),
        T::LargeBinary => span(array.as_binary::<i64>().value_offsets(), rows).len(),
        T::Utf8View => viewed(&array.as_string_view().views()[rows], limit),
        T::BinaryView => viewed(&array.as_binary_view().views()[rows], limit),
        T::List(_) => items(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets(), rows, limit),
        T::LargeList(_) => items(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets(), rows, limit),
        T::Map(_, _) => items(array.as_map().entries(), array.as_map().value_offsets(), rows, limit),
        T::ListView(_) => viewed_items::<i32>(array, rows, limit),
        T::LargeListView(_) => viewed_items::<i64>(array, rows, limit),
        T::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or_default();
            bytes_of(array.as_fixed_size_list().values(), rows.start * size..rows.end * size, limit)
        }
        T::Struct(_) => total(array.as_struct().columns(), limit, |member, left| bytes_of(member, rows.clone(), left)),
        T::Dictionary(_, _) => keyed(array, rows, limit),
        T::RunEndEncoded(ends, _) => match ends.data_type() {
            T::Int16 => runs::<Int16Type>(array, rows, limit),
            T::Int32 => runs::<Int32Type>(array, rows, limit),
            _ => runs::<Int64Type>(array, rows, limit),
        },
        T::FixedSizeBinary(width) => rows.len().saturating_mul(usize::try_from(*width).unwrap_or_default()),
        other => rows.len().saturating_mul(other.primitive_width().unwrap_or(1)),
    }
}

/// Where the values of the rows are.
fn span<O: ArrowNativeType>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
    offsets[rows.start].as_usize()..offsets[rows.end].as_usize()
}

/// The low 32 bits of a view are its length.
fn viewed(views: &[u128], limit: usize) -> usize {
    total(views, limit, |view, _| *view as u32 as usize)
}

fn items<O: ArrowNativeType>(values: &dyn Array, offsets: &[O], rows: Range<usize>, limit: usize) -> usize {
    bytes_of(values, span(offsets, rows), limit)
}

fn viewed_items<O: OffsetSizeTrait>(array: &dyn Array, rows: Range<usize>, limit: usize) -> usize {
    let list = array.as_list_view::<O>();
    total(rows, limit, |row, left| {
        let start = list.value_offset(row).as_usize();
        bytes_of(list.values(), start..start + list.value_size(row).as_usize(), left)
    })
}

fn keyed(array: &dyn Array, rows: Range<usize>, limit: usize) -> usize {
    downcast_dictionary_array!(
        array => total(rows, limit, |row, left| array.key(row).map_or(0, |key| bytes_of(array.values(), key..key + 1, left))),
        _ => 0
    )
}

fn runs<R: RunEndIndexType>(array: &dyn Array, rows: Range<usize>, limit: usize) -> usize {
    let Some(array) = array.as_run_opt::<R>().filter(|_| !rows.is_empty()) else { return 0 };
    let (ends, mut at) = (array.run_ends(), rows.start);
    total(ends.get_physical_index(at)..=ends.get_physical_index(rows.end - 1), limit, |run, left| {
        let end = (ends.values()[run].as_usize() - ends.offset()).min(rows.end);
        let length = end - std::mem::replace(&mut at, end);
        bytes_of(array.values(), run..run + 1, left).saturating_mul(length)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, ListViewArray, NullArray, RunArray, StringArray,
        StringViewArray,
    };
    use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};

    use super::of_all;

    fn bytes(array: impl Array + 'static) -> usize {
        of_all(&[Arc::new(array)], usize::MAX)
    }

    /// One long value, then empty ones.
    fn values() -> ArrayRef {
        Arc::new(StringArray::from_iter_values([&"x".repeat(200_000), "", "", "", ""]))
    }

    #[test]
    fn only_the_rows_that_are_there_count() {
        let texts = StringArray::from(vec!["a", "bcd", "ef"]);
        assert_eq!((bytes(texts.clone()), bytes(texts.slice(1, 1))), (6, 3));
        let views = StringViewArray::from(vec!["a", "longer than a view holds"]);
        assert_eq!(bytes(views.slice(1, 1)), 24);
        assert_eq!(bytes(Int64Array::from(vec![1, 2, 3]).slice(0, 2)), 16);
        let lists = [Some(vec![Some(1), Some(2)]), None, Some(vec![Some(3)])];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        assert_eq!((bytes(lists.clone()), bytes(lists.slice(2, 1))), (24, 8));
        let dictionary: DictionaryArray<Int32Type> = ["abcd", "abcd", "abcd"].into_iter().collect();
        assert_eq!(dictionary.values().len(), 1);
        assert_eq!(bytes(dictionary), 12);
    }

    #[test]
    fn a_value_counts_for_each_row_that_names_it() {
        let keyed = |keys: Vec<i32>| bytes(DictionaryArray::<Int32Type>::new(Int32Array::from(keys), values()));
        assert_eq!((keyed(vec![0; 1000]), keyed(vec![1; 1000])), (200_000_000, 1000));
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![900, 1000]), &values().slice(0, 2)).unwrap();
        assert_eq!((bytes(runs.clone()), bytes(runs.slice(890, 20))), (180_000_001, 2_000_001));
        let item = Arc::new(Field::new("item", DataType::Utf8, false));
        let lists = ListViewArray::new(item, vec![0; 1000].into(), vec![3; 1000].into(), values(), None);
        assert_eq!(bytes(lists), 200_000_000);
    }

    #[test]
    fn counting_ends_soon_after_the_limit() {
        let nulls = Arc::new(NullArray::new(1 << 20));
        let item = Arc::new(Field::new("item", DataType::Null, true));
        let lists = ListViewArray::new(item, vec![0; 1 << 20].into(), vec![1 << 20; 1 << 20].into(), nulls, None);
        assert_eq!(of_all(&[Arc::new(lists)], 1000), 1 << 20);
        assert_eq!(of_all(&[Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![1; 1000]), values()))], 10), 11);
    }
}
