//! Keeps a prefix and a suffix of each value and stars the rest: `CAND-000001` with 3/2 is `CAN******01`.
//!
//! **Invariant**: a value no longer than prefix and suffix together is starred whole.

#[cfg(test)]
mod tests;

use lakehouse_sdk::{Config, Error, Redactor, TextMut, export_redactor};

/// Keeps the ends of each value and stars the rest. Counts are characters, not bytes.
#[derive(Clone, Copy, Debug, Config)]
pub struct Mask {
    /// Characters shown at the start.
    #[config(default = 0)]
    pub keep_prefix: u32,
    /// Characters shown at the end.
    #[config(default = 0)]
    pub keep_suffix: u32,
}

impl Redactor for Mask {
    fn redact_text(&self, values: &mut TextMut) -> Result<(), Error> {
        values.star_between(self.keep_prefix, self.keep_suffix);
        Ok(())
    }
}

export_redactor!(Mask);
