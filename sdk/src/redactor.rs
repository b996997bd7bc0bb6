//! Rules that hide what a reader may not see.
//!
//! **Invariant**: a rule that overrides nothing shows nothing.

use std::borrow::Cow;

use crate::{Column, Config, Error, TextMut, config};

/// A rule that hides values. Implement the smallest function that is enough: one value, the text of a column in place, or the
/// whole column.
///
/// A rule is deterministic: equal values give equal answers, whatever their neighbours; the host may ask once for values that
/// repeat, and with no rows to learn the type of the answer. There are as many rows out as in, and a null stays null.
pub trait Redactor: Config {
    /// One value. Without an override nothing is shown but `[redacted]`.
    fn redact_value<'v>(&self, value: &'v str) -> Cow<'v, str> {
        let _ = value;
        Cow::Borrowed("[redacted]")
    }

    /// A column of text, edited in place. Without an override, [`Redactor::redact_value`] for each value.
    ///
    /// # Errors
    /// Any [`Error`] fails the request; no value leaves.
    fn redact_text(&self, values: &mut TextMut) -> Result<(), Error> {
        values.map(|value| self.redact_value(value))
    }

    /// A column of any type; the answer has the same type or text. Without an override, [`Redactor::redact_text`] over the values'
    /// text form (see [`Column::into_text`]).
    ///
    /// # Errors
    /// Any [`Error`] fails the request; no value leaves.
    fn redact_column(&self, values: Column) -> Result<Column, Error> {
        let mut text = values.into_text()?;
        self.redact_text(&mut text)?;
        Ok(text.into_column())
    }

    config::opening!();
}
