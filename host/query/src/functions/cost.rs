//! Upper bounds of what a call will build, from the sizes of its arguments alone.
//!
//! **Invariant**: an estimate is never below the truth for the functions it is named for, and takes time in proportion to the rows,
//! not to the result.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericByteArray, GenericByteViewArray, OffsetSizeTrait, PrimitiveArray,
    types::{ByteArrayType, ByteViewType, Int64Type},
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{MAX_SERIES, MAX_STEPS, bounded::is_null, pattern, series};

/// What an element of a list of texts takes beside its text.
const LIST_BYTES: u64 = 8;

/// How a function's result grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cost {
    /// `repeat(text, n)`
    Repeat,
    /// `lpad(text, n, fill)`
    Pad,
    /// `replace(text, from, to)`
    Replace,
    /// `regexp_replace(text, pattern, to)`
    RegexpReplace,
    /// The sum of all arguments, times a small factor.
    Sum,
    /// `array_repeat(element, n)`
    ArrayRepeat,
    /// `array_resize(list, n, element)`
    ArrayResize,
    /// `concat_ws(separator, …)`: the separator as often as there are arguments.
    Join,
    /// `arrays_zip(…)`: every list becomes as long as the longest.
    Zip,
    /// `to_char(moment, format)`: a field of the format writes more than it takes.
    Format,
    /// `array_replace…(list, from, to, n)`, `array_to_string(list, separator, null)`: each element may become, or be followed by,
    /// any other argument.
    Elements,
    /// `range(start, stop, step)`
    Series,
    /// `levenshtein(a, b)`: work, not size.
    Product,
    /// `regexp_match(text, pattern)`: each group of the first match may be as long as the text.
    Groups,
    /// `regexp_like(text, pattern)`: work until the first match.
    Search,
    /// `regexp_count(text, pattern)`: work until the last match.
    SearchAll,
    /// `regexp_replace(text, pattern, to, flags)`: one of the flags asks for all matches.
    SearchFlagged,
}

/// The costs of a function by name; no function where each result takes a few bytes, whatever the arguments are.
#[rustfmt::skip]
pub(super) fn of(function: &str) -> Option<&'static [Cost]> {
    Some(match function {
        "repeat" => &[Cost::Repeat],
        "lpad" | "rpad" => &[Cost::Pad],
        "replace" => &[Cost::Replace],
        "regexp_replace" => &[Cost::RegexpReplace, Cost::SearchFlagged],
        "regexp_count" | "regexp_instr" => &[Cost::SearchAll],
        "regexp_like" => &[Cost::Search],
        "regexp_match" => &[Cost::Groups, Cost::Search],
        "concat" | "overlay" | "encode" | "string_to_array" | "make_array" | "array_append" | "array_prepend"
        | "array_concat" | "array_union" | "map" | "struct" | "named_struct" => &[Cost::Sum],
        "concat_ws" => &[Cost::Join],
        "arrays_zip" => &[Cost::Zip],
        "to_char" => &[Cost::Format],
        "array_repeat" => &[Cost::ArrayRepeat],
        "array_resize" => &[Cost::ArrayResize],
        "array_replace" | "array_replace_n" | "array_replace_all" | "array_to_string" => &[Cost::Elements],
        "range" | "generate_series" => &[Cost::Series],
        // Each element of one list is looked for in the other from its start.
        "levenshtein" | "array_has_all" | "array_has_any" => &[Cost::Product],
        // Copies, no larger than a few times the arguments. Of `coalesce`, `nvl` and `nvl2` planning makes CASE.
        "array_add" | "array_any_value" | "array_compact" | "array_distinct" | "array_element" | "array_except"
        | "array_intersect" | "array_max" | "array_min" | "array_normalize" | "array_pop_back" | "array_pop_front"
        | "array_positions" | "array_remove" | "array_remove_all" | "array_remove_n" | "array_reverse" | "array_scale"
        | "array_slice" | "array_sort" | "array_subtract" | "btrim" | "decode" | "flatten" | "greatest" | "initcap" | "least"
        | "left" | "lower" | "ltrim" | "map_entries" | "map_extract" | "map_keys" | "map_values" | "nullif" | "reverse"
        | "right" | "rtrim" | "split_part" | "substr" | "substr_index" | "translate" | "union_extract" | "upper" => &[],
        _ => return None,
    })
}

