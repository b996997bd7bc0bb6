//! Version 2 of `redact-mask`: the same configuration, `#` where version 1 writes `*`, so that anybody can see which one answered.
//!
//! **Invariant**: a value no longer than prefix and suffix together is hidden whole.

use std::borrow::Cow;

use lakehouse_sdk::{Config, Error, Redactor, TextMut, export_redactor};

/// Keeps the ends of each value and hides the rest. Counts are characters, not bytes.
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
        values.map(|value| Cow::Owned(self.hidden(value)))
    }
}

impl Mask {
    fn hidden(self, value: &str) -> String {
        let length = value.chars().count();
        let (front, behind) = (self.keep_prefix as usize, self.keep_suffix as usize);
        let whole = length <= front.saturating_add(behind);
        let kept = |at: usize| !whole && (at < front || at >= length - behind);
        value.chars().enumerate().map(|(at, character)| if kept(at) { character } else { '#' }).collect()
    }
}

export_redactor!(Mask);

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn it_hides_what_version_1_hides() {
        let mask = Mask { keep_prefix: 3, keep_suffix: 2 };
        assert_eq!(mask.hidden("CAND-000001"), "CAN######01");
        assert_eq!(mask.hidden("12345"), "#####");
        assert_eq!(mask.hidden("žluťoučký"), "žlu####ký");
        assert_eq!(mask.hidden(""), "");
    }
}
