//! Keys whose rows are hidden.
//!
//! **Invariant**: keys are compared by their text form: integers as decimal digits, text as it is. A NULL key hides nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, MAX_INLINE_VIEW_LEN, StringViewArray, make_view,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use foldhash::fast::RandomState;
use lakehouse_types::ColumnName;
use serde_json::Value;

use crate::mark::mark;
use crate::sieve::Sieve;

/// To find a key among rows in order takes about as long as to look at so many of them.
const ROWS_PER_KEY: usize = 32;

/// The tombstoned keys of one dataset. Cheap to probe, free when empty.
#[derive(Debug, Clone, Default)]
pub struct Tombstones {
    /// The dataset's row key column, once one is chosen.
    pub column: Option<ColumnName>,
    texts: HashSet<Box<str>, RandomState>,
    /// Of the texts that are so short that a view of text holds all of them, the views.
    views: HashSet<u128, RandomState>,
    /// The same in ascending order of their ranks.
    ranks: Box<[u128]>,
    integers: HashSet<i128, RandomState>,
    /// The least and the greatest integer.
    bounds: Option<(i128, i128)>,
    /// Bit `min(length, 63)` is set if a key has that length.
    lengths: u64,
    /// Most probes end here.
    text_sieve: Sieve,
    view_sieve: Sieve,
    integer_sieve: Sieve,
    /// Of the keys, in whatever order.
    sum: u64,
}

impl Tombstones {
    /// From text forms.
    pub fn new(column: Option<ColumnName>, keys: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let texts: HashSet<Box<str>, _> = keys.into_iter().map(Into::into).collect();
        let integers: HashSet<i128, _> = texts.iter().filter_map(|text| canonical_integer(text)).collect();
        let bounds = integers.iter().min().copied().zip(integers.iter().max().copied());
        let lengths = texts.iter().fold(0, |bits, text| bits | length_bit(text));
        let sum = texts.iter().fold(0u64, |sum, text| sum.wrapping_add(mark(text.as_bytes())));
        let text_sieve = Sieve::of(texts.iter().map(AsRef::<str>::as_ref));
        let views: HashSet<u128, _> = texts.iter().filter(|text| is_inline(text.len())).map(|text| view_of(text)).collect();
        let view_sieve = Sieve::of_hashes(views.iter().map(|view| folded(*view)));
        let mut ranks: Box<[u128]> = views.iter().map(|view| rank(*view)).collect();
        ranks.sort_unstable();
        let integer_sieve = Sieve::of(integers.iter());
        Self { column, texts, views, ranks, integers, bounds, lengths, text_sieve, view_sieve, integer_sieve, sum }
    }

    /// Whether nothing is hidden, so that a scan needs no mask.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// A number for these keys of this column, the same in every run; 0 when there are none. Other keys have another, but for chance.
    pub fn mark(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let column = self.column.as_ref().map_or(0, |column| mark(column.as_str().as_bytes()));
        (self.sum ^ column.rotate_left(1)).max(1)
    }

    /// Whether the key with this text form is hidden.
    pub fn contains(&self, text: &str) -> bool {
        self.lengths & length_bit(text) != 0 && self.text_sieve.passes(text) && self.texts.contains(text)
    }