impl Cost {
    /// The limit, where a call may build `bytes`.
    pub(super) fn limit(self, bytes: u64) -> u64 {
        match self {
            // An element has eight bytes.
            Self::Series => MAX_SERIES.min(bytes / 8),
            Self::Product | Self::Search | Self::SearchAll | Self::SearchFlagged => MAX_STEPS,
            _ => bytes,
        }
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Series => "elements",
            Self::Product | Self::Search | Self::SearchAll | Self::SearchFlagged => "steps of work",
            _ => "bytes",
        }
    }

    pub(super) fn estimate(self, call: &ScalarFunctionArgs) -> u64 {
        let rows = call.number_rows.max(1) as u64;
        let args = call.args.as_slice();
        // The arguments whose NULL makes the result NULL; a NULL element is repeated like any other.
        let deciding: &[ColumnarValue] = match self {
            Self::Sum | Self::Join | Self::Zip | Self::Format | Self::Elements => &[],
            Self::ArrayRepeat => args.get(1..2).unwrap_or_default(),
            Self::ArrayResize => args.get(..2).unwrap_or_default(),
            _ => args,
        };
        if deciding.iter().any(is_null) {
            return 0;
        }
        match (self, args) {
            (Self::Repeat, [text, n, ..]) => product(&sizes(text, rows), &counts(n, rows)),
            (Self::Pad, [text, n, fill @ ..]) => {
                let widest = fill.first().map_or(1, |fill| if is_ascii(fill) { 1 } else { 4 });
                counts(n, rows).total.saturating_mul(widest).saturating_add(sizes(text, rows).total)
            }
            (Self::Replace, [text, from, to, ..]) => {
                let text = sizes(text, rows).total;
                let shortest = match from {
                    ColumnarValue::Scalar(from) => scalar_bytes(from).max(1),
                    ColumnarValue::Array(_) => 1,
                };
                // An empty `from` matches between all characters, and at the end.
                text.saturating_add((text / shortest + rows).saturating_mul(sizes(to, rows).max))
            }
            (Self::RegexpReplace, [text, _, to, ..]) => {
                let (text, to) = (sizes(text, rows).total, sizes(to, rows).max);
                // A replacement may name groups of the match, each as long as the match.
                text.saturating_add((text + rows).saturating_mul(to)).saturating_add(text.saturating_mul(to / 2))
            }
            (Self::Groups, [text, patterns, ..]) => {
                let groups = pattern::effort(patterns).groups;
                (sizes(text, rows).total + rows * LIST_BYTES).saturating_mul(groups)
            }
            (Self::ArrayRepeat, [element, n, ..]) => product(&sizes(element, rows).padded(8), &counts(n, rows)),
            (Self::ArrayResize, [list, n, rest @ ..]) => {
                let fill = rest.first().map_or(8, |value| sizes(value, rows).max + 8);
                sizes(list, rows).total.saturating_add(counts(n, rows).total.saturating_mul(fill))
            }
            (Self::Elements, [list, rest @ ..]) => {
                // No element is smaller than a byte of its list, but for booleans.
                let elements = sizes(list, rows).total.saturating_mul(if holds_booleans(list) { 8 } else { 1 });
                let others = rest.iter().map(|arg| sizes(arg, rows).max).fold(1u64, u64::saturating_add);
                elements.saturating_add(elements.saturating_mul(others))
            }
            (Self::Join, [separator, parts @ ..]) => {
                let separators = sizes(separator, rows).total.saturating_mul(parts.len() as u64);
                total(parts, rows).saturating_add(separators).saturating_mul(2)
            }
            (Self::Zip, _) => {
                let widest = if args.iter().any(holds_booleans) { 8 } else { 1 };
                total(args, rows).saturating_mul(2 * widest).saturating_mul(args.len() as u64)
            }
            // `%+` writes 35 bytes and more for its two.
            (Self::Format, _) => total(args, rows).saturating_mul(20),
            (Self::Series, _) => series::elements(args, rows),
            (Self::Product, [a, b, ..]) => {
                let (a, b) = (sizes(a, rows), sizes(b, rows));
                a.max.saturating_mul(b.max).saturating_mul(rows)
            }
            (Self::SearchAll, [texts, patterns, ..]) | (Self::SearchFlagged, [texts, patterns, _, _, ..])
                if pattern::effort(patterns).wanders =>
            {
                let sizes = sizes(texts, rows);
                search(texts, patterns, rows).max(sizes.max.saturating_mul(sizes.total))
            }
            (Self::Search | Self::SearchAll | Self::SearchFlagged, [texts, patterns, ..]) => search(texts, patterns, rows),
            (Self::Sum, _) => total(args, rows).saturating_mul(2),
            _ => 0,
        }
    }
}

