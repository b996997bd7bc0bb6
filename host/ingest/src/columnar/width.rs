//! How many bytes rows take once they are plain, whatever layout they came in.
//!
//! What an array holds in memory says little: the arrays of an Arrow batch share one buffer, and a view, a run or a dictionary
//! stands for more than it holds.

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::datatypes::{ArrowNativeType, DataType};

/// Bytes of all values of all columns, about. Dictionaries, runs and list views count their values at the average.
pub(super) fn of_all(columns: &[ArrayRef]) -> usize {
    columns.iter().fold(0, |sum, column| sum.saturating_add(plain_bytes(column)))
}

fn plain_bytes(array: &ArrayRef) -> usize {
    use DataType as T;
    let rows = array.len();
    match array.data_type() {
        T::Utf8 => span(array.as_string::<i32>().value_offsets()).1,
        T::LargeUtf8 => span(array.as_string::<i64>().value_offsets()).1,
        T::Binary => span(array.as_binary::<i32>().value_offsets()).1,
        T::LargeBinary => span(array.as_binary::<i64>().value_offsets()).1,
        // The low 32 bits of a view are its length.
        T::Utf8View => array.as_string_view().views().iter().map(|view| *view as u32 as usize).sum(),
        T::BinaryView => array.as_binary_view().views().iter().map(|view| *view as u32 as usize).sum(),
        T::List(_) => items(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets()),
        T::LargeList(_) => items(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets()),
        T::Map(_, _) => {
            let map = array.as_map();
            let (start, length) = span(map.value_offsets());
            of_all(map.entries().slice(start, length).columns())
        }
        T::FixedSizeList(_, _) => plain_bytes(array.as_fixed_size_list().values()),
        T::Struct(_) => of_all(array.as_struct().columns()),
        T::Dictionary(_, _) => average(array.as_any_dictionary().values()).saturating_mul(rows),
        T::RunEndEncoded(_, _) => {
            let values = array.to_data().child_data().last().cloned().map(make_array);
            values.map_or(0, |values| average(&values)).saturating_mul(rows)
        }
        T::ListView(_) => {
            let list = array.as_list_view::<i32>();
            average(list.values()).saturating_mul(list.sizes().iter().map(|size| size.as_usize()).sum())
        }
        T::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            average(list.values()).saturating_mul(list.sizes().iter().map(|size| size.as_usize()).sum())
        }
        T::FixedSizeBinary(width) => rows.saturating_mul(usize::try_from(*width).unwrap_or_default()),
        other => rows.saturating_mul(other.primitive_width().unwrap_or(1)),
    }
}

fn average(values: &ArrayRef) -> usize {
    plain_bytes(values).div_ceil(values.len().max(1))
}

fn items<O: ArrowNativeType>(values: &ArrayRef, offsets: &[O]) -> usize {
    let (start, length) = span(offsets);
    plain_bytes(&values.slice(start, length))
}

/// Where the values of all rows start, and how many there are.
fn span<O: ArrowNativeType>(offsets: &[O]) -> (usize, usize) {
    let start = offsets.first().map_or(0, |start| start.as_usize());
    (start, offsets.last().map_or(0, |end| end.as_usize()) - start)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::plain_bytes;

    #[test]
    fn only_the_rows_that_are_there_count() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "bcd", "ef"]));
        assert_eq!((plain_bytes(&texts), plain_bytes(&texts.slice(1, 1))), (6, 3));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "longer than a view holds"]));
        assert_eq!(plain_bytes(&views.slice(1, 1)), 24);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        assert_eq!(plain_bytes(&numbers.slice(0, 2)), 16);
        let lists = [Some(vec![Some(1), Some(2)]), None, Some(vec![Some(3)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        assert_eq!((plain_bytes(&lists), plain_bytes(&lists.slice(2, 1))), (24, 8));
        let dictionary: DictionaryArray<Int32Type> = ["abcd", "abcd", "abcd"].into_iter().collect();
        assert_eq!(dictionary.values().len(), 1);
        assert_eq!(plain_bytes(&(Arc::new(dictionary) as ArrayRef)), 12);
    }
}