    /// The text forms, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(AsRef::as_ref)
    }

    /// A copy for another key column.
    #[must_use]
    pub(crate) fn with_column(&self, column: Option<ColumnName>) -> Self {
        Self { column, ..self.clone() }
    }

    /// A copy with more keys.
    #[must_use]
    pub(crate) fn with(&self, column: ColumnName, keys: impl IntoIterator<Item = Box<str>>) -> Self {
        Self::new(Some(column), self.texts.iter().cloned().chain(keys))
    }

    /// A copy with fewer keys.
    #[must_use]
    pub(crate) fn without(&self, keys: &HashSet<Box<str>>) -> Self {
        Self::new(self.column.clone(), self.texts.iter().filter(|key| !keys.contains(*key)).cloned())
    }

    /// One bit a row: set where the row stays visible. NULL keys stay visible.
    pub fn keep_mask(&self, column: &ArrayRef) -> BooleanArray {
        BooleanArray::new(self.keep_buffer(column), None)
    }

    fn keep_buffer(&self, column: &ArrayRef) -> BooleanBuffer {
        if self.is_empty() {
            return BooleanBuffer::new_set(column.len());
        }
        match column.data_type() {
            DataType::Int8 => self.keep_integers::<Int8Type>(column),
            DataType::Int16 => self.keep_integers::<Int16Type>(column),
            DataType::Int32 => self.keep_integers::<Int32Type>(column),
            DataType::Int64 => self.keep_integers::<Int64Type>(column),
            DataType::UInt8 => self.keep_integers::<UInt8Type>(column),
            DataType::UInt16 => self.keep_integers::<UInt16Type>(column),
            DataType::UInt32 => self.keep_integers::<UInt32Type>(column),
            DataType::UInt64 => self.keep_integers::<UInt64Type>(column),
            DataType::Decimal128(_, 0) => self.keep_integers::<Decimal128Type>(column),
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                self.keep_texts(column, |row| texts.value(row))
            }
            DataType::LargeUtf8 => {
                let texts = column.as_string::<i64>();
                self.keep_texts(column, |row| texts.value(row))
            }
            DataType::Utf8View => self.keep_views(column.as_string_view()),
            DataType::Dictionary(_, values) => match cast(column, values) {
                Ok(plain) => self.keep_buffer(&plain),
                Err(_) => BooleanBuffer::new_unset(column.len()),
            },
            // A key column is text or an integer when it is chosen. Keys that cannot be compared hide their rows: better none than
            // an erased one.
            _ => match cast(column, &DataType::Utf8) {
                Ok(texts) => self.keep_buffer(&texts),
                Err(_) => BooleanBuffer::new_unset(column.len()),
            },
        }
    }

    fn keep_integers<T: ArrowPrimitiveType>(&self, column: &ArrayRef) -> BooleanBuffer
    where
        T::Native: Into<i128>,
    {
        let Some((low, high)) = self.bounds else {
            return BooleanBuffer::new_set(column.len());
        };
        let values = column.as_primitive::<T>();
        keep(column, |row| {
            let value: i128 = values.value(row).into();
            !((low..=high).contains(&value) && self.integer_sieve.passes(&value) && self.integers.contains(&value))
        })
    }

    fn keep_views(&self, texts: &StringViewArray) -> BooleanBuffer {
        let (views, nulls) = (texts.views(), texts.nulls());
        let ascending = if nulls.is_none() { self.keep_ascending(views) } else { None };
        ascending.unwrap_or_else(|| self.keep_each(texts, views, nulls))
    }

    /// Short texts in ascending order, as rows often come: the few keys between the first and the last are looked for, not each row.
    /// `None` where they are not such, which shows soon.
    fn keep_ascending(&self, views: &[u128]) -> Option<BooleanBuffer> {
        let (first, last) = (rank(*views.first()?), rank(*views.last()?));
        let begin = self.ranks.partition_point(|key| *key < first);
        let keys = self.ranks[begin..].split_at(self.ranks[begin..].partition_point(|key| *key <= last)).0;
        if keys.len() > views.len() / ROWS_PER_KEY || first > last || is_long(views[0]) != 0 {
            return None;
        }
        let is_next = |pair: &[u128]| rank(pair[0]) <= rank(pair[1]) && is_long(pair[1]) == 0;
        if !views.windows(2).all(is_next) {
            return None;
        }
        let mut kept = BooleanBufferBuilder::new(views.len());
        kept.append_n(views.len(), true);
        let mut at = 0;
        for key in keys {
            at += views[at..].partition_point(|view| rank(*view) < *key);
            while views.get(at).is_some_and(|view| rank(*view) == *key) {
                kept.set_bit(at, false);
                at += 1;
            }
        }
        Some(kept.finish())
    }

    /// 64 rows at once: first, without a branch, those that may be keys, then of these, which are.
    fn keep_each(&self, texts: &StringViewArray, views: &[u128], nulls: Option<&NullBuffer>) -> BooleanBuffer {
        let is_key = |row: usize| {
            let is_there = nulls.is_none_or(|nulls| nulls.is_valid(row));
            is_there && if is_long(views[row]) == 0 { self.views.contains(&views[row]) } else { self.contains(texts.value(row)) }
        };
        let mut words = Vec::with_capacity(views.len().div_ceil(64));
        for (block, views) in views.chunks(64).enumerate() {
            let may_be = |(at, view): (usize, &u128)| (self.view_sieve.bit(folded(*view)) | is_long(*view)) << at;
            let mut left = views.iter().enumerate().map(may_be).fold(0, |all, one| all | one);
            let mut kept = u64::MAX;
            while left != 0 {
                let at = left.trailing_zeros();
                kept &= !(u64::from(is_key(block * 64 + at as usize)) << at);
                left &= left - 1;
            }
            words.push(kept);
        }
        BooleanBuffer::new(Buffer::from_vec(words), 0, views.len())
    }

    fn keep_texts<'a>(&self, column: &ArrayRef, value: impl Fn(usize) -> &'a str) -> BooleanBuffer {
        keep(column, |row| !self.contains(value(row)))
    }
}

