//! Columns as they cross the boundary: Arrow's buffers, owned.
//!
//! **Invariant**: these types hold what the host sent, unchecked; whoever reads text through [`TextMut`] gets it checked. No
//! accessor panics on buffers that lie: a row beyond the validity bitmap is null, a text beyond its buffer is absent.

use crate::{Error, TextMut};

/// Variable-length values. `offsets` has one entry more than there are rows, starts at 0, never decreases, and ends at the length
/// of `data`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Varlen {
    pub offsets: Vec<i32>,
    pub data: Vec<u8>,
}

impl Varlen {
    /// No bytes in each of `rows` rows.
    pub fn empty(rows: usize) -> Self {
        Self { offsets: vec![0; rows + 1], data: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The bytes of one row, `None` where the offsets do not describe any.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = usize::try_from(*self.offsets.get(row)?).ok()?;
        let end = usize::try_from(*self.offsets.get(row + 1)?).ok()?;
        self.data.get(start..end)
    }
}

/// The values of a column. Narrower numbers arrive widened; decimals arrive as text, lists and structs as JSON text.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// UTF-8 in every row.
    Text(Varlen),
    Binary(Varlen),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// One byte a row: 0 is false, 1 is true.
    Boolean(Vec<u8>),
    /// Days since 1970-01-01.
    Date32(Vec<i32>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    TimestampMicros(Vec<i64>),
}

impl Values {
    pub fn rows(&self) -> usize {
        match self {
            Self::Text(v) | Self::Binary(v) => v.rows(),
            Self::Int64(v) | Self::TimestampMicros(v) => v.len(),
            Self::Float64(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::Date32(v) => v.len(),
        }
    }

    /// The name of the type in WIT, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Binary(_) => "binary",
            Self::Int64(_) => "int64",
            Self::Float64(_) => "float64",
            Self::Boolean(_) => "boolean",
            Self::Date32(_) => "date32",
            Self::TimestampMicros(_) => "timestamp-micros",
        }
    }
}

/// Which rows have a value: LSB-first, a set bit for each present value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap(Vec<u8>);

impl Bitmap {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn all(rows: usize, present: bool) -> Self {
        Self(vec![if present { 0xff } else { 0 }; rows.div_ceil(8)])
    }

    /// Whether the row has a value; false beyond the bitmap's end.
    pub fn get(&self, row: usize) -> bool {
        self.0.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
    }

    /// Whether this row and the seven after it all have a value; `first` is a multiple of 8.
    pub(crate) fn eight_present(&self, first: usize) -> bool {
        self.0.get(first / 8) == Some(&0xff)
    }

    /// Makes a row null.
    pub fn clear(&mut self, row: usize) {
        if let Some(byte) = self.0.get_mut(row / 8) {
            *byte &= !(1 << (row % 8));
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl FromIterator<bool> for Bitmap {
    fn from_iter<I: IntoIterator<Item = bool>>(rows: I) -> Self {
        let mut bytes = Vec::new();
        for (row, present) in rows.into_iter().enumerate() {
            if row % 8 == 0 {
                bytes.push(0);
            }
            if let (true, Some(last)) = (present, bytes.last_mut()) {
                *last |= 1 << (row % 8);
            }
        }
        Self(bytes)
    }
}

/// A column of one type; no validity means that no value is null.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub values: Values,
    pub validity: Option<Bitmap>,
}

impl Column {
    /// A column without nulls.
    pub fn of(values: Values) -> Self {
        Self { values, validity: None }
    }

    /// A text column from Rust values.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the texts are longer than 2 GiB together.
    pub fn text<'v>(values: impl IntoIterator<Item = impl Into<Option<&'v str>>>) -> Result<Self, Error> {
        let (mut varlen, mut present) = (Varlen::empty(0), Vec::new());
        for value in values {
            let value: Option<&str> = value.into();
            present.push(value.is_some());
            varlen.data.extend_from_slice(value.unwrap_or_default().as_bytes());
            let end = i32::try_from(varlen.data.len()).map_err(|_| Error::input("more than 2 GiB of text in one column"))?;
            varlen.offsets.push(end);
        }
        let validity = if present.contains(&false) { Some(present.into_iter().collect()) } else { None };
        Ok(Self { values: Values::Text(varlen), validity })
    }

    pub fn rows(&self) -> usize {
        self.values.rows()
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.validity.as_ref().is_some_and(|bits| !bits.get(row))
    }

    /// The text of a row; `None` when it is null, or when this is no column of text.
    pub fn get_text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Text(varlen) if !self.is_null(row) => std::str::from_utf8(varlen.get(row)?).ok(),
            _ => None,
        }
    }

    /// Every value null, the type and the number of rows kept, nothing of the values left in the buffers.
    #[must_use]
    pub fn into_nulls(self) -> Self {
        let rows = self.rows();
        let values = match self.values {
            Values::Text(_) => Values::Text(Varlen::empty(rows)),
            Values::Binary(_) => Values::Binary(Varlen::empty(rows)),
            Values::Int64(_) => Values::Int64(vec![0; rows]),
            Values::Float64(_) => Values::Float64(vec![0.0; rows]),
            Values::Boolean(_) => Values::Boolean(vec![0; rows]),
            Values::Date32(_) => Values::Date32(vec![0; rows]),
            Values::TimestampMicros(_) => Values::TimestampMicros(vec![0; rows]),
        };
        Self { values, validity: Some(Bitmap::all(rows, false)) }
    }

    /// The column as text that can be edited in place: text as it is, anything else in its text form: integers in decimal, floats
    /// as the shortest digits that read back the same (`7.0`, `1e16`, `NaN`), `true`/`false`, dates as `2024-02-29`, timestamps
    /// as RFC 3339 in UTC (`2024-02-29T12:30:00Z`, fractions only where there are any), bytes in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the buffers do not hold what they must, or the text is longer than 2 GiB.
    pub fn into_text(self) -> Result<TextMut, Error> {
        match self.values {
            Values::Text(varlen) => TextMut::new(varlen, self.validity),
            values => crate::format::to_text(&values, self.validity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_least_significant_bit_first_and_false_beyond_its_end() {
        let bits: Bitmap = [true, false, true, false, false, false, false, false, true].into_iter().collect();
        assert_eq!(bits.clone().into_bytes(), [0b101, 1]);
        assert!(bits.get(8) && !bits.get(1) && !bits.get(9) && !bits.get(16));
    }

    #[test]
    fn text_columns_carry_a_bitmap_only_when_something_is_null() {
        assert_eq!(Column::text(["a", ""]).unwrap().validity, None);
        let column = Column::text([Some("a"), None]).unwrap();
        assert_eq!((column.get_text(0), column.get_text(1), column.is_null(1)), (Some("a"), None, true));
    }

    #[test]
    fn lying_offsets_yield_nothing_rather_than_a_panic() {
        let lying = Varlen { offsets: vec![0, 9, 3, -1], data: b"abc".to_vec() };
        assert_eq!([lying.get(0), lying.get(1), lying.get(2), lying.get(3)], [None; 4]);
    }

    #[test]
    fn nulls_keep_the_type_and_no_bytes() {
        let nulls = Column::text(["secret", "x"]).unwrap().into_nulls();
        assert_eq!(nulls.values, Values::Text(Varlen { offsets: vec![0, 0, 0], data: vec![] }));
        assert!(nulls.is_null(0) && nulls.is_null(1));
        assert_eq!(Column::of(Values::Int64(vec![5])).into_nulls().values, Values::Int64(vec![0]));
    }
}
