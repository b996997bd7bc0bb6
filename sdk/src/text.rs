//! Text edited in place: the face of a text column that rules work on.
//!
//! **Invariant**: every row is UTF-8, offsets start at 0, never decrease and end at the buffer's length; the number of rows never
//! changes, and a null row never gets a value back. It is checked once, in [`TextMut::new`], and kept by every method. Bytes that
//! lie under a null never reach the output.

mod stars;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use crate::{Bitmap, Column, Error, Values, Varlen};

/// A text column of a rule's own, edited in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMut {
    offsets: Vec<i32>,
    data: Vec<u8>,
    validity: Option<Bitmap>,
    /// No byte of `data` is above 127, so that characters are bytes.
    ascii: bool,
}

impl TextMut {
    /// Takes buffers that came from elsewhere.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the offsets or the UTF-8 are not what [`Varlen`] promises.
    pub fn new(varlen: Varlen, validity: Option<Bitmap>) -> Result<Self, Error> {
        let Varlen { offsets, mut data } = varlen;
        let ends_well = offsets.last().and_then(|&last| usize::try_from(last).ok()) == Some(data.len());
        if offsets.first() != Some(&0) || !ends_well || decreases(&offsets) {
            return Err(Error::input("offsets do not describe the text buffer"));
        }
        if let Some(validity) = &validity {
            blank_nulls(&offsets, &mut data, validity);
        }
        let ascii = is_ascii(&data);
        if !ascii {
            let text = std::str::from_utf8(&data).map_err(|_| Error::input("text is not UTF-8"))?;
            if let Some(row) = offsets.iter().position(|&offset| !text.is_char_boundary(index(offset))) {
                return Err(Error::at_row(row.saturating_sub(1), "text ends inside a character"));
            }
        }
        Ok(Self { offsets, data, validity, ascii })
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.validity.as_ref().is_some_and(|bits| !bits.get(row))
    }