/// Steps to look for a pattern once in each text, and to compile the patterns of a column.
fn search(texts: &ColumnarValue, patterns: &ColumnarValue, rows: u64) -> u64 {
    const COMPILE_STEPS: u64 = 100;
    let states = pattern::effort(patterns).states;
    let compiled = match patterns {
        ColumnarValue::Scalar(_) => 1,
        ColumnarValue::Array(_) => rows,
    };
    sizes(texts, rows).total.saturating_mul(states).saturating_add(compiled.saturating_mul(states.saturating_mul(COMPILE_STEPS)))
}

/// Bytes of all arguments together.
fn total(args: &[ColumnarValue], rows: u64) -> u64 {
    args.iter().map(|arg| sizes(arg, rows).total).fold(0u64, u64::saturating_add)
}

/// Whether the elements of a list, of lists within it too, take a bit each.
fn holds_booleans(value: &ColumnarValue) -> bool {
    fn innermost(data_type: &DataType) -> &DataType {
        match data_type {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                innermost(field.data_type())
            }
            other => other,
        }
    }
    innermost(&value.data_type()) == &DataType::Boolean
}

/// Bytes, or counts, of a column: of its largest row, and of all rows.
struct Sizes {
    max: u64,
    total: u64,
}

impl Sizes {
    fn padded(mut self, by: u64) -> Self {
        self.max = self.max.saturating_add(by);
        self.total = self.total.saturating_add(by);
        self
    }
}

/// The tighter of the two bounds of Σ aᵢ·bᵢ.
fn product(a: &Sizes, b: &Sizes) -> u64 {
    a.max.saturating_mul(b.total).min(a.total.saturating_mul(b.max))
}

fn sizes(value: &ColumnarValue, rows: u64) -> Sizes {
    match value {
        ColumnarValue::Scalar(scalar) => {
            let bytes = scalar_bytes(scalar);
            Sizes { max: bytes, total: bytes.saturating_mul(rows) }
        }
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => byte_sizes(array.as_string::<i32>()),
            DataType::LargeUtf8 => byte_sizes(array.as_string::<i64>()),
            DataType::Binary => byte_sizes(array.as_binary::<i32>()),
            DataType::LargeBinary => byte_sizes(array.as_binary::<i64>()),
            DataType::Utf8View => view_sizes(array.as_string_view()),
            DataType::BinaryView => view_sizes(array.as_binary_view()),
            _ => {
                let bytes = array_bytes(array);
                Sizes { max: bytes, total: bytes }
            }
        },
    }
}

fn byte_sizes<T: ByteArrayType>(array: &GenericByteArray<T>) -> Sizes {
    use arrow::datatypes::ArrowNativeType;
    let offsets = array.value_offsets();
    let max = offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize()).max().unwrap_or(0);
    let total = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (*last - *first).as_usize());
    Sizes { max: max as u64, total: total as u64 }
}

fn view_sizes<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> Sizes {
    // The low 32 bits of a view are its length.
    array.views().iter().fold(Sizes { max: 0, total: 0 }, |sizes, view| {
        let length = u64::from(*view as u32);
        Sizes { max: sizes.max.max(length), total: sizes.total + length }
    })
}