fn keep(column: &ArrayRef, visible: impl Fn(usize) -> bool) -> BooleanBuffer {
    match column.logical_nulls() {
        None => BooleanBuffer::collect_bool(column.len(), visible),
        Some(nulls) => BooleanBuffer::collect_bool(column.len(), |row| nulls.is_null(row) || visible(row)),
    }
}

/// Whether a view of text holds all of a text of this length.
fn is_inline(length: usize) -> bool {
    length <= MAX_INLINE_VIEW_LEN as usize
}

/// 1 for a view that refers to its text. The length is where both layouts have it.
#[inline]
fn is_long(view: u128) -> u64 {
    u64::from((view & u128::from(u32::MAX)) > u128::from(MAX_INLINE_VIEW_LEN))
}

/// An order of views that hold their text: by length, then by text.
#[inline]
fn rank(view: u128) -> u128 {
    view.swap_bytes()
}

fn view_of(text: &str) -> u128 {
    make_view(text.as_bytes(), 0, 0)
}

/// A view as a number for the sieve: one multiplication.
#[inline]
fn folded(view: u128) -> u64 {
    const SEEDS: (u64, u64) = (0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
    let (low, high) = (view as u64, (view >> 64) as u64);
    let product = u128::from(low ^ SEEDS.0) * u128::from(high ^ SEEDS.1);
    product as u64 ^ (product >> 64) as u64
}

fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}

/// The integer whose decimal digits the text is, if it is exactly that: `07` and `+7` are text.
fn canonical_integer(text: &str) -> Option<i128> {
    let value: i128 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// The text form of a key that came as JSON; `None` for what no key is (NULL, booleans, fractions, lists, objects).
pub fn key_text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => {
            let text = number.to_string();
            canonical_integer(&text).map(|_| text.into())
        }
        _ => None,
    }
}

/// Rows per wanted key in one batch of the key column, added to `found`.
pub(crate) fn count_rows(
    wanted: &Arc<Tombstones>,
    column: &ArrayRef,
    found: &mut HashMap<Box<str>, u64>,
) -> Result<(), arrow::error::ArrowError> {
    let kept = wanted.keep_buffer(column);
    if kept.count_set_bits() == kept.len() {
        return Ok(());
    }
    let hits = arrow::compute::filter(column, &BooleanArray::new(!&kept, None))?;
    let texts = cast(&hits, &DataType::Utf8)?;
    for text in texts.as_string::<i32>().iter().flatten() {
        *found.entry(text.into()).or_default() += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