    /// The text of a row; `None` when it is null.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn get(&self, row: usize) -> Option<&str> {
        let (start, end) = (index(self.offsets[row]), index(self.offsets[row + 1]));
        (!self.is_null(row)).then(|| self.text(start, end))
    }

    /// All rows in order, `None` for nulls.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.rows()).map(|row| self.get(row))
    }

    /// Makes a row null and blanks what it held.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn set_null(&mut self, row: usize) {
        let (start, end) = (index(self.offsets[row]), index(self.offsets[row + 1]));
        self.data[start..end].fill(b' ');
        let rows = self.rows();
        self.validity.get_or_insert_with(|| Bitmap::all(rows, true)).clear(row);
    }

    /// Stars every character but the first `prefix` and the last `suffix`: `CAND-000001` with 3 and 2 is `CAN******01`. A value
    /// no longer than `prefix + suffix` is starred whole. Characters are Unicode scalar values.
    pub fn star_between(&mut self, prefix: u32, suffix: u32) {
        if self.ascii {
            stars::bytes(&self.offsets, &mut self.data, prefix, suffix);
        } else {
            stars::characters(&mut self.offsets, &mut self.data, prefix, suffix);
            self.ascii = is_ascii(&self.data);
        }
    }

    /// Replaces each value by what `f` makes of it; nulls are skipped. Values that come back borrowed and unchanged are not copied
    /// one by one, so a rule that seldom finds anything costs little.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the result is longer than 2 GiB.
    pub fn map(&mut self, mut f: impl for<'v> FnMut(&'v str) -> Cow<'v, str>) -> Result<(), Error> {
        let (mut out, mut offsets) = (Vec::new(), Vec::new());
        // Rows before `copied` are in `out`; from there to the current row they are unchanged and still to be copied.
        let mut copied = 0;
        for row in 0..self.rows() {
            let (start, end) = (index(self.offsets[row]), index(self.offsets[row + 1]));
            let replacement = self.get(row).and_then(|value| match f(value) {
                Cow::Borrowed(same) if std::ptr::eq(same, value) => None,
                other => Some(other),
            });
            if let Some(text) = replacement {
                if offsets.is_empty() {
                    out.reserve(self.data.len());
                    offsets.extend_from_slice(&self.offsets);
                }
                out.extend_from_slice(&self.data[copied..start]);
                out.extend_from_slice(text.as_bytes());
                copied = end;
            }
            if !offsets.is_empty() {
                offsets[row + 1] = offset(out.len() + (end - copied), row)?;
            }
        }
        if !offsets.is_empty() {
            out.extend_from_slice(&self.data[copied..]);
            self.ascii = is_ascii(&out);
            (self.offsets, self.data) = (offsets, out);
        }
        Ok(())
    }

    /// Replaces each value by what `f` writes; nulls are skipped. One buffer for all rows: nothing is allocated per value.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the result is longer than 2 GiB.
    pub fn rewrite(&mut self, mut f: impl FnMut(&str, &mut TextOut<'_>)) -> Result<(), Error> {
        self.try_rewrite(|value, out| {
            f(value, out);
            Ok(())
        })
    }

    /// As [`TextMut::rewrite`], for what may refuse a value; then nothing is changed.
    ///
    /// # Errors
    /// What `f` returns, with the row where it names none; [`Error::InvalidInput`] when the result is longer than 2 GiB.
    pub fn try_rewrite(&mut self, mut f: impl FnMut(&str, &mut TextOut<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut out = String::with_capacity(self.data.len());
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        for row in 0..self.rows() {
            if let Some(value) = self.get(row) {
                f(value, &mut TextOut(&mut out)).map_err(|error| error.in_row(row))?;
            }
            offsets.push(offset(out.len(), row)?);
        }
        self.data = out.into_bytes();
        self.offsets = offsets;
        self.ascii = is_ascii(&self.data);
        Ok(())
    }

    pub fn into_column(self) -> Column {
        let varlen = Varlen { offsets: self.offsets, data: self.data };
        Column { values: Values::Text(varlen), validity: self.validity }
    }

    #[expect(unsafe_code, reason = "checking UTF-8 and boundaries again for each row costs more than most rules do")]
    fn text(&self, start: usize, end: usize) -> &str {
        // SAFETY: by the type's invariant the buffer is UTF-8 and both ends, being offsets, are character boundaries.
        unsafe { std::str::from_utf8_unchecked(&self.data[start..end]) }
    }
}

/// Where [`TextMut::rewrite`] collects the new text of one row.
#[derive(Debug)]
pub struct TextOut<'o>(&'o mut String);

impl TextOut<'_> {
    pub fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub fn push(&mut self, character: char) {
        self.0.push(character);
    }
}

impl fmt::Write for TextOut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

/// Whether an offset is negative or smaller than the one before. Only signs are gathered, which runs four offsets at a time.
fn decreases(offsets: &[i32]) -> bool {
    let next = offsets.get(1..).unwrap_or_default();
    offsets.iter().zip(next).fold(0, |signs, (&a, &b)| signs | a | b | b.wrapping_sub(a)) < 0
}

/// What lies under a null is anyone's guess, a value that was hidden before perhaps.
fn blank_nulls(offsets: &[i32], data: &mut [u8], validity: &Bitmap) {
    let rows = offsets.len() - 1;
    for first in (0..rows).step_by(8).filter(|&first| !validity.eight_present(first)) {
        for row in (first..rows.min(first + 8)).filter(|&row| !validity.get(row)) {
            data[index(offsets[row])..index(offsets[row + 1])].fill(b' ');
        }
    }
}

/// An offset is never negative: checked on the way in, and made from lengths afterwards.
#[expect(clippy::cast_sign_loss, reason = "checked on the way in")]
fn index(offset: i32) -> usize {
    offset as usize
}

fn offset(length: usize, row: usize) -> Result<i32, Error> {
    i32::try_from(length).map_err(|_| Error::at_row(row, "more than 2 GiB of text in one column"))
}

/// Without an early exit, so that it compiles to wide loads on every target.
fn is_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |so_far, byte| so_far | byte) < 128
}