pub(crate) fn scalar_bytes(scalar: &ScalarValue) -> u64 {
    match scalar {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            text.len() as u64
        }
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => {
            bytes.len() as u64
        }
        ScalarValue::List(list) => array_bytes(&(Arc::clone(list) as ArrayRef)),
        ScalarValue::LargeList(list) => array_bytes(&(Arc::clone(list) as ArrayRef)),
        ScalarValue::Struct(row) => array_bytes(&(Arc::clone(row) as ArrayRef)),
        other => other.size() as u64,
    }
}

/// Bytes of the rows of an array, not of the buffers that it shares.
pub(crate) fn array_bytes(array: &ArrayRef) -> u64 {
    let rows = array.len() as u64;
    match array.data_type() {
        DataType::Utf8View => view_sizes(array.as_string_view()).total + 16 * rows,
        DataType::BinaryView => view_sizes(array.as_binary_view()).total + 16 * rows,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            part(list.values(), list.value_offsets()) + 4 * rows
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            part(list.values(), list.value_offsets()) + 8 * rows
        }
        DataType::FixedSizeList(..) => array_bytes(array.as_fixed_size_list().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            let columns = map.entries().columns().iter().map(|column| part(column, map.value_offsets()));
            columns.sum::<u64>() + 4 * rows
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(array_bytes).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64,
    }
}

/// Bytes of the longest row of an array, or `enough` where no row has more.
pub(crate) fn longest(array: &ArrayRef, enough: u64) -> u64 {
    let max = match array.data_type() {
        DataType::Utf8 => byte_sizes(array.as_string::<i32>()).max,
        DataType::LargeUtf8 => byte_sizes(array.as_string::<i64>()).max,
        DataType::Binary => byte_sizes(array.as_binary::<i32>()).max,
        DataType::LargeBinary => byte_sizes(array.as_binary::<i64>()).max,
        DataType::Utf8View => view_sizes(array.as_string_view()).max,
        DataType::BinaryView => view_sizes(array.as_binary_view()).max,
        // Halves that are small as a whole have no long row.
        _ => match array_bytes(array) {
            bytes if bytes <= enough || array.len() <= 1 => bytes,
            _ => {
                let half = array.len() / 2;
                let longest_before = longest(&array.slice(0, half), enough);
                return longest(&array.slice(half, array.len() - half), longest_before);
            }
        },
    };
    max.max(enough)
}

/// Bytes of the texts of an array, without what Arrow adds to each.
pub(super) fn text_bytes(array: &ArrayRef) -> u64 {
    sizes(&ColumnarValue::Array(Arc::clone(array)), array.len() as u64).total
}

/// Bytes of the values between the first and the last offset.
fn part<O: OffsetSizeTrait>(values: &ArrayRef, offsets: &[O]) -> u64 {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return 0 };
    array_bytes(&values.slice(first.as_usize(), (*last - *first).as_usize()))
}

fn counts(value: &ColumnarValue, rows: u64) -> Sizes {
    match value {
        ColumnarValue::Scalar(scalar) => {
            let count = as_count(scalar);
            Sizes { max: count, total: count.saturating_mul(rows) }
        }
        ColumnarValue::Array(array) => match integers(array) {
            Some(numbers) => numbers.iter().flatten().fold(Sizes { max: 0, total: 0 }, |sizes, n| {
                let n = u64::try_from(n).unwrap_or(0);
                Sizes { max: sizes.max.max(n), total: sizes.total.saturating_add(n) }
            }),
            None => Sizes { max: u64::MAX, total: u64::MAX },
        },
    }
}

fn as_count(scalar: &ScalarValue) -> u64 {
    match scalar {
        ScalarValue::UInt64(Some(n)) => *n,
        other => match other.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) => u64::try_from(n).unwrap_or(0),
            Ok(_) => 0,
            Err(_) => u64::MAX,
        },
    }
}

/// An integer column as 64-bit; values that do not fit become NULL, and such calls fail by themselves.
pub(super) fn integers(array: &ArrayRef) -> Option<PrimitiveArray<Int64Type>> {
    cast(array, &DataType::Int64).ok().map(|numbers| numbers.as_primitive::<Int64Type>().clone())
}

fn is_ascii(value: &ColumnarValue) -> bool {
    matches!(value, ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text))) if text.is_ascii())
}
